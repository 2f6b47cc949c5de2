"""Server processes that open their own sockets, in a network namespace of the test's."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests import tree
from tests.kernel.host import Host
from tests.netns import Namespace
from tests.process import run


class Opener:
    """A process of tests/servers/opener.py."""

    def __init__(self, process: subprocess.Popen[str], namespace: Namespace) -> None:
        self._process = process
        self._namespace = namespace
        self.pid = process.pid

    def do(self, words: str) -> None:
        """Have it open a socket, or close all; back when it is done."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(words + "\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n", words

    def cookie(self, port: int) -> str:
        """``sk:1a2b`` of its TCP listener on a port, as ss(8) says."""
        listed = self._namespace.run("ss", "-tlnHpe", "sport", "=", str(port))
        return next(
            word
            for line in listed.stdout.splitlines()
            if f"pid={self.pid}," in line
            for word in line.split()
            if word.startswith("sk:")
        )

    def end(self) -> None:
        """Kill it; back when it is gone."""
        self._process.kill()
        self._process.wait()


@contextmanager
def opener(
    namespace: Namespace, name: str, *words: str, before: Sequence[str] = ()
) -> Iterator[Opener]:
    """A server process that has opened these sockets; ``before`` stands before its command."""
    with namespace.entered():
        process = subprocess.Popen(
            [*before, "/usr/bin/python3", "-m", "tests.servers.opener", name],
            cwd=tree.public(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    with process:
        try:
            server = Opener(process, namespace)
            for line in words:
                server.do(line)
            yield server
        finally:
            process.kill()


def members(host: Host) -> dict[str, list[str]]:
    """``"web tcp ipv4"`` -> cookies of its members, of every destination that has one."""
    return {
        f"{it['label']} {it['protocol']} {it['family']}": [m["cookie"] for m in it["members"]]
        for it in host.json("status", "-n0")["destinations"]
        if it["members"]
    }


NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


def let_everybody_in(host: Host) -> None:
    """Open the registry, as an administrator may for a group."""
    for path in (host.bpffs, *host.bpffs.rglob("*")):
        path.chmod(0o777)


def unprivileged(
    host: Host, prefix: Sequence[str], *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run a command under setpriv(1). It stands in the namespace: entering takes privileges."""
    options = host.options[host.options.index("--bpffs") :]
    with host.namespace.entered():
        return run(
            [*prefix, "/usr/bin/python3", "-m", "sockreg", *options, *arguments],
            check=False,
            cwd=tree.public(),
        )
