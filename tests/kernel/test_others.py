"""Other sk_lookup programs of the namespace, which run before sockreg's or after it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from sockreg.errors import EXIT_OK
from sockreg.kernel import libbpf
from tests.kernel.foreign import NAMES, Foreign
from tests.kernel.host import Host, bpftool
from tests.netns import TCP, UDP

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
) -> Iterator[dict[str, Foreign]]:
    """Programs before and after sockreg's, by name; those that select have a server each."""
    with ExitStack() as stack:
        found = {}

        def add(name: str) -> None:
            kind = name.rstrip("0123456789")
            serves = kind in ("selects", "replaces")
            server = host.namespace.serve(name, "::", 0, protocol) if serves else None
            found[name] = stack.enter_context(Foreign(host, kind, server))

        stack.enter_context(host.namespace.serve("ordinary", "::", 80, protocol))
        for name in before:
            add(name)
        host.load(*RULES)
        for name in after:
            add(name)
        stack.enter_context(host.serve("web", "::", 8080, protocol))
        yield found
        host.ok("unload")


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
    with surrounded(host, before, after, protocol):
        for (last, ours), prefix in itertools.product(OURS.items(), ("192.0.2.", "2001:db8::")):
            found = host.ask(f"{prefix}{last}", 80, protocol)
            assert found == expected(before, ours, after), (prefix, last)


def test_a_foreign_program_is_mentioned_and_left_alone(host: Host) -> None:
    with Foreign(host, "passes") as foreign:
        host.conf(*RULES)
        said = host.run("load")
        assert said.status == EXIT_OK
        assert f"note: program {foreign.id} (passes) is also attached here" in said.err
        notices = [entry for entry in host.entries() if "another sk_lookup program" in str(entry)]
        assert [entry["PRIORITY"] for entry in notices] == [["4"]]
        assert f"also        program {foreign.id} (passes) is attached" in host.ok("status")
        assert host.json("status")["others"] == [{"program_id": foreign.id, "name": "passes"}]
        with host.serve("web", "127.0.0.1", 8080):
            assert host.ask("192.0.2.1", 80) == "web"
        host.ok("unload")
        assert libbpf.attached_programs(host.namespace.fd) == [foreign.id]
        assert bpftool("link", "show", "pinned", str(foreign.pin))["prog_id"] == foreign.id
