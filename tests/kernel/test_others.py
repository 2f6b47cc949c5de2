"""Other sk_lookup programs of the namespace, which run before sockreg's or after it."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from sockreg.errors import EXIT_OK
from sockreg.kernel import libbpf
from tests.kernel.foreign import NAMES, Foreign
from tests.kernel.host import Host, cookie
from tests.netns import TCP, UDP, Server

RULES = (
    "[web]",
    "Bind=tcp 192.0.2.1 80",
    "Bind=udp 192.0.2.1 80",
    "Bind=tcp 2001:db8::1 80",
    "Bind=udp 2001:db8::1 80",
    "[empty]",
    "Bind=tcp 192.0.2.2 80",
    "Bind=udp 192.0.2.2 80",
    "Bind=tcp 2001:db8::2 80",
    "Bind=udp 2001:db8::2 80",
    "Bind=tcp 192.0.2.5 80 missing=pass",
    "Bind=udp 192.0.2.5 80 missing=pass",
    "Bind=tcp 2001:db8::5 80 missing=pass",
    "Bind=udp 2001:db8::5 80 missing=pass",
    "[none]",
    "Reject=tcp 192.0.2.3 80",
    "Reject=udp 192.0.2.3 80",
    "Reject=tcp 2001:db8::3 80",
    "Reject=udp 2001:db8::3 80",
    "Pass=tcp 192.0.2.4 80",
    "Pass=udp 192.0.2.4 80",
    "Pass=tcp 2001:db8::4 80",
    "Pass=udp 2001:db8::4 80",
)
NAMES_OF = {TCP: "tcp", UDP: "udp"}
# Last part of the address -> what sockreg alone does: select, refuse, or leave to others.
OURS = {"1": "web", "2": "refused", "3": "refused", "4": "", "5": "", "6": ""}


def expected(before: list[str], ours: str, after: list[str]) -> str:
    """The kernel's rule (BPF_PROG_SK_LOOKUP_RUN_ARRAY in linux/filter.h), told by hand.

    The last socket that was selected wins; no program takes a selection back, and a refusal
    only counts if nobody has selected any.
    """
    selected, refused = "", False
    for name in [*before, "sockreg", *after]:
        if name == "sockreg":
            if ours == "refused":
                refused = True
            elif ours:
                selected = ours
        elif name.startswith("replaces") or (name.startswith("selects") and not selected):
            selected = name
        elif not name.startswith("passes"):
            refused = True
    return selected or ("refused" if refused else "ordinary")


@contextmanager
def surrounded(
    host: Host, before: list[str], after: list[str], protocol: int
) -> Iterator[tuple[dict[str, Foreign], dict[str, str]]]:
    """Programs before and after sockreg's, by name; those that select have a server each.

    Yields the programs, and what the server of each socket answers, by cookie.
    """
    with ExitStack() as stack:
        found: dict[str, Foreign] = {}
        servers: dict[str, str] = {}

        def known(server: Server) -> Server:
            servers[cookie(server.sock)] = server.name
            return server

        def add(name: str) -> None:
            kind = name.rstrip("0123456789")
            serves = kind in ("selects", "replaces")
            server = known(host.namespace.serve(name, "::", 0, protocol)) if serves else None
            found[name] = stack.enter_context(Foreign(host.namespace, host.root, kind, server))

        stack.enter_context(known(host.namespace.serve("ordinary", "::", 80, protocol)))
        for name in before:
            add(name)
        host.load(*RULES)
        for name in after:
            add(name)
        stack.enter_context(known(host.serve("web", "::", 8080, protocol)))
        yield found, servers
        host.ok("unload")


def foretold(told: Any, servers: dict[str, str]) -> str:
    """What explain says that a client meets."""
    return servers[told["target"]["cookie"]] if told["target"] else "refused"


SITUATIONS = [
    *((name,) for name in NAMES),
    ("selects1", "selects2"),
    ("selects1", "replaces2"),
    ("replaces1", "selects2"),
    ("drops", "selects"),
    ("selects", "drops"),
    ("selects", "clears"),
]


@pytest.mark.parametrize("protocol", [TCP, UDP], ids=["tcp", "udp"])
@pytest.mark.parametrize("there", ["before", "after"])
@pytest.mark.parametrize("names", SITUATIONS, ids="-".join)
def test_who_wins(host: Host, names: tuple[str, ...], there: str, protocol: int) -> None:
    before, after = (list(names), []) if there == "before" else ([], list(names))
    with surrounded(host, before, after, protocol) as (programs, servers):
        for (last, ours), prefix in itertools.product(OURS.items(), ("192.0.2.", "2001:db8::")):
            address = f"{prefix}{last}"
            outcome = host.ask(address, 80, protocol)
            assert outcome == expected(before, ours, after), address
            told = host.json("explain", NAMES_OF[protocol], address, "80")
            assert told["agrees"]
            assert foretold(told, servers) == outcome, (address, told)
            order = [(other["program_id"], other["runs"]) for other in told["others"]]
            assert order == [(programs[name].id, there) for name in names]


def test_a_foreign_program_is_mentioned_and_left_alone(host: Host) -> None:
    with Foreign(host.namespace, host.root, "passes") as foreign:
        host.conf(*RULES)
        said = host.run("load")
        assert said.status == EXIT_OK
        assert f"note: program {foreign.id} (passes) runs before sockreg's: sockets of" in said.err
        notices = [entry for entry in host.entries() if "another sk_lookup program" in str(entry)]
        assert [entry["PRIORITY"] for entry in notices] == [["4"]]
        assert f"also        program {foreign.id} (passes) runs before" in host.ok("status")
        assert host.json("status")["others"] == [
            {"program_id": foreign.id, "name": "passes", "runs": "before"}
        ]
        with host.serve("web", "127.0.0.1", 8080):
            assert host.ask("192.0.2.1", 80) == "web"
        host.ok("unload")
        assert libbpf.attached_programs(host.namespace.fd) == [foreign.id]
        assert libbpf.link_info(foreign.link).program_id == foreign.id


@pytest.mark.parametrize("seed", range(6))
def test_programs_on_both_sides(host: Host, seed: int) -> None:
    """Explain foretells what clients meet, whatever runs before sockreg's program and after it."""
    rng = random.Random(seed)
    protocol = rng.choice([TCP, UDP])
    numbers = itertools.count(1)
    before, after = (
        [f"{rng.choice(NAMES)}{next(numbers)}" for _ in range(rng.randrange(4))] for _ in range(2)
    )
    with surrounded(host, before, after, protocol) as (_, servers):
        for (last, ours), prefix in itertools.product(OURS.items(), ("192.0.2.", "2001:db8::")):
            outcome = host.ask(f"{prefix}{last}", 80, protocol)
            assert outcome == expected(before, ours, after)
            told = host.json("explain", NAMES_OF[protocol], f"{prefix}{last}", "80")
            assert foretold(told, servers) == outcome, told


def test_what_a_user_reads(host: Host) -> None:
    with (
        host.namespace.serve("theirs", "127.0.0.1", 9090) as theirs,
        host.namespace.serve("late", "127.0.0.1", 9091) as late,
        Foreign(host.namespace, host.root, "selects", theirs) as before,
    ):
        host.load(*RULES)
        told = host.ok("explain", "tcp", "192.0.2.3", "80").splitlines()
        assert told[0] == "verdict   goes to a socket that another program selects"
        assert told[2] == (
            f"because   a reject rule refuses it; but {before}, which runs before sockreg's, "
            "selects a socket: no program can take that back"
        )
        assert f"socket    {cookie(theirs.sock)} 127.0.0.1:9090" in told
        assert f"program   {before.id} (selects) runs before sockreg's: selects" in "\n".join(told)
        with (
            host.serve("web", "127.0.0.1", 8080),
            Foreign(host.namespace, host.root, "replaces", late) as after,
        ):
            told = host.ok("explain", "tcp", "192.0.2.1", "80").splitlines()
            assert told[2] == (
                f"because   the rule's label has a socket; but {after}, which runs after "
                "sockreg's, selects a socket: the last one to select wins"
            )
            assert f"socket    {cookie(late.sock)} 127.0.0.1:9091" in told
            said = host.ok("status")
            assert "refused by reject rules, unless another program selected a socket" in said
            assert f"also        {before} runs before sockreg's: sockets of rules win" in said
            assert f"also        {after} runs after sockreg's: sockets that it selects" in said
            listed = json.loads(host.run("--json", "check").out)["findings"]
            found = {it["where"]: it for it in listed if it["check"] == "foreign-program"}
            assert list(found) == [str(before), str(after)]
            # tests/systemd/test_others.py does what the fix says.
            assert "sockreg unload --keep && sockreg load" in found[str(after)]["fix"]
            assert host.ask("192.0.2.1", 80) == "late"
        host.ok("unload")


def test_while_nothing_is_in_force(host: Host) -> None:
    host.load(*RULES)
    with (
        host.namespace.serve("theirs", "127.0.0.1", 9090) as theirs,
        Foreign(host.namespace, host.root, "selects", theirs) as foreign,
    ):
        host.ok("unload", "--keep")
        told = host.ok("explain", "tcp", "192.0.2.3", "80").splitlines()
        assert told[0] == "verdict   goes to a socket that another program selects"
        assert f"because   no rule matches; but {foreign} selects a socket" in told
        assert f"program   {foreign.id} (selects) runs: selects {cookie(theirs.sock)}" in told
        assert host.ask("192.0.2.3", 80) == "theirs"
        said = host.ok("status")
        assert f"also        {foreign} is attached to this network namespace" in said


def test_a_program_that_selects_a_reuseport_group(host: Host) -> None:
    """The kernel does not tell which socket of a group a test run selects."""
    with (
        host.namespace.serve("group", "127.0.0.1", 9090, reuseport=True) as server,
        Foreign(host.namespace, host.root, "selects", server) as foreign,
    ):
        host.load(*RULES)
        told = host.json("explain", "tcp", "192.0.2.3", "80")
        assert (told["outcome"], told["target"]) == ("other", None)
        assert "which socket of a SO_REUSEPORT group" in "".join(told["notes"])
        assert told["others"] == [
            {"program_id": foreign.id, "name": "selects", "runs": "before", "decision": "selects",
             "cookie": None}
        ]  # fmt: skip
        assert host.ask("192.0.2.3", 80) == "group"


def test_a_program_that_cannot_be_asked(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    with (
        host.namespace.serve("theirs", "127.0.0.1", 9090) as server,
        Foreign(host.namespace, host.root, "selects", server) as foreign,
    ):
        host.load(*RULES)
        monkeypatch.setattr(libbpf, "program_by_id", refuse)
        told = host.json("explain", "tcp", "192.0.2.3", "80")
        assert told["outcome"] == "refused"
        assert told["others"][0]["decision"] == "unknown"
        (note,) = (it for it in told["notes"] if str(foreign.id) in it)
        assert "could not be asked, and may change this: it runs before sockreg's" in note


@pytest.mark.parametrize("first", ["tubular", "sockreg"])
def test_moving_from_tubular_while_it_serves(host: Host, first: str) -> None:
    """docs/peers.md: no step refuses anybody, and at the end sockreg alone serves."""

    def everybody() -> set[str]:
        return {host.ask(address, 80) for address in ("192.0.2.1", "2001:db8::1") * 3}

    with host.namespace.serve("web", "::", 8080) as web:
        if first == "sockreg":
            host.load()
        with host.namespace.serve("by tubular", "::", 9090) as old:
            # As tubular does, it refuses if it has no socket or may not select it.
            tubular = Foreign(host.namespace, host.root, "selects", old)
            assert everybody() == {"by tubular"}
            host.conf()
            host.ok("load")
            assert everybody() == {"by tubular"}
            host.apply(*RULES[:5])
            # A label without a socket takes nothing from tubular.
            assert everybody() == {"by tubular"}
            host.register([("web", web.sock)])
            assert everybody() == {"web"}
            told = host.json("explain", "tcp", "192.0.2.1", "80")
            assert told["target"]["cookie"] == cookie(web.sock)
            (theirs,) = told["others"]
            assert theirs["runs"] == ("before" if first == "tubular" else "after")
            tubular.close()
        assert everybody() == {"web"}
        assert host.json("status")["others"] == []
        assert host.counters("web")[2] == 0
