"""Answers of UDP servers: whether clients get them from the address and port that they asked."""

from __future__ import annotations

from collections.abc import Iterator

from sockreg.check.catalogue import Concern, live_check
from sockreg.check.facts import Facts, Host
from sockreg.check.finding import Finding, Severity
from sockreg.check.probe import Probe
from sockreg.host import outside
from sockreg.host.listener import address_text
from sockreg.host.sockdiag import DiagSocket
from sockreg.model import ANY_ADDRESS, FAMILY_BITS, INET6, UDP, Action, Binding, Destination
from sockreg.rules.prefixes import format_prefix
from sockreg.rules.syntax import format_line

_NEVER = "clients that connect(2) their socket, as most do, never see them"


@live_check(Concern.ANSWERS)
def answers(facts: Facts, host: Host) -> Iterator[Finding]:
    """UDP rules whose clients would see replies from another address or port."""
    situation = host.situation
    shown = {probe.binding.destination for probe in host.probes if probe.answer.address}
    for destination, bindings in _udp_rules(facts).items():
        members = situation.usable.get(destination, [])
        if destination in shown and len(members) == 1:
            continue  # its answers have been seen
        for member in members:
            sock = situation.by_cookie[member.cookie]
            elsewhere = [rule for rule in bindings if (rule.first, rule.last) != (sock.port,) * 2]
            others = [rule for rule in bindings if not _is_own(sock, rule)]
            if elsewhere:
                yield Finding(
                    severity=Severity.WARNING,
                    check="udp-port",
                    where=str(elsewhere[0].place),
                    what=f"{format_line(elsewhere[0])} points to a socket on port {sock.port} "
                    f"({member.unit})",
                    why=f"replies carry the port that the socket is bound to: {_NEVER}",
                    fix=_listen_there(member.unit),
                )
            elif others and host.asked_for.get(member.cookie) is False:
                own = "the address that the route to the client prefers"
                if sock.address != ANY_ADDRESS[sock.family]:
                    own = member.address
                yield Finding(
                    severity=Severity.WARNING,
                    check="udp-address",
                    where=str(others[0].place),
                    what=f"{format_line(others[0])} points to a socket that does not "
                    "receive destination addresses",
                    why=f"replies carry {own}, not the address that the client used",
                    fix=_reply_from_there(member.unit, sock.family),
                )


@live_check(Concern.ANSWERS)
def probed(_: Facts, host: Host) -> Iterator[Finding]:
    """What came back through the rules that have been tried."""
    for probe in host.probes:
        question, answer = probe.question, probe.answer
        asked = address_text(question.family, question.address, question.port)
        rule = format_line(probe.binding)
        if not answer.address:
            yield Finding(
                severity=Severity.NOTE,
                check="udp-answer",
                where=str(probe.binding.place),
                what=f"{rule}: {probe.kind} to {asked} shows nothing: {answer.why}",
                why="the server may not answer such a question; where its answers come from is "
                "unknown",
                fix="ask with a client of its protocol, while 'tcpdump -ni any udp port "
                f"{question.port}' shows where answers come from (docs/udp.md)",
            )
        elif (answer.address, answer.port) == (question.address, question.port):
            yield Finding(
                severity=Severity.NOTE,
                check="udp-answer",
                where=str(probe.binding.place),
                what=f"{rule}: {probe.kind} to {asked} was answered from there",
                why="clients get their answers",
                fix="nothing has to be done",
            )
        else:
            yield _misled(host, probe, asked)


@live_check(Concern.ANSWERS)
def visited(_: Facts, host: Host) -> Iterator[Finding]:
    """What clients of TCP from elsewhere got through the rules that they have tried."""
    for seen in host.visits:
        rule, target = format_line(seen.binding), seen.target
        where = address_text(*target)
        explain = f"'sockreg explain tcp {target.address} {target.port}'"
        if not seen.outcome:
            yield Finding(
                severity=Severity.NOTE,
                check="tcp-client",
                where=str(seen.binding.place),
                what="what a client of TCP gets was not tried",
                why=seen.why,
                fix="run 'sockreg check --probe' as root, with ip(8) installed",
            )
            continue
        severity, got, why, fix = _got(seen.outcome, explain)
        yield Finding(
            severity=severity,
            check="tcp-client",
            where=str(seen.binding.place),
            what=f"{rule}: a client that connects to {where} {got}",
            why=why,
            fix=fix,
        )


def _got(outcome: str, explain: str) -> tuple[Severity, str, str, str]:
    """How bad it is, what the client got, why, and what to do."""
    if outcome == outside.CONNECTED:
        why = "it came in from a network namespace of its own, like one of another host"
        return Severity.NOTE, "gets a connection", why, "nothing has to be done"
    if outcome in (outside.CLOSED, outside.RESET):
        return (
            Severity.WARNING,
            f"gets a connection that is {outcome} at once",
            "the server, or what passes the connection on to it, does not want this client",
            "look at the log of the server: it may allow only some addresses",
        )
    if outcome == outside.REFUSED:
        return (
            Severity.ERROR,
            "is refused",
            "the label has a socket, so something before it refuses, or the kernel does",
            f"{explain} names what is before the rules",
        )
    what = "gets no answer" if outcome == outside.TIMEOUT else f"fails: {outcome}"
    why = "a packet filter drops its packets, or the queue of the server is full; a filter may let "
    why += "those of another interface through"
    return (
        Severity.WARNING,
        what,
        why,
        f"{explain} names what is before the rules, and 'sockreg check' a queue that stays full",
    )


def _misled(host: Host, probe: Probe, asked: str) -> Finding:
    answer, family = probe.answer, probe.question.family
    found = address_text(family, answer.address, answer.port)
    same_port = answer.port == probe.question.port
    members = host.situation.usable.get(probe.binding.destination, [])
    unit = members[0].unit if members else ""
    sock = host.situation.by_cookie[members[0].cookie] if members else None
    if not same_port:
        fix = _listen_there(unit)
    elif sock is not None and host.asked_for.get(sock.cookie):
        fix = (
            "the server gets the address, but does not use it: set up a listener for each "
            "address in its configuration, or use a server that replies with IP_PKTINFO "
            "(docs/udp.md)"
        )
    else:
        fix = _reply_from_there(unit, sock.family if sock is not None else family)
    return Finding(
        severity=Severity.ERROR,
        check="udp-address" if same_port else "udp-port",
        where=str(probe.binding.place),
        what=f"{format_line(probe.binding)}: {probe.kind} to {asked} was answered from {found}",
        why=_NEVER.replace("them", "such answers"),
        fix=fix,
    )


def _is_own(sock: DiagSocket, rule: Binding) -> bool:
    """Whether a rule only has the socket's own address: replies carry it."""
    return (
        rule.length == FAMILY_BITS[rule.family]
        and format_prefix(rule.family, rule.address, rule.length) == sock.address
    )


def _listen_there(unit: str) -> str:
    if unit.endswith(".socket"):
        return f"ListenDatagram= with the port of the rule in {unit}"
    return f"let the server{_of(unit)} listen on the port of the rule"


def _reply_from_there(unit: str, family: int) -> str:
    option = "IPV6_RECVPKTINFO" if family == INET6 else "IP_PKTINFO"
    if unit.endswith(".socket"):
        return (
            f"PassPacketInfo=yes in [Socket] of {unit}, and a server that replies with IP_PKTINFO "
            "(docs/udp.md)"
        )
    return (
        f"no unit makes this socket: its server{_of(unit)} must set {option} itself, and reply "
        "with it (docs/udp.md)"
    )


def _of(unit: str) -> str:
    return f" of {unit}" if unit.endswith(".service") else ""


def _udp_rules(facts: Facts) -> dict[Destination, list[Binding]]:
    """The rules that point to each UDP destination."""
    found: dict[Destination, list[Binding]] = {}
    for binding in facts.bindings:
        if binding.action is Action.BIND and binding.protocol == UDP:
            found.setdefault(binding.destination, []).append(binding)
    return found
