"""What stands around sockreg in the kernel."""

from __future__ import annotations

from collections.abc import Iterator

from sockreg.check.checks import Concern, live_check
from sockreg.check.facts import Facts, Host
from sockreg.check.finding import Finding, Severity
from sockreg.model import PROTOCOL_NAMES
from sockreg.plural import plural
from sockreg.rules.syntax import format_line
from sockreg.views.situation import name_of


@live_check(Concern.PROGRAMS)
def foreign_programs(_: Facts, host: Host) -> Iterator[Finding]:
    """Other sk_lookup programs of this network namespace."""
    for program in host.others:
        yield Finding(
            severity=Severity.WARNING,
            check="foreign-program",
            where=program,
            what=f"sk_lookup {program} is attached to this network namespace as well",
            why="all of them run: a socket that one selects beats another's refusal, and of "
            "several selected ones the last wins",
            fix="'bpftool link list' shows whose it is",
        )


@live_check(Concern.LOADER)
def not_applied(facts: Facts, host: Host) -> Iterator[Finding]:
    """Files that say otherwise than the kernel does."""
    if not host.situation.loaded or facts.problems:
        return
    files = [binding[:-1] for binding in facts.bindings]  # all but its place
    kernel = [binding[:-1] for binding in host.situation.bindings]
    if files == kernel:
        return  # in the same order, mostly: no need to hash all of them
    added, removed = len(set(files) - set(kernel)), len(set(kernel) - set(files))
    if added or removed:
        yield Finding(
            severity=Severity.WARNING,
            check="not-applied",
            where="",
            what=f"the files do not say what is in force: {added} rules to add, {removed} to "
            "remove",
            why="they come into force with the next apply or boot",
            fix="sockreg apply --check shows them, sockreg apply puts them in force",
        )


@live_check(Concern.LOADER)
def not_loaded(facts: Facts, host: Host) -> Iterator[Finding]:
    """Rules that are configured, and no program to apply them."""
    count = len(facts.bindings)
    if count and not host.situation.loaded:
        are = "is" if count == 1 else "are"
        yield Finding(
            severity=Severity.WARNING,
            check="not-loaded",
            where="",
            what=f"{plural(count, 'rule')} {are} configured, and nothing is loaded here",
            why="no packet meets a rule",
            fix="systemctl start sockreg.service",
        )


@live_check(Concern.REMARKS)
def multipath(_: Facts, host: Host) -> Iterator[Finding]:
    """Servers whose sockets cannot be registered."""
    for it in host.situation.there:
        if it.upper == "mptcp":
            owners = ", ".join(map(str, host.situation.held_by(it)[:1])) or "its server"
            yield Finding(
                severity=Severity.NOTE,
                check="mptcp",
                where=f"{PROTOCOL_NAMES[it.protocol]} {name_of(it)}",
                what=f"{owners} listens by MPTCP",
                why="such a socket cannot be registered, should rules be meant to lead to it",
                fix="GODEBUG=multipathtcp=0 for a Go server; no SocketProtocol=mptcp in a unit",
            )


@live_check(Concern.RULES)
def interface_rules(facts: Facts, host: Host) -> Iterator[Finding]:
    """Rules with an interface on kernels whose programs do not see it."""
    if host.kernel >= (5, 17):
        return
    for binding in facts.bindings:
        if binding.interface is not None:
            yield Finding(
                severity=Severity.ERROR,
                check="old-kernel",
                where=str(binding.place),
                what=f"{format_line(binding)} names an interface",
                why="before Linux 5.17 the program is not told the interface",
                fix="another condition, such as 'from PREFIX'",
            )
