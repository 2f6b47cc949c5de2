"""The rules: what is wrong in the files, what never wins, what nothing arrives for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import partial

from sockreg.check.facts import Facts
from sockreg.check.finding import Finding, Severity
from sockreg.config.report import Kind
from sockreg.host.sockdiag import DiagSocket
from sockreg.model import ANY_PORT, FAMILY_BITS, PROTOCOL_NAMES, TCP, UDP, Action, Binding
from sockreg.rules.covered import never_win
from sockreg.rules.syntax import format_prefix, format_rule
from sockreg.rules.taken import Endpoint, is_conditional, takers
from sockreg.systemd.unit_of import NO_UNIT
from sockreg.views.locality import Local, route_command
from sockreg.views.situation import endpoints, name_of


def text(binding: Binding) -> str:
    """``Bind=tcp 192.0.2.0/24 80``."""
    return f"{binding.action.name.capitalize()}={format_rule(binding)}"


def problems(facts: Facts) -> Iterator[Finding]:
    """What keeps the files from being applied."""
    for problem in facts.problems:
        tie = problem.kind is Kind.TIE
        yield Finding(
            Severity.ERROR,
            "tie" if tie else "syntax",
            str(problem.place),
            problem.text,
            "neither comes before the other, so the whole rule set is refused"
            if tie
            else "one wrong line refuses the whole rule set; what is in force stays",
            "remove one of them, or narrow one: a longer prefix, fewer ports, from, dev"
            if tie
            else "correct the line, then 'sockreg apply --check'",
        )


def notices(facts: Facts) -> Iterator[Finding]:
    """What was understood otherwise than it is written."""
    for notice in facts.rules.notices:
        if notice.place is None:
            continue  # of a companion without a socket, for which there is a check
        yield Finding(
            Severity.NOTE,
            "read-as",
            str(notice.place),
            notice.text,
            "it may not be what was meant",
            "write it as it is read",
        )


def shadowed_rules(facts: Facts) -> Iterator[Finding]:
    """Rules that never win a packet."""
    for binding, stronger in never_win(facts.bindings):
        by = ", ".join(f"{text(it)} ({it.place})" for it in stronger[:3])
        more = f" and {len(stronger) - 3} more" if len(stronger) > 3 else ""
        yield Finding(
            Severity.WARNING,
            "never-wins",
            str(binding.place),
            f"{text(binding)} can never win",
            f"every packet it matches goes by {by}{more}",
            "remove it, or the others",
        )


def routes(facts: Facts) -> Iterator[Finding]:
    """Prefixes to which no packet is taken in."""
    if facts.host is None:
        return
    seen = set()
    for binding in facts.bindings:
        prefix = binding.family, binding.address, binding.length
        if prefix in seen or binding.action is Action.PASS:
            continue
        seen.add(prefix)
        local = facts.host.situation.local.of(*prefix)
        if local is Local.NONE:
            written = format_prefix(*prefix)
            yield Finding(
                Severity.ERROR,
                "no-route",
                str(binding.place),
                f"no address of {text(binding)} is local",
                "the kernel forwards or drops such packets before any rule is looked at",
                f"{route_command(written)}; for good, in the .network file of an interface "
                f"(systemd.network(5)): [Route] Destination={written} Type=local Table=local",
            )
        elif local is Local.SOME and binding.length > 0:
            yield Finding(
                Severity.NOTE,
                "partly-local",
                str(binding.place),
                f"not all addresses of {text(binding)} are local",
                "packets to the others do not get to the rules",
                f"{route_command(format_prefix(*prefix))}, if all of them are meant",
            )


def interfaces(facts: Facts) -> Iterator[Finding]:
    """Rules about interfaces that are not there."""
    if facts.host is None:
        return
    for binding in facts.bindings:
        if binding.interface is not None and binding.interface not in facts.host.interfaces:
            yield Finding(
                Severity.ERROR,
                "no-interface",
                str(binding.place),
                f"{text(binding)}: there is no interface {binding.interface}",
                "the whole rule set is refused until it is there",
                "make the interface before sockreg.service starts, or correct the name",
            )


def ssh(facts: Facts) -> Iterator[Finding]:
    """Rules that lock the operator out."""
    if facts.host is None:
        return
    for place, sentence, rule in facts.host.doors:
        allowed = facts.rules.options.take_ssh
        yield Finding(
            Severity.NOTE if allowed else Severity.ERROR,
            "ssh",
            place,
            sentence,
            "the next ssh connection meets the rule"
            + (", as TakeSsh=yes allows" if allowed else "; at boot nobody refuses it"),
            f"{rule}; to try it out: sockreg apply --confirm 60 (or --force)",
        )


def listeners(facts: Facts) -> Iterator[Finding]:
    """Ordinary sockets that rules take traffic from."""
    if facts.host is None:
        return
    for it in facts.host.situation.there:
        if it.cookie in facts.host.situation.labels_of:
            continue
        for endpoint in endpoints(it):
            leaves = partial(_leaves, facts, it)
            for binding in takers(facts.by_port, endpoint, leaves):
                whole = not is_conditional(binding) and (
                    endpoint.address is not None or binding.length == 0
                )
                keep = _pass_rule(binding, endpoint)
                yield _shadow(facts, it, binding, keep, whole=whole)


def _leaves(facts: Facts, it: DiagSocket, binding: Binding) -> bool:
    return facts.host is not None and facts.host.situation.leaves(it, binding)


def _pass_rule(binding: Binding, endpoint: Endpoint) -> str:
    """The rule that leaves a listener's packets alone."""
    family, address = endpoint.family, endpoint.address
    where = (
        format_prefix(family, binding.address, binding.length)
        if address is None
        else format_prefix(family, address, FAMILY_BITS[family])
    )
    return f"Pass={PROTOCOL_NAMES[endpoint.protocol]} {where} {endpoint.port}"


def _shadow(
    facts: Facts, it: DiagSocket, binding: Binding, pass_rule: str, *, whole: bool
) -> Finding:
    unit = facts.host.situation.unit_of(it) if facts.host else NO_UNIT
    who = name_of(it) if unit == NO_UNIT else f"{name_of(it)} of {unit}"
    goes = f"label {binding.label}" if binding.action is Action.BIND else "nobody"
    return Finding(
        Severity.WARNING if whole else Severity.NOTE,
        "shadowed-listener",
        str(binding.place),
        f"{text(binding)} takes {'all' if whole else 'some'} traffic from {who}",
        f"it goes to {goes}; rules come before ordinary sockets",
        f"if that is not meant: {pass_rule} as well",
    )


def any_port(facts: Facts) -> Iterator[Finding]:
    """What steering all ports does to later binds."""
    for found in _by_label(
        binding
        for binding in facts.bindings
        if binding.action is Action.BIND
        and binding.protocol == TCP
        and (binding.first, binding.last) == ANY_PORT
    ):
        yield Finding(
            Severity.NOTE,
            "later-binds",
            str(found[0].place),
            f"{text(found[0])} is about every port{_like(found)}",
            "while a connection that came by it lives, bind(2) of its port and address fails "
            "with EADDRINUSE, unless both sockets have SO_REUSEADDR",
            "start servers that bind there before, or leave their ports out by Pass=",
        )


def client_ports(facts: Facts) -> Iterator[Finding]:
    """UDP rules that take the answers to this host's own questions."""
    if facts.host is None:
        return
    ports = facts.host.client_ports
    for found in _by_label(
        binding
        for binding in facts.bindings
        if binding.protocol == UDP
        and binding.action is not Action.PASS
        and binding.first < ports.stop
        and binding.last >= ports.start
    ):
        yield Finding(
            Severity.WARNING,
            "client-ports",
            str(found[0].place),
            f"{text(found[0])} is about ports from which this host asks "
            f"({ports.start}-{ports.stop - 1}){_like(found)}",
            "answers to its unconnected UDP sockets, such as a resolver's, meet the rule like "
            "any datagram",
            "keep UDP rules off these ports, or off the addresses that clients here have",
        )


def _by_label(bindings: Iterable[Binding]) -> Iterable[list[Binding]]:
    """The bindings of each label, for what need not be said of every one of them."""
    found: dict[str, list[Binding]] = defaultdict(list)
    for binding in bindings:
        found[binding.label].append(binding)
    return found.values()


def _like(found: list[Binding]) -> str:
    """How many there are besides the first one, which is named."""
    others = len(found) - 1
    if not others:
        return ""
    return f", like {others} more {'rules' if others > 1 else 'rule'} of label {found[0].label}"
