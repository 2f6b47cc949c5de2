"""Several commands at once: writers wait for each other, readers for nobody."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sockreg.companion import __main__ as companion
from sockreg.registry import creation, generations
from tests.kernel.host import HasFileno, Host, cookie
from tests.netns import Server
from tests.tree import ROOT

COMPANION = ["/usr/bin/python3", "-I", "-S", companion.__file__, "register"]


def companion_process(
    host: Host, unit: str, sockets: Sequence[tuple[str, HasFileno]]
) -> subprocess.Popen[str]:
    """Start the companion as its unit does."""
    with host.passing(sockets) as (wrapper, fds), host.namespace.entered():
        return subprocess.Popen(
            [*wrapper, *COMPANION, unit, "/nowhere"],
            pass_fds=fds,
            env={**os.environ, "SOCKREG_BPFFS": str(host.bpffs)},
            stderr=subprocess.PIPE,
            text=True,
        )


def all_succeed(processes: Sequence[subprocess.Popen[str]]) -> None:
    said = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), said


def test_ten_units_register_at_once(host: Host) -> None:
    labels = [f"label{number}" for number in range(10)]
    host.load(*(f"[{label}]\nBind=tcp 192.0.2.{n} 80" for n, label in enumerate(labels, 1)))
    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(host.namespace.serve(label, "127.0.0.1", port))
            for port, label in enumerate(labels, 8080)
        ]
        all_succeed([
            companion_process(host, f"{server.name}.socket", [(server.name, server.sock)])
            for server in servers
        ])  # fmt: skip
        assert [host.ask(f"192.0.2.{n}", 80) for n in range(1, 11)] == labels
        slots = [d["slot"] for d in host.json("status")["destinations"]]
        assert len(set(slots)) == 10


def test_new_labels_registered_at_once_get_slots_of_their_own(host: Host) -> None:
    """No rule has given these labels their slots before."""
    host.load()
    labels = [f"label{number}" for number in range(10)]
    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(host.namespace.serve(label, "127.0.0.1", port))
            for port, label in enumerate(labels, 8080)
        ]
        all_succeed([
            companion_process(host, f"{server.name}.socket", [(server.name, server.sock)])
            for server in servers
        ])  # fmt: skip
        host.apply(*(f"[{label}]\nBind=tcp 192.0.2.{n} 80" for n, label in enumerate(labels, 1)))
        assert [host.ask(f"192.0.2.{n}", 80) for n in range(1, 11)] == labels


def test_one_unit_registers_twice_at_once(host: Host) -> None:
    """A restart that overtakes itself: one of both sockets is in the slot at the end."""
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    with (
        host.namespace.serve("one", "127.0.0.1", 8080) as one,
        host.namespace.serve("two", "127.0.0.1", 8081) as two,
    ):
        names = {cookie(server.sock): server.name for server in (one, two)}
        for _ in range(5):
            all_succeed([
                companion_process(host, "web.socket", [("web", server.sock)])
                for server in (one, two)
            ])  # fmt: skip
            registered = host.registered("web")
            assert registered is not None
            assert host.ask("192.0.2.7", 80) == names[registered]


def applying(host: Host, roots: Sequence[Path], times: int) -> subprocess.Popen[str]:
    """A process that applies the configurations of several roots in turn, as --force allows."""
    script = (
        "import sys; from sockreg.cli.main import main\n"
        "options, roots, times = sys.argv[1:5], sys.argv[5:-1], int(sys.argv[-1])\n"
        "for number in range(times):\n"
        "    root = ['--root', roots[number % len(roots)]]\n"
        "    status = main([*options, *root, 'apply', '--force'])\n"
        "    if status: sys.exit(status)\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", script, *host.options[:4], *map(str, roots), str(times)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def two_roots(host: Host) -> list[Path]:
    roots = [host.root / name for name in ("a", "b")]
    for port, root in enumerate(roots, 80):
        path = root / "etc/sockreg/rules.conf"
        path.parent.mkdir(parents=True)
        path.write_text(f"[web]\nBind=tcp 192.0.2.0/24 {port}\nBind=tcp 192.0.2.0/24 443\n")
    return roots


def test_readers_see_the_old_or_the_new_rules(host: Host) -> None:
    host.load()
    process = applying(host, two_roots(host), 40)
    seen = set()
    while process.poll() is None:
        seen.add(tuple(rule["rule"] for rule in host.json("rules")))
        assert "in force    generation" in host.ok("status")
    all_succeed([process])
    either = {
        tuple(f"tcp 192.0.2.0/24 {port}" for port in ports) for ports in ((80, 443), (81, 443))
    }
    assert seen - {()} == either


@pytest.mark.parametrize("verb", ["rules", "status"])
def test_a_reader_that_two_swaps_overtake_starts_over(
    host: Host, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    in_force = generations.in_force

    def overtaken(registry: str) -> generations.Generation | None:
        patch.undo()
        found = in_force(registry)
        host.apply("[web]", "Bind=tcp 192.0.2.0/24 81")
        host.apply("[web]", "Bind=tcp 192.0.2.0/24 82")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(generations, "in_force", overtaken)
        assert ("192.0.2.0/24 82" if verb == "rules" else "generation 3") in host.ok(verb)


def test_registering_while_rules_change(host: Host) -> None:
    host.load()
    roots = two_roots(host)
    process = applying(host, roots, 20)
    server = Server("none yet")
    while process.poll() is None:
        server.close()
        server = host.serve("web", "127.0.0.1", unit="web.socket")
    with server:
        all_succeed([process])
        assert host.ask("192.0.2.7", 443) == "web"
        assert host.registered("web") == cookie(server.sock)


def test_two_writers_of_rules_take_turns(host: Host) -> None:
    host.load()
    roots = two_roots(host)
    all_succeed([applying(host, [root], 5) for root in roots])
    (generation,) = {host.json("status")["generation"]}
    rules = [rule["rule"] for rule in host.json("rules")]
    assert rules in (["tcp 192.0.2.0/24 80", "tcp 192.0.2.0/24 443"],
                     ["tcp 192.0.2.0/24 81", "tcp 192.0.2.0/24 443"])  # fmt: skip
    assert 2 <= generation <= 11


def test_two_loads_at_once_make_one_registry(host: Host) -> None:
    host.conf("[web]", "Bind=tcp 192.0.2.0/24 80")
    all_succeed([
        subprocess.Popen(host.command("load"), stdout=subprocess.DEVNULL,
                         stderr=subprocess.PIPE, text=True, cwd=ROOT)
        for _ in range(3)
    ])  # fmt: skip
    assert host.registry.is_dir()
    assert host.json("status")["others"] == []


def test_a_load_does_not_undo_who_was_quicker(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.conf("[web]", "Bind=tcp 192.0.2.0/24 80")
    create = creation.create

    def and_then_another(*arguments: Any) -> str:
        registry = create(*arguments)
        host.process("load", check=True)
        host.process("bind", "web", "tcp", "192.0.2.0/24", "81", check=True)
        return registry

    monkeypatch.setattr(creation, "create", and_then_another)
    assert "nothing to change: generation 2 has 2 rules" in host.ok("load")
    assert sorted(it["first_port"] for it in host.json("rules")) == [80, 81]
