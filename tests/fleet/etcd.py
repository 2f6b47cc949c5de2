"""etcd on three machines, each a network namespace, and the network that joins them to hosts."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.closing import Closing
from tests.netns import Namespace, connect
from tests.process import run
from tests.sandbox import Sandbox

NAMES = ("etcd1", "etcd2", "etcd3")
_NETWORK = "10.0.0"
_CLIENTS, _PEERS = 2379, 2380


class Cluster(Closing):
    """Three members. ``endpoints`` are those for clients."""

    def __init__(self, directory: Path, hosts: Mapping[str, Sandbox]) -> None:
        self._directory = directory
        self._switch = Namespace()
        self._switch.run("ip", "link", "add", "br0", "type", "bridge")
        self._switch.run("ip", "link", "set", "br0", "up")
        self._ports = 0
        self.members = {name: Namespace() for name in NAMES}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        for number, member in enumerate(self.members.values(), 1):
            self.join(member, number)
        for number, box in enumerate(hosts.values(), 11):
            self.join(box.network, number)
        self.start(*NAMES)

    def close(self) -> None:
        for name in list(self._running):
            self.kill(name)
        for member in self.members.values():
            member.close()
        self._switch.close()

    def join(self, machine: Namespace, number: int) -> None:
        """Give a machine the address of this number."""
        self._ports += 1
        port = f"p{self._ports}"
        connect(machine, "eth0", self._switch, port, [f"{_NETWORK}.{number}/24"])
        self._switch.run("ip", "link", "set", port, "master", "br0")

    @property
    def endpoints(self) -> list[str]:
        return [f"http://{_NETWORK}.{number}:{_CLIENTS}" for number in range(1, len(NAMES) + 1)]

    def start(self, *names: str) -> None:
        """Start members, and wait until there is a leader."""
        peers = ",".join(
            f"{name}=http://{_NETWORK}.{number}:{_PEERS}" for number, name in enumerate(NAMES, 1)
        )
        for name in names:
            own = f"http://{_NETWORK}.{NAMES.index(name) + 1}"
            command = [
                *("etcd", "--name", name, "--data-dir", str(self._directory / name)),
                *("--listen-client-urls", f"{own}:{_CLIENTS},http://127.0.0.1:{_CLIENTS}"),
                *("--advertise-client-urls", f"{own}:{_CLIENTS}"),
                *("--listen-peer-urls", f"{own}:{_PEERS}"),
                *("--initial-advertise-peer-urls", f"{own}:{_PEERS}"),
                *("--initial-cluster", peers, "--unsafe-no-fsync", "--logger", "zap"),
                *("--heartbeat-interval", "200", "--election-timeout", "2000"),
            ]
            with (
                self.members[name].entered(),
                (self._directory / f"{name}.log").open("ab") as log,
            ):
                self._running[name] = subprocess.Popen(command, stdout=log, stderr=log)
        self._ask("range", {"key": _encoded("any")})

    def kill(self, *names: str) -> None:
        """Pull the plug of members."""
        for name in names:
            process = self._running.pop(name)
            process.send_signal(signal.SIGKILL)
            process.wait()

    def pause(self, name: str, *, on: bool = True) -> None:
        """Have a member do nothing, while its connections stay."""
        self._running[name].send_signal(signal.SIGSTOP if on else signal.SIGCONT)

    def put(self, key: str, text: str) -> None:
        self._ask("put", {"key": _encoded(key), "value": _encoded(text)})

    def delete(self, key: str) -> None:
        self._ask("deleterange", {"key": _encoded(key)})

    def reports(self) -> dict[str, dict[str, Any]]:
        """What the hosts have reported, by their names."""
        below = {"key": _encoded("/sockreg/hosts/"), "range_end": _encoded("/sockreg/hosts0")}
        found = [json.loads(base64.b64decode(it["value"])) for it in self._kvs(below)]
        return {report["host"]: report for report in found}

    @contextmanager
    def burst(self, key: str, texts: list[str], pause: float) -> Iterator[None]:
        """Set a key to one text after the other, beside the block."""
        path = self._directory / "burst.py"
        path.write_text(_BURST)
        given = json.dumps([key, texts, pause])
        with self._member().entered(), subprocess.Popen(["python3", str(path), given]) as process:
            try:
                yield
            finally:
                assert process.wait(timeout=120) == 0

    def control(self, *words: str, user: str = "") -> str:
        """Run etcdctl(1) on a member, as a user with a password; returns what it prints."""
        command = ["etcdctl", "--endpoints=127.0.0.1:2379", *([f"--user={user}"] if user else [])]
        with self._member().entered():
            return run([*command, *words], env={**os.environ, "ETCDCTL_API": "3"}).stdout

    def _member(self) -> Namespace:
        return self.members[next(iter(self._running))]

    def _kvs(self, body: dict[str, str]) -> list[dict[str, str]]:
        found: list[dict[str, str]] = self._ask("range", body).get("kvs", [])
        return found

    def _ask(self, what: str, body: dict[str, str]) -> dict[str, Any]:
        """Ask until there is an answer: after the death of a leader, another is elected first."""
        deadline = time.monotonic() + 60
        while True:
            try:
                with self._member().entered():
                    return ask(what, body)
            except OSError:
                assert time.monotonic() < deadline, self._logs()
                time.sleep(0.2)

    def _logs(self) -> str:
        logs = (self._directory / f"{name}.log" for name in NAMES)
        return "\n".join(log.read_text()[-2000:] for log in logs)


def ask(what: str, body: dict[str, str]) -> dict[str, Any]:
    """Ask the member of this network namespace by etcd's gateway."""
    url = f"http://127.0.0.1:{_CLIENTS}/v3/kv/{what}"
    request = urllib.request.Request(url, json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=5) as answer:
        found: dict[str, Any] = json.loads(answer.read())
    return found


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


_BURST = """\
import base64, http.client, json, sys, time
key, texts, pause = json.loads(sys.argv[1])
encoded = lambda text: base64.b64encode(text.encode()).decode()
connection = http.client.HTTPConnection("127.0.0.1", 2379, timeout=10)
begun = time.monotonic()
for number, text in enumerate(texts):
    body = json.dumps({"key": encoded(key), "value": encoded(text)})
    connection.request("POST", "/v3/kv/put", body)
    connection.getresponse().read()
    time.sleep(max(0, begun + number * pause - time.monotonic()))
"""
