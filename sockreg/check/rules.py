"""The rules: errors in files, rules that never win, prefixes without packets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import partial

from sockreg.check.catalogue import Concern, check, live_check
from sockreg.check.facts import Facts, Host
from sockreg.check.finding import Finding, Severity
from sockreg.config.report import Kind
from sockreg.host.sockdiag import DiagSocket
from sockreg.model import ANY_PORT, TCP, UDP, Action, Binding
from sockreg.plural import plural
from sockreg.rules.covered import never_win
from sockreg.rules.prefixes import SET, format_prefix
from sockreg.rules.syntax import format_line
from sockreg.rules.taken import Endpoint, pass_line, takers
from sockreg.terms import NO_UNIT
from sockreg.views import ahead
from sockreg.views.locality import BROADCAST, Local
from sockreg.views.situation import endpoints, name_of


@check(Concern.RULES)
def problems(facts: Facts) -> Iterator[Finding]:
    """Problems that keep units and files from being applied as they are written."""
    in_force = _outcomes(facts)
    for problem in facts.problems:
        if problem.kind is Kind.LABEL:
            yield Finding(
                severity=Severity.ERROR,
                check="same-label",
                where=str(problem.place),
                what=problem.text,
                why="units get each other's traffic only if they share it on purpose: the second "
                "one is refused, and the first keeps its traffic",
                fix="Label= in [X-Sockreg] of one of them, or Weight= in both to share the traffic",
            )
            continue
        if problem.kind is Kind.NETWORK:
            yield Finding(
                severity=Severity.ERROR,
                check="other-network",
                where=str(problem.place),
                what=problem.text,
                why="they would cut off the servers that listen here: the unit's rules are left "
                "out",
                fix="take the rules out of the unit, and see 'Another network namespace' in "
                "docs/recipes.md",
            )
            continue
        tie = problem.kind is Kind.TIE
        place = str(problem.place)
        outcome = in_force.get((place, problem.text))
        if outcome:
            what_follows = f"{outcome}; other units and files are not affected"
        else:
            what_follows = (
                "an apply is refused; at boot, the rules that this unit or file had when it was "
                "last sound come into force, or none of its rules"
            )
        yield Finding(
            severity=Severity.ERROR,
            check="tie" if tie else "syntax",
            where=place,
            what=problem.text,
            why=f"neither takes precedence over the other: {what_follows}" if tie else what_follows,
            fix="remove one of them, or narrow one: a longer prefix, fewer ports, from, dev"
            if tie
            else "correct it, then run 'sockreg apply --check'",
        )


@live_check(Concern.RULES)
def left_out(facts: Facts, host: Host) -> Iterator[Finding]:
    """Parts that were wrong when rules came into force, for another reason than the files show."""
    shown = {(str(problem.place), problem.text) for problem in facts.problems}
    for left in host.situation.left_out:
        for place, text in left.problems:
            if (place, text) not in shown:
                yield Finding(
                    severity=Severity.ERROR,
                    check="left-out",
                    where=place,
                    what=text,
                    why=f"{left.sentence}, since this was found when rules came into force",
                    fix="correct it if it is still wrong, then run 'systemctl reload sockreg'",
                )


def _outcomes(facts: Facts) -> dict[tuple[str, str], str]:
    """For each problem that is in force, what follows from it."""
    if facts.host is None:
        return {}
    return {
        problem: left.sentence
        for left in facts.host.situation.left_out
        for problem in left.problems
    }


@check(Concern.REMARKS)
def notices(facts: Facts) -> Iterator[Finding]:
    """Lines that were read differently from how they are written."""
    for notice in facts.rules.notices:
        if notice.place is None:
            continue  # a companion without a socket, which has its own check
        yield Finding(
            severity=Severity.NOTE,
            check="read-as",
            where=str(notice.place),
            what=notice.text,
            why="this may not be what you meant",
            fix="write the line as it is read",
        )


@check(Concern.UNUSED)
def unused_sets(facts: Facts) -> Iterator[Finding]:
    """Sets of prefixes that neither a rule that counts nor another set names."""
    for name, place in facts.rules.unused.items():
        yield Finding(
            severity=Severity.NOTE,
            check="unused-set",
            where=str(place),
            what=f"no rule that counts names the set {SET}{name}",
            why="its prefixes get no rule: the name may be misspelt here or in a rule",
            fix=f"name it in a rule, as in 'Bind=tcp {SET}{name} 443', or remove it",
        )


@check(Concern.HIDDEN)
def shadowed_rules(facts: Facts) -> Iterator[Finding]:
    """Rules that never win a packet."""
    for binding, stronger in never_win(facts.bindings):
        by = ", ".join(f"{format_line(other)} ({other.place})" for other in stronger[:3])
        more = f" and {len(stronger) - 3} more" if len(stronger) > 3 else ""
        yield Finding(
            severity=Severity.WARNING,
            check="never-wins",
            where=str(binding.place),
            what=f"{format_line(binding)} can never win",
            why=f"every packet that it matches goes to {by}{more}",
            fix="remove it, or the others",
        )


@live_check(Concern.ARRIVAL)
def routes(facts: Facts, host: Host) -> Iterator[Finding]:
    """Prefixes whose packets the host does not accept."""
    seen = set()
    for binding in sorted(facts.bindings, key=facts.is_pending):
        prefix = binding.family, binding.address, binding.length
        if prefix in seen or binding.action is Action.PASS:
            continue
        seen.add(prefix)
        local = host.situation.local
        share = local.of(*prefix)
        if local.is_broadcast(*prefix):
            yield Finding(
                severity=Severity.ERROR,
                check="broadcast",
                where=str(binding.place),
                what=f"{format_line(binding)} is for the broadcast address of a subnet",
                why=BROADCAST,
                fix="remove the rule; broadcasts go to sockets that are bound to 0.0.0.0 or to the "
                "broadcast address",
            )
        elif share is Local.NONE:
            # An address of an interface that is still to come is not there either.
            yield Finding(
                severity=Severity.WARNING if facts.is_pending(binding) else Severity.ERROR,
                check="no-route",
                where=str(binding.place),
                what=f"no address of {format_line(binding)} is local",
                why="the kernel forwards or drops such packets before it looks at any rule",
                fix=local.remedy_that_lasts(*prefix),
            )
        elif share is Local.SOME and binding.length > 0:
            yield Finding(
                severity=Severity.NOTE,
                check="partly-local",
                where=str(binding.place),
                what=f"not all addresses of {format_line(binding)} are local",
                why="packets to the other addresses do not reach the rules",
                fix=f"if you want more of them: {local.remedy(*prefix)}",
            )


@live_check(Concern.ARRIVAL)
def ahead_of_rules(facts: Facts, host: Host) -> Iterator[Finding]:
    """NAT and filters that keep packets from the rules."""
    if host.filter is None or host.filter.is_empty:
        return
    told = set()
    for binding in facts.bindings:
        prefix = binding.family, binding.address, binding.length
        ports = binding.first, binding.last
        key = (binding.protocol, prefix, ports, binding.interface)
        if binding.action is Action.PASS or key in told:
            continue
        told.add(key)
        flow = ahead.flow_of(binding.protocol, prefix, ports, binding.interface)
        for effect in host.filter.effects(flow):
            command = ahead.let_through(effect, binding.protocol, format_prefix(*prefix), ports)
            yield Finding(
                severity=Severity.WARNING if effect.surely else Severity.NOTE,
                check="ahead-of-rules",
                where=str(binding.place),
                what=f"{format_line(binding)}: {ahead.sentence(effect)}",
                why="NAT and filters of input meet a packet before any rule does"
                + ("" if effect.surely else "; this may be for some of its packets only"),
                fix=f"if they are to get to the rule: {command}; permanently, in the files of the "
                "packet filter",
            )


@live_check(Concern.RULES)
def interfaces(facts: Facts, _: Host) -> Iterator[Finding]:
    """Rules for interfaces that do not exist."""
    for binding in facts.bindings:
        if facts.is_pending(binding):
            yield Finding(
                severity=Severity.WARNING,
                check="no-interface",
                where=str(binding.place),
                what=f"{format_line(binding)}: there is no interface {binding.interface}",
                why="the rule is pending: it comes into force when the interface appears",
                fix="correct the name, unless the interface is still to come",
            )


@live_check(Concern.RULES)
def inner_interfaces(facts: Facts, host: Host) -> Iterator[Finding]:
    """Rules for interfaces that the kernel names another one for."""
    for binding in facts.bindings:
        if binding.interface is not None and binding.interface in host.inner:
            above = host.inner[binding.interface]
            yield Finding(
                severity=Severity.ERROR,
                check="inner-interface",
                where=str(binding.place),
                what=f"{format_line(binding)} never matches",
                why=above.sentence,
                fix=f"write dev {above.name}",
            )


@live_check(Concern.RULES)
def ssh(facts: Facts, host: Host) -> Iterator[Finding]:
    """Rules that lock the operator out."""
    for place, sentence, rule in host.doors:
        allowed = facts.rules.options.take_ssh
        yield Finding(
            severity=Severity.NOTE if allowed else Severity.ERROR,
            check="ssh",
            where=place,
            what=sentence,
            why="the next ssh connection meets the rule"
            + (", as TakeSsh=yes allows" if allowed else "; a boot leaves its part out"),
            fix=f"{rule}; to try the rule out: sockreg apply --confirm 60 (or --force)",
        )


@live_check(Concern.LISTENERS)
def listeners(facts: Facts, host: Host) -> Iterator[Finding]:
    """Ordinary sockets that rules take traffic from."""
    for sock in host.situation.there:
        if host.situation.labels_for(sock):
            continue
        for endpoint in endpoints(sock):
            leaves = partial(host.situation.leaves, sock)
            for binding, whole in takers(facts.by_port, endpoint, leaves):
                yield _shadow(host, sock, binding, endpoint, whole=whole)


def _shadow(
    host: Host, sock: DiagSocket, binding: Binding, endpoint: Endpoint, *, whole: bool
) -> Finding:
    unit = host.situation.unit_of(sock)
    who = name_of(sock) if unit == NO_UNIT else f"{name_of(sock)} of {unit}"
    then = f"goes to label {binding.label}" if binding.action is Action.BIND else "is refused"
    return Finding(
        severity=Severity.WARNING if whole else Severity.NOTE,
        check="shadowed-listener",
        where=str(binding.place),
        what=f"{format_line(binding)} takes {'all' if whole else 'some'} traffic from {who}",
        why=f"it {then}; rules come before ordinary sockets",
        fix=f"if you do not want this, {_leaving(endpoint, binding)}",
    )


def _leaving(endpoint: Endpoint, binding: Binding) -> str:
    line = pass_line(endpoint, binding)
    return f"add {line}" if line else f"take port {endpoint.port} out of the rule, or remove it"


@check(Concern.REMARKS)
def any_port(facts: Facts) -> Iterator[Finding]:
    """The effect of steering all ports on later binds."""
    for found in _by_label(
        binding
        for binding in facts.bindings
        if binding.action is Action.BIND
        and binding.protocol == TCP
        and (binding.first, binding.last) == ANY_PORT
    ):
        yield Finding(
            severity=Severity.NOTE,
            check="later-binds",
            where=str(found[0].place),
            what=f"{format_line(found[0])} covers every port{_like(found)}",
            why="while a steered connection lives, bind(2) of its port and address fails with "
            "EADDRINUSE, unless both sockets have SO_REUSEADDR",
            fix="start servers that bind there earlier, or pass their ports with Pass=",
        )


@live_check(Concern.ANSWERS)
def client_ports(facts: Facts, host: Host) -> Iterator[Finding]:
    """UDP rules that take the replies to this host's own requests."""
    ports = host.client_ports
    for found in _by_label(
        binding
        for binding in facts.bindings
        if binding.protocol == UDP
        and binding.action is not Action.PASS
        and binding.first < ports.stop
        and binding.last >= ports.start
    ):
        yield Finding(
            severity=Severity.WARNING,
            check="client-ports",
            where=str(found[0].place),
            what=f"{format_line(found[0])} covers ports that this host uses as a client "
            f"({ports.start}-{ports.stop - 1}){_like(found)}",
            why="replies to its unconnected UDP sockets, such as a resolver's, are steered like "
            "any datagram",
            fix="keep UDP rules off these ports, or off the addresses that clients on this host "
            "use",
        )


def _by_label(bindings: Iterable[Binding]) -> Iterable[list[Binding]]:
    """The bindings of each label, for findings that are reported once per label."""
    found: dict[str, list[Binding]] = defaultdict(list)
    for binding in bindings:
        found[binding.label].append(binding)
    return found.values()


def _like(found: list[Binding]) -> str:
    """A phrase that counts the bindings besides the first one, which is named."""
    others = len(found) - 1
    if not others:
        return ""
    return f", like {plural(others, 'more rule')} of label {found[0].label}"
