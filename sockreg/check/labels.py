"""Labels: rules without a socket, sockets without rules, and sockets that do not serve."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches

from sockreg.check.catalogue import Concern, check, live_check
from sockreg.check.facts import Facts, Host
from sockreg.check.finding import Finding, Severity
from sockreg.config.listens import LISTENS, STREAMS, Listen, ports_of, read_listens
from sockreg.config.same_label import same_labels
from sockreg.host.listener import cookie_text
from sockreg.host.queues import Jam, full_text, is_full, queue_of
from sockreg.model import (
    ANY_ADDRESS,
    INET,
    INET6,
    PROTOCOL_NAMES,
    UDP,
    Action,
    Binding,
    Destination,
)
from sockreg.plural import plural
from sockreg.printable import shell
from sockreg.registry.destinations import destination_name
from sockreg.rules.syntax import format_line
from sockreg.terms import FAMILY_TITLES, ONLY
from sockreg.views.bound import arriving, unanswered
from sockreg.views.health import ailment

_KEY_OF = {protocol: key for key, protocol in STREAMS.items()}


def offered(facts: Facts) -> dict[Destination, str]:
    """The destinations for which the counted .socket units have sockets, and these units."""
    return {destination: name for name in facts.counted for destination in offered_by(facts, name)}


def offered_by(facts: Facts, name: str) -> list[Destination]:
    """The destinations for which a counted .socket unit has sockets."""
    unit = facts.sockets.get(name)
    if unit is None:
        return []
    label = facts.rules.units[name].label
    return [
        Destination(label, family, protocol, listener)
        for (family, protocol), ports in ports_of(read_listens(name, unit.sections)).items()
        for listener in (ONLY, *ports)
    ]


@check(Concern.SOCKETS)
def unsteerable(facts: Facts) -> Iterator[Finding]:
    """Units that count but have nothing that packets can be steered to."""
    served = set(offered(facts).values())
    for name in facts.counted:
        unit = facts.sockets.get(name)
        if unit is None:
            continue
        if facts.host is not None and facts.host.registered(name):
            continue  # whatever the files say: systemd ignores what it does not know
        protocol = unit.last("Socket", "SocketProtocol")
        if protocol is not None and protocol.value == "mptcp":
            yield Finding(
                severity=Severity.ERROR,
                check="mptcp",
                where=str(protocol.place),
                what=f"{name} creates MPTCP sockets",
                why="the kernel does not steer to these: they are not registered",
                fix="remove SocketProtocol=mptcp; for a Go server that listens itself, set "
                "GODEBUG=multipathtcp=0",
            )
        elif name not in served:
            listens = [setting for key in LISTENS for setting in unit.all("Socket", key)]
            yield Finding(
                severity=Severity.ERROR,
                check="unsteerable",
                where=str(listens[0].place) if listens else unit.home,
                what=f"{name} has no TCP or UDP socket",
                why="only listening TCP and bound UDP sockets can be steered to",
                fix="use ListenStream= or ListenDatagram= with an address and port",
            )


@check(Concern.SOCKETS)
def rules_without_socket(facts: Facts) -> Iterator[Finding]:
    """Labels that rules point to but no socket serves."""
    known = offered(facts)
    labels = {offer.label for offer in known} | _registered(facts)
    for destination, binding in facts.destinations.items():
        members = facts.host.situation.members.get(destination) if facts.host else None
        if members or (destination in known and not (facts.host and facts.host.situation.loaded)):
            continue
        if facts.host and facts.host.situation.unclear(destination):
            continue  # has its own check
        what = destination_name(*destination)
        live = facts.host is not None and facts.host.situation.loaded
        in_force = live and not facts.is_pending(binding)
        then = "left to ordinary lookup" if binding.missing_pass else "refused"
        yield Finding(
            severity=Severity.ERROR if in_force and not binding.missing_pass else Severity.WARNING,
            check="no-socket",
            where=str(binding.place),
            what=f"{format_line(binding)} points to label {what}, which has no socket",
            why=f"its packets are {then}" if in_force else _would_be(facts, binding, then),
            fix=_supply(facts, destination, known, labels),
        )


def _would_be(facts: Facts, binding: Binding, then: str) -> str:
    """What becomes of the packets of a rule that is not in force yet."""
    when = f"when interface {binding.interface} appears, " if facts.is_pending(binding) else ""
    return f"{when}its packets would be {then}"


def _supply(
    facts: Facts, wanted: Destination, known: dict[Destination, str], labels: set[str]
) -> str:
    """What gives a label the socket that it lacks."""
    if wanted in known:
        name = known[wanted]
        if facts.host is None or not _unopened(facts, facts.host, name):
            return f"{facts.register(name)}, which registers"
        if facts.host.state(name).active in ("inactive", "failed"):
            return facts.start(name)
        return f"{facts.open_again(name)}: its files have changed since it was started"
    same = [offer for offer in known if offer.label == wanted.label]
    if not same:
        near = _near(wanted.label, labels)
        if near:
            return f"did you mean {near}? Correct the rule, or FileDescriptorName= of the unit"
        return (
            f"FileDescriptorName={wanted.label} in a .socket unit with its sockreg@ unit enabled, "
            "or 'sockreg register' for another server"
        )
    units = " and ".join(sorted({known[offer] for offer in same}))
    like = [offer for offer in same if offer.protocol == wanted.protocol]
    if not like:
        has, lacks = PROTOCOL_NAMES[same[0].protocol], PROTOCOL_NAMES[wanted.protocol]
        return (
            f"{units} has only {has} sockets: write {has} in the rule, or add "
            f"{_KEY_OF[wanted.protocol]}= for {lacks} to the unit"
        )
    if all(offer.family != wanted.family for offer in like):
        family = FAMILY_TITLES[wanted.family]
        return (
            f"{units} has only {FAMILY_TITLES[like[0].family]} sockets for "
            f"{PROTOCOL_NAMES[wanted.protocol]}: listen on [::] or an {family} address"
        )
    ports = sorted({offer.listener for offer in like if offer.family == wanted.family} - {ONLY})
    return f"write 'to PORT' with a port of {units}: {', '.join(map(str, ports))}"


def _near(label: str, labels: Iterable[str]) -> str:
    """The label that may have been meant, or ''. Names of units are not alike for their suffix."""
    stems = {other.removesuffix(".socket"): other for other in sorted(labels) if other != label}
    near = get_close_matches(label.removesuffix(".socket"), stems, 1)
    return stems[near[0]] if near else ""


def _unopened(facts: Facts, host: Host, name: str) -> list[Listen]:
    """The Listen lines of a unit for which there is no socket in this network namespace."""
    unit = facts.sockets.get(name)
    if unit is None:
        return []
    there = {(sock.protocol, sock.address, sock.port) for sock in host.situation.there}
    return [
        listen
        for listen in read_listens(name, unit.sections)
        if (listen.protocol, listen.address, listen.port) not in there
        # Without IPv6, systemd opens 0.0.0.0 for a port without address.
        and not (
            listen.address == ANY_ADDRESS[INET6]
            and (listen.protocol, ANY_ADDRESS[INET], listen.port) in there
        )
    ]


@live_check(Concern.UNITS)
def unopened(facts: Facts, host: Host) -> Iterator[Finding]:
    """Listen lines that have changed since the unit was started."""
    for name in facts.counted:
        unit = facts.sockets.get(name)
        if unit is None or host.state(name).active != "active":
            continue
        if any(unit.last("Socket", key) for key in ("NetworkNamespacePath", "PrivateNetwork")):
            continue  # it listens elsewhere
        for listen in _unopened(facts, host, name):
            yield Finding(
                severity=Severity.WARNING,
                check="not-listening",
                where=str(listen.place),
                what=f"{name} is active, but there is no {PROTOCOL_NAMES[listen.protocol]} socket "
                f"on {listen.local}",
                why="its files have changed since it was started; systemd keeps the sockets that "
                "it has opened",
                fix=f"{facts.open_again(name)}; this interrupts the server",
            )


@live_check(Concern.SOCKETS)
def unregistered(facts: Facts, host: Host) -> Iterator[Finding]:
    """Units that listen, but are not among the sockets that share their label."""
    refused = {unit for unit, _ in same_labels(facts.rules.units, ())}
    for name in facts.counted:
        unit = facts.sockets.get(name)
        if unit is None or name in refused or host.state(name).active != "active":
            continue
        missing = [
            destination
            for destination in offered_by(facts, name)
            if destination in facts.destinations
            and (members := host.situation.members.get(destination))
            and all(member.unit != name for member in members)
        ]
        if missing and not _unopened(facts, host, name):
            others = sorted(
                {member.unit for each in missing for member in host.situation.members[each]}
            )
            yield Finding(
                severity=Severity.WARNING,
                check="not-registered",
                where=unit.home,
                what=f"{name} listens, but has no socket under its label, "
                f"{destination_name(*missing[0])}",
                why=f"it gets no traffic of the rules: {', '.join(others)} gets all",
                fix=f"{facts.register(name)}, which registers",
            )


def _registered(facts: Facts) -> set[str]:
    if facts.host is None:
        return set()
    return {
        destination.label
        for destination, members in facts.host.situation.members.items()
        if members
    }


@live_check(Concern.SOCKETS)
def unclear_rules(facts: Facts, host: Host) -> Iterator[Finding]:
    """Rules that do not say which listener of a label they mean."""
    for destination, binding in facts.destinations.items():
        listeners = host.situation.unclear(destination)
        if listeners:
            then = "left to ordinary lookup" if binding.missing_pass else "refused"
            pending = facts.is_pending(binding)
            yield Finding(
                severity=Severity.WARNING if pending else Severity.ERROR,
                check="which-listener",
                where=str(binding.place),
                what=f"{format_line(binding)} does not say which listener of label "
                f"{destination.label} it means: {' or '.join(listeners)}",
                why="no listener gets what another one is meant to get: "
                + (_would_be(facts, binding, then) if pending else f"its packets are {then}"),
                fix="add 'to PORT' to the rule, then run 'sockreg apply'",
            )


@check(Concern.UNUSED)
def sockets_without_rules(facts: Facts) -> Iterator[Finding]:
    """Labels with a socket that no rule points to."""
    led_to = {destination.label for destination in facts.destinations}
    if facts.host is not None and facts.host.situation.left_out:
        # Of what is wrong in the files, the earlier rules are in force.
        led_to |= {b.label for b in facts.host.situation.bindings if b.action is Action.BIND}
    units = {offer.label: name for offer, name in offered(facts).items()}
    for label in sorted({*units, *_registered(facts)} - led_to):
        name = units.get(label)
        unit = facts.sockets.get(name) if name else None
        near = _near(label, led_to)
        hint = f"did the rules for {near} mean this label? Otherwise, " if near else ""
        yield Finding(
            severity=Severity.WARNING,
            check="no-rules",
            where=unit.where("Socket", "FileDescriptorName") if unit else label,
            what=f"label {label} has a socket, but no rule points to it"
            + (f" ({name})" if name else ""),
            why="it only receives what is sent to its own address",
            fix=f"{hint}Bind= in [X-Sockreg] of the unit, or 'sockreg bind {shell(label)} tcp "
            "PREFIX PORTS'",
        )


@live_check(Concern.SOCKETS)
def unserved(facts: Facts, host: Host) -> Iterator[Finding]:
    """Registered sockets that receive nothing."""
    situation = host.situation
    protocols = {
        member.cookie: destination.protocol
        for destination, members in situation.members.items()
        for member in members
    }
    for cookie, labels in sorted(situation.labels_of.items()):
        sock = situation.by_cookie.get(cookie)
        if sock is not None and is_full(sock):
            continue  # has its own check
        holders = [] if sock is None or situation.holders.hidden else situation.held_by(sock)
        ill = ailment(sock, holders, protocols[cookie])
        if ill:
            units = host.units_of(cookie)
            files = [facts.sockets[unit].home for unit in units if unit in facts.sockets]
            yield Finding(
                severity=Severity.ERROR,
                check="dead-server",
                where=", ".join(files or units),
                what=f"socket {cookie_text(cookie)} of label {', '.join(sorted(labels))}: {ill}",
                why="a socket stays registered until it is closed, even if no server accepts",
                fix="restart its server; 'sockreg inspect' shows details of the socket",
            )


@live_check(Concern.SOCKETS)
def full_queues(facts: Facts, host: Host) -> Iterator[Finding]:
    """Members whose queue stays full: clients hang, or their datagrams are lost."""
    told: set[int] = set()
    for destination, members in sorted(host.situation.members.items()):
        for member in members:
            group = [one.cookie for one in (member, *member.mates) if one.cookie in host.jams]
            for cookie in group:
                if cookie not in told:
                    told.add(cookie)
                    yield _full_queue(facts, destination, member.unit, host.jams[cookie])


def _full_queue(facts: Facts, destination: Destination, unit: str, jam: Jam) -> Finding:
    protocol = PROTOCOL_NAMES[destination.protocol]
    queue = queue_of([jam.socket])
    stays = full_text(queue, protocol).replace("is full", "stays full", 1) if queue else ""
    datagrams = destination.protocol == UDP
    if jam.moves:
        how = "reads datagrams" if datagrams else "accepts"
        why = f"its server {how} more slowly than they come"
    else:
        why = f"its server {'reads' if datagrams else 'accepts'} nothing, or next to nothing"
    lost = "datagrams are lost" if datagrams else "clients hang"
    larger = "ReceiveBuffer=" if datagrams else "Backlog="
    return Finding(
        severity=Severity.WARNING if jam.moves else Severity.ERROR,
        check="full-queue",
        where=facts.sockets[unit].home if unit in facts.sockets else unit,
        what=f"the queue of socket {cookie_text(jam.socket.cookie)} of label {destination.label} "
        f"{stays}",
        why=f"{why}: {lost}",
        fix=f"add members to the label, or lower the weight of this one; {larger} of the .socket "
        "unit only helps with bursts"
        if jam.moves
        else "restart its server; in a pool, 'sockreg drain' keeps new clients away until then",
    )


@live_check(Concern.SOCKETS)
def bound_to_an_interface(facts: Facts, host: Host) -> Iterator[Finding]:
    """Rules that lead packets to sockets which are bound to another interface."""
    situation = host.situation
    for binding in facts.bindings:
        if binding.action is not Action.BIND:
            continue
        on = arriving(binding.interface, host.interfaces, host.inner)
        for member in situation.usable.get(binding.destination, []):
            bound_to = situation.by_cookie[member.cookie].interface
            wrong = unanswered(bound_to, situation.interface_names, on)
            if not wrong:
                continue
            name = situation.interface_names.get(bound_to)
            yield Finding(
                severity=Severity.WARNING if name and on is None else Severity.ERROR,
                check="bound-socket",
                where=str(binding.place),
                what=f"{format_line(binding)} points to socket {cookie_text(member.cookie)} of "
                f"{member.unit}, which is {wrong}",
                why="the kernel answers only through the socket's own interface",
                fix=f"write dev {name} in the rule, or let the server bind to no interface: no "
                "BindToDevice= in its .socket unit, and no link-local address"
                if name
                else f"restart {member.unit}, or whatever opens the socket",
            )


@check(Concern.SOCKETS)
def units_bound_to_an_interface(facts: Facts) -> Iterator[Finding]:
    """The same for sockets that are not there yet, by the files of their units."""
    for destination, name in offered(facts).items():
        unit = facts.sockets[name]
        device = unit.last("Socket", "BindToDevice")
        there = facts.host.situation.members.get(destination) if facts.host else None
        if device is None or there:
            continue
        for binding in facts.bindings:
            led = binding.action is Action.BIND and binding.destination == destination
            if led and binding.interface != device.value:
                yield Finding(
                    severity=Severity.ERROR if binding.interface else Severity.WARNING,
                    check="bound-socket",
                    where=str(binding.place),
                    what=f"{format_line(binding)} points to {name}, whose sockets are bound to "
                    f"interface {device.value} ({device.place})",
                    why="clients that come by another interface get no answer",
                    fix=f"write dev {device.value} in the rule, or remove BindToDevice=",
                )


@live_check(Concern.SOCKETS)
def refused_listeners(_: Facts, host: Host) -> Iterator[Finding]:
    """Listeners that the sock_ops program did not register."""
    for expected in host.expected:
        if not expected.failed:
            continue
        holders = sorted(
            {
                member.unit
                for destination, members in host.situation.members.items()
                for member in members
                if destination.label == expected.label and member.unit != expected.unit
            }
        )
        who = ", ".join(holders)
        yield Finding(
            severity=Severity.ERROR,
            check="refused-listener",
            where=expected.unit,
            what=f"{plural(expected.failed, 'listener')} of {expected.unit}, which is expected for "
            f"label {expected.label}, could not be registered",
            why=f"the label belongs to {who}, and its traffic stays there"
            if holders
            else "the kernel refused the socket, as it does for MPTCP",
            fix=f"expect {expected.unit} under another label, or stop {who} and restart "
            f"{expected.unit}"
            if holders
            else "make it listen with plain TCP (a Go server: GODEBUG=multipathtcp=0)",
        )
