"""``sockreg trace``: what it tells is what clients meet, and nothing of it is left."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from sockreg.errors import EXIT_FAILURE, EXIT_NOT_LOADED, EXIT_OK, EXIT_REFUSED
from tests.kernel.host import Host
from tests.netns import TCP, UDP
from tests.tree import ROOT

RULES = [
    "[web]",
    "Bind=tcp 192.0.2.0/24 80",
    "Bind=udp 192.0.2.0/24 53",
    "Bind=tcp 2001:db8::/64 443",
    "Bind=tcp 192.0.2.0/25 80 from 198.51.100.0/24",
    "Reject=tcp 192.0.2.0/24 81",
    "Pass=tcp 192.0.2.0/24 82",
    "[lacking]",
    "Bind=tcp 192.0.2.0/24 83",
    "Bind=tcp 192.0.2.0/24 84 missing=pass",
    "[lo]",
    "Bind=tcp 192.0.2.0/24 80 dev lo",
]


def validated(text: str) -> tuple[str, Any]:
    # Older kernels are booted without what this takes.
    from tests import schemas

    return schemas.validated(text)


class Tracer:
    """A ``sockreg trace`` that runs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def decisions(self, count: int) -> list[dict[str, Any]]:
        assert self.process.stdout is not None
        lines = [self.process.stdout.readline() for _ in range(count)]
        return [validated(line)[1] for line in lines]

    def end(self, number: signal.Signals = signal.SIGINT) -> tuple[int, str, str]:
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=20)
        return self.process.returncode, out, err


@contextmanager
def tracing(host: Host, *arguments: str) -> Iterator[Tracer]:
    with (
        host.namespace.entered(),
        subprocess.Popen(
            [sys.executable, "-m", "sockreg", *host.options, *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        try:
            assert process.stderr is not None
            assert "Ctrl-C ends it" in process.stderr.readline()
            assert is_traced(host)
            yield Tracer(process)
        finally:
            process.kill()


def is_traced(host: Host) -> bool:
    return any(path.name == "tracing" for path in host.registry.glob("generations/*/*"))


def flood(host: Host, count: int) -> None:
    with host.namespace.new_socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _ in range(count):
            sock.sendto(b"", ("192.0.2.7", 9))


def wait(condition: Any) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_each_decision_is_what_its_client_meets(host: Host) -> None:
    host.load(*RULES)
    with (
        host.serve("web", "127.0.0.1", 8080),
        host.serve("web", "127.0.0.1", 5353, UDP),
        host.serve("web", "::1", 8443),
        # The answers of UDP servers are looked up, too.
        tracing(host, "trace", "--json", "--port", "1-1023") as tracer,
    ):
        asked = [
            # what is asked, the answer; outcome, rule without its action, label
            (("192.0.2.7", 80, TCP), "refused", "no-socket", "tcp 192.0.2.0/24 80 dev lo", "lo"),
            (("192.0.2.7", 53, UDP), "web", "socket", "udp 192.0.2.0/24 53", "web"),
            (("2001:db8::7", 443, TCP), "web", "socket", "tcp 2001:db8::/64 443", "web"),
            (("192.0.2.7", 81, TCP), "refused", "reject", "tcp 192.0.2.0/24 81", "web"),
            (("192.0.2.7", 82, TCP), "refused", "passed", "tcp 192.0.2.0/24 82", "web"),
            (("192.0.2.7", 83, TCP), "refused", "no-socket", "tcp 192.0.2.0/24 83", "lacking"),
            (("192.0.2.7", 84, TCP), "refused", "passed",
             "tcp 192.0.2.0/24 84 missing=pass", "lacking"),
            (("192.0.2.7", 85, TCP), "refused", "passed", None, None),
        ]  # fmt: skip
        for (address, port, protocol), answer, outcome, rule, label in asked:
            assert host.ask(address, port, protocol) == answer
            (told,) = tracer.decisions(1)
            assert (told["address"], told["port"], told["outcome"]) == (address, port, outcome)
            assert (told["rule"], told["label"]) == (rule, label)
            assert told["interface"] == "lo"
            assert (told["cookie"] is not None) is (outcome == "socket")
            assert abs(told["time"] - time.time()) < 60
        status, out, err = tracer.end()
    assert (status, out, err) == (EXIT_OK, "", "")
    assert not is_traced(host)


def test_the_rule_is_named_with_its_line_and_the_member_with_its_unit(host: Host) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    with (
        host.serve("web", "127.0.0.1", 8080, unit="web.socket"),
        tracing(host, "trace", "--count", "1") as tracer,
    ):
        assert host.ask("192.0.2.7", 80) == "web"
        out, _ = tracer.process.communicate(timeout=20)
    assert tracer.process.returncode == EXIT_OK
    (line,) = out.splitlines()
    assert " > 192.0.2.7:80 dev lo  socket sk:" in line
    assert " of web.socket  [bind web: tcp 192.0.2.0/24 80 (" in line
    assert line.endswith("rules.conf:2)]")


@pytest.mark.parametrize(
    ("arguments", "ports"),
    [
        (["--port", "80"], [80]),
        # An ICMP error is looked up for the client's own port.
        (["--proto", "udp", "--prefix", "192.0.2.0/24"], [53]),
        (["--label", "lacking"], [83]),
        (["--prefix", "192.0.2.7/32", "--outcome", "reject"], [81]),
        (["--outcome", "no-socket", "--outcome", "reject"], [80, 53, 81, 83]),
        (["--prefix", "198.51.100.0/24"], []),
    ],
)
def test_filters(host: Host, arguments: list[str], ports: list[int]) -> None:
    host.load(*RULES)
    with tracing(host, "trace", "--json", *arguments) as tracer:
        for port, protocol in ((80, TCP), (53, UDP), (81, TCP), (83, TCP), (99, TCP)):
            host.ask("192.0.2.7", port, protocol)
        assert [told["port"] for told in tracer.decisions(len(ports))] == ports
        assert tracer.end() == (EXIT_OK, "", "")


def test_a_summary(host: Host) -> None:
    host.load(*RULES)
    with tracing(host, "--json", "trace", "--summary") as tracer:
        for port in (81, 81, 81, 99):
            host.ask("192.0.2.7", port)
        status, out, _ = tracer.end()
    assert status == EXIT_OK
    _, found = validated(out)
    assert (found["total"], found["lost"], found["one_in"]) == (4, 0, 1)
    assert {it["what"]: it["decisions"] for it in found["outcomes"]} == {"reject": 3, "passed": 1}
    (rule,) = found["rules"]
    assert rule["what"].startswith("reject web: tcp 192.0.2.0/24 81 (")
    assert {it["what"]: it["decisions"] for it in found["ports"]} == {"tcp 81": 3, "tcp 99": 1}


def test_an_apply_ends_it(host: Host) -> None:
    """Also one that changes nothing."""
    host.load(*RULES)
    with host.serve("web", "127.0.0.1", 8080), tracing(host, "trace") as tracer:
        host.apply("[web]", "Bind=tcp 192.0.2.0/24 80")
        assert host.ask("192.0.2.7", 80) == "web"
        _, err = tracer.process.communicate(timeout=20)
        assert tracer.process.returncode == EXIT_FAILURE
        assert "the trace of generation 1 has ended" in err
        assert not is_traced(host)
        with tracing(host, "trace") as tracer:
            assert "nothing to change" in host.ok("apply")
            _, err = tracer.process.communicate(timeout=20)
            assert "the trace of generation 2 has ended" in err
        assert host.ask("192.0.2.7", 80) == "web"


def test_the_last_tracer_looks(host: Host) -> None:
    host.load(*RULES)
    with tracing(host, "trace", "--json") as first, tracing(host, "trace", "--json") as second:
        _, err = first.process.communicate(timeout=20)
        assert "has ended" in err
        host.ask("192.0.2.7", 81)
        assert second.decisions(1)[0]["outcome"] == "reject"
        assert second.end()[0] == EXIT_OK
    assert not is_traced(host)


def test_a_tracer_that_is_killed(host: Host) -> None:
    """Another process ends its trace. While it runs, nothing differs for clients."""
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    before = host.json("status")["program"]
    with host.serve("web", "127.0.0.1", 8080), tracing(host, "trace") as tracer:
        assert host.json("status")["program"] == before
        assert host.ask("192.0.2.7", 80) == "web"
        tracer.end(signal.SIGKILL)
        wait(lambda: not is_traced(host))
        assert host.ask("192.0.2.7", 80) == "web"


def test_a_tracer_and_its_guard_that_are_killed(host: Host) -> None:
    """The next change of rules ends the trace; until then it decides as the rules in force say."""
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    with host.serve("web", "127.0.0.1", 8080), tracing(host, "trace") as tracer:
        wait(lambda: guards(host))
        (guard,) = guards(host)
        os.kill(guard, signal.SIGKILL)
        tracer.end(signal.SIGKILL)
        assert is_traced(host)
        assert host.ask("192.0.2.7", 80) == "web"
        assert host.json("status")["generation"] == 1
        wait(lambda: not guards(host))
        host.ok("apply")
        assert not is_traced(host)
        assert host.ask("192.0.2.7", 80) == "web"


def guards(host: Host) -> list[int]:
    """The processes that would end a trace after the death of its tracer."""
    found = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().split(b"\0")
            if b"--guard" in words and os.fsencode(host.bpffs) in words:
                found.append(int(pid))
    return found


def test_what_comes_too_fast_is_counted(host: Host) -> None:
    host.load("[web]", "Reject=udp 192.0.2.0/24 9")
    with tracing(host, "trace", "--json", "--port", "9") as tracer:
        tracer.process.send_signal(signal.SIGSTOP)
        flood(host, 30_000)
        tracer.process.send_signal(signal.SIGCONT)
        told = tracer.decisions(5000)
        assert {it["outcome"] for it in told} == {"reject"}
        status, _, err = tracer.end()
    assert status == EXIT_OK
    assert "decisions came too fast to be shown" in err


def test_a_sample(host: Host) -> None:
    host.load("[web]", "Reject=udp 192.0.2.0/24 9")
    arguments = ["trace", "--json", "--port", "9", "--summary", "--sample", "10"]
    with tracing(host, *arguments) as tracer:
        flood(host, 5000)
        _, out, _ = tracer.end()
    assert 200 < json.loads(out)["trace"]["total"] < 1000


def test_rules_that_decide(host: Host) -> None:
    """``rules --count`` and ``top --rules``."""
    host.load(*RULES)
    with (
        host.serve("lo", "127.0.0.1", 8080),
        subprocess.Popen(
            host.command("--json", "rules", "--count", "3", "--proto", "tcp"),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        ) as counting,
    ):
        wait(lambda: is_traced(host))
        for port in (80, 81, 81, 99):
            host.ask("192.0.2.7", port)
        out, _ = counting.communicate(timeout=20)
        kind, found = validated(out)
        assert kind == "rules"
        decided = {it["rule"]: it["decisions"] for it in found if it["decisions"]}
        assert decided == {"tcp 192.0.2.0/24 80 dev lo": 1, "tcp 192.0.2.0/24 81": 2}
        assert len(found) == 8
        said = host.ok("rules", "--count", "0.1", "--port", "81")
        assert said.splitlines()[0].split() == ["DECISIONS", "ACTION", "LABEL", "RULE", "PLACE"]
        assert said.splitlines()[-1] == "0 decisions in 0.1 s; 1 of 1 rule decided nothing"

    from tests.terminal import on_terminal  # as above

    command = host.command("top", "--rules", "--interval", "0.2")
    with on_terminal(command, cwd=ROOT) as terminal:
        terminal.wait(lambda lines: lines[0] == "sockreg: decisions of generation 1")
        host.ask("192.0.2.7", 81)
        host.ask("192.0.2.7", 99)
        terminal.wait(lambda lines: "reject web: tcp 192.0.2.0/24 81" in lines[4])
        assert terminal.lines[1] == "2 decisions, 1 by no rule"
        terminal.press("q")
        assert terminal.ended() == EXIT_OK
    assert not is_traced(host)


def test_readers_cannot_run_what_traces(host: Host) -> None:
    host.load(*RULES)
    assert host.json("status")["traced"] is False
    with tracing(host, "trace"):
        (pin,) = host.registry.glob("generations/*/tracing")
        assert pin.stat().st_mode & 0o777 == 0o600
        assert validated(host.ok("--json", "status"))[1]["traced"] is True
        assert "'sockreg apply' ends it" in host.ok("status")


def test_it_cannot_begin(host: Host) -> None:
    host.fails(EXIT_NOT_LOADED, "trace")
    host.load(*RULES)
    host.ok("unload", "--keep")
    assert "nothing is in force" in host.run("trace").err
    assert "invalid choice: 'dropped'" in host.run("trace", "--outcome", "dropped").err
    assert "does not name a trace" in host.fails(2, "trace", "--guard", "x")
    assert "--sample 9999999" in host.fails(2, "trace", "--sample", "9999999")


def test_a_label_without_rules_is_refused(host: Host) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    said = host.fails(EXIT_REFUSED, "trace", "--label", "wbe")
    assert "no rule in force has the label wbe" in said
    assert "traced" not in host.ok("status")
    assert "an address is expected here, not a set" in host.run("trace", "--prefix", "@web").err
