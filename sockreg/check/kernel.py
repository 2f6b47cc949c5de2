"""The surroundings of sockreg in the kernel."""

from __future__ import annotations

from collections.abc import Iterator

from sockreg.check.catalogue import Concern, live_check
from sockreg.check.facts import Facts, Host
from sockreg.check.finding import Finding, Severity
from sockreg.model import PROTOCOL_NAMES
from sockreg.plural import plural
from sockreg.registry.attachment import Runs
from sockreg.rules.syntax import format_line
from sockreg.terms import INTERFACES_SERVICE, INTERFACES_SOCKET, LOADER
from sockreg.views.situation import name_of


@live_check(Concern.PROGRAMS)
def foreign_programs(_: Facts, host: Host) -> Iterator[Finding]:
    """Other sk_lookup programs of this network namespace."""
    why = "all of them run, and the last selected socket wins"
    fix = "'bpftool link list' shows its owner"
    last = "to run sockreg's last, attach it again: 'sockreg unload --keep && sockreg load'"
    for program in host.others:
        yield Finding(
            severity=Severity.WARNING,
            check="foreign-program",
            where=str(program),
            what=f"sk_lookup {program} is also attached to this network namespace",
            why=f"{why}; this one {program.effect}" if program.runs else why,
            fix=f"{fix}; {last}" if program.runs is Runs.AFTER else fix,
        )


@live_check(Concern.UNITS)
def no_bpf(_: Facts, host: Host) -> Iterator[Finding]:
    """A host, or a container, where even root may not use bpf(2)."""
    if host.blocked is not None:
        what, fix = host.blocked
        yield Finding(
            severity=Severity.ERROR,
            check="no-bpf",
            where="",
            what=what,
            why="nothing can be loaded, and no packet is steered",
            fix=fix,
        )


@live_check(Concern.PROGRAMS)
def readers_can_write(_: Facts, host: Host) -> Iterator[Finding]:
    """What readers, who may open maps for reading, need besides to write to them."""
    for what, fix in host.loopholes:
        yield Finding(
            severity=Severity.WARNING,
            check="readers-can-write",
            where="",
            what=what,
            why="members of group sockreg, who may only read the registry, can write to it by that",
            fix=fix,
        )


@live_check(Concern.LOADER)
def not_applied(facts: Facts, host: Host) -> Iterator[Finding]:
    """Files that differ from the rules in the kernel."""
    if not host.situation.in_force or facts.problems:
        return
    files = [binding[:-1] for binding in facts.bindings]  # everything except its place
    there = host.situation
    kernel = [binding[:-1] for binding in (*there.bindings, *there.pending)]
    if files == kernel:
        return  # usually in the same order: no need to hash all of them
    added, removed = len(set(files) - set(kernel)), len(set(kernel) - set(files))
    if added or removed:
        yield Finding(
            severity=Severity.WARNING,
            check="not-applied",
            where="",
            what=f"the files differ from the rules in force: {added} rules to add, {removed} to "
            "remove",
            why="they come into force with the next apply or boot",
            fix="sockreg apply --check shows the changes, sockreg apply applies them",
        )


@live_check(Concern.LOADER)
def not_loaded(facts: Facts, host: Host) -> Iterator[Finding]:
    """Rules that are configured, and no program to apply them."""
    count = len(facts.bindings)
    if count and not host.situation.in_force:
        nothing = "in force" if host.situation.loaded else "loaded"
        are = "is" if count == 1 else "are"
        yield Finding(
            severity=Severity.WARNING,
            check="not-loaded",
            where="",
            what=f"{plural(count, 'rule')} {are} configured, but nothing is {nothing} here",
            why="no packet is steered",
            fix=f"systemctl unmask {LOADER} && systemctl start {LOADER}"
            if facts.loader_masked
            else f"systemctl start {LOADER}",
        )


@live_check(Concern.LOADER)
def not_followed(_: Facts, host: Host) -> Iterator[Finding]:
    """Rules that do not follow their interfaces, because systemd does not listen."""
    there = host.situation
    named = any(rule.interface is not None for rule in (*there.bindings, *there.pending))
    state = host.states.get(INTERFACES_SOCKET)
    if named and state is not None and state.active != "active":
        yield Finding(
            severity=Severity.WARNING,
            check="interfaces-not-followed",
            where=INTERFACES_SOCKET,
            what=f"rules in force name interfaces, but {INTERFACES_SOCKET} is {state.active}",
            why="the rules do not follow interfaces that come, go or are made again",
            fix=f"systemctl restart {INTERFACES_SOCKET} {INTERFACES_SERVICE}; 'sockreg "
            "install-units' installs them",
        )


@live_check(Concern.REMARKS)
def multipath(_: Facts, host: Host) -> Iterator[Finding]:
    """Servers whose sockets cannot be registered."""
    for sock in host.situation.there:
        if sock.upper == "mptcp":
            owners = ", ".join(map(str, host.situation.held_by(sock)[:1])) or "its server"
            yield Finding(
                severity=Severity.NOTE,
                check="mptcp",
                where=f"{PROTOCOL_NAMES[sock.protocol]} {name_of(sock)}",
                what=f"{owners} listens with MPTCP",
                why="such a socket cannot be registered, if you want rules to point to it",
                fix="set GODEBUG=multipathtcp=0 for a Go server; remove SocketProtocol=mptcp "
                "from a unit",
            )


@live_check(Concern.RULES)
def interface_rules(facts: Facts, host: Host) -> Iterator[Finding]:
    """Rules with an interface on kernels whose programs do not see the interface."""
    if host.kernel >= (5, 17):
        return
    for binding in facts.bindings:
        if binding.interface is not None:
            yield Finding(
                severity=Severity.ERROR,
                check="old-kernel",
                where=str(binding.place),
                what=f"{format_line(binding)} names an interface",
                why="before Linux 5.17, the program does not get the interface",
                fix="use another condition, such as 'from PREFIX'",
            )
