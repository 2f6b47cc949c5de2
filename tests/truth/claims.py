"""What sockreg says of a host's state and of a packet, and whether what the packet met bears it
out.

Each rule here is a sentence of the manual: "a drained socket gets nothing new".
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from sockreg.api import Registry
from sockreg.check.finding import Finding, Severity
from sockreg.model import UDP, Packet
from sockreg.rules.oracle import matches
from sockreg.views.explain import Explanation, Outcome
from sockreg.views.listeners import Listener, Listeners, Steered
from sockreg.views.status import DestinationStatus, Status
from tests.truth.wire import ANSWERED, NOTHING, REFUSED, Found, Server

_REDIRECT = re.compile(r"a rule (?:redirects|sends) it to port (\d+)")
_DROPS = re.compile(r"(?:a rule|the policy) drops it")
_REFUSES = re.compile(r"a rule refuses it")
_CONNECTED = re.compile(r"(sk:[0-9a-f]+) .*is connected to")
_FULL = "its queue is full"
FAMILIES = {int(socket.AF_INET): "ipv4", int(socket.AF_INET6): "ipv6"}


@dataclass(frozen=True)
class Asked:
    """A packet: ``device`` is the interface of the host by which it arrives."""

    protocol: str
    family: int
    address: str
    port: int
    source: str
    source_port: int
    device: str

    def explained(self, registry: Registry, *, port: int | None = None) -> Explanation:
        return registry.explain(
            self.protocol, self.address, port or self.port, source=self.source,
            source_port=self.source_port, interface=self.device,
        )  # fmt: skip

    @property
    def words(self) -> list[str]:
        """The arguments of ``explain``."""
        where = f"[{self.source}]" if ":" in self.source else self.source
        return [
            self.protocol, self.address, str(self.port),
            "from", f"{where}:{self.source_port}", "dev", self.device,
        ]  # fmt: skip


@dataclass(frozen=True)
class Expected:
    """What a packet is to meet. ``landed``: any of these; ``answers``: any of these."""

    landed: frozenset[str]
    answers: frozenset[str]

    def holds(self, found: Found) -> bool:
        return found.landed in self.landed and found.answer in self.answers


def _only(landed: str, *answers: str) -> Expected:
    return Expected(frozenset({landed}), frozenset(answers))


class Told:
    """Everything that reading commands say about one state of the host."""

    def __init__(self, registry: Registry, servers: dict[str, Server]) -> None:
        self.registry = registry
        self.servers = servers
        self.loaded = registry.is_loaded
        self.status: Status | None = registry.status() if self.loaded else None
        self.rules = registry.rules() if self.status and self.status.generation else []
        self.listeners: Listeners = registry.listeners()
        self.findings: list[Finding] = registry.check()

    def expected(self, asked: Asked, told: Explanation) -> Expected:
        """What ``explain`` foretells."""
        if told.outcome is Outcome.UNREACHED:
            return self._before(asked, told)
        return self._at(asked, told.outcome, told)

    def _before(self, asked: Asked, told: Explanation) -> Expected:
        first = told.before[0]
        if "not local" in first:
            return _only("", NOTHING)
        if connected := _CONNECTED.search(first):
            return Expected(frozenset({connected[1]}), self._back(asked, ANSWERED))
        if moved := _REDIRECT.search(first):
            return self._moved(asked, first, int(moved[1]))
        if _DROPS.search(first):
            return _only("", NOTHING)
        assert _REFUSES.search(first), first
        return Expected(frozenset({""}), self._back(asked, REFUSED))

    def _moved(self, asked: Asked, first: str, port: int) -> Expected:
        """NAT sends the packet on: the rules see it with another port and address."""
        address = asked.address
        if "redirects" in first:
            address = {
                "eth0": {4: "198.51.100.1", 6: "2001:db8:1::1"},
                "eth1": {4: "198.51.101.1", 6: "2001:db8:2::1"},
                "lo": {4: "127.0.0.1", 6: "::1"},
            }[asked.device][ip_address(asked.source).version]
        again = self.registry.explain(
            asked.protocol, address, port, source=asked.source, source_port=asked.source_port,
            interface=asked.device,
        )  # fmt: skip
        # It has met NAT and is not asked again; filters of input it meets after that.
        if again.before:
            if _DROPS.search(again.before[0]):
                return _only("", NOTHING)
            if _REFUSES.search(again.before[0]):
                return Expected(frozenset({""}), self._back(asked, REFUSED))
        return self._at(asked, again.at_rules, again)

    def _at(self, asked: Asked, outcome: Outcome, told: Explanation) -> Expected:
        if outcome in (Outcome.REFUSED, Outcome.NOBODY):
            return Expected(frozenset({""}), self._back(asked, REFUSED))
        landed = self._landed(told)
        if outcome is Outcome.UNANSWERED:
            return Expected(landed | {""}, frozenset({NOTHING}))
        if any(_FULL in note for note in told.notes):
            return _only("", NOTHING)
        return Expected(landed, self._answers(asked, landed))

    def _landed(self, told: Explanation) -> frozenset[str]:
        """The socket that is named, or each of its SO_REUSEPORT group where that is said."""
        if told.target is None:
            assert any("SO_REUSEPORT group" in note for note in told.notes), told
            return frozenset(
                name for name, server in self.servers.items() if server.name == "theirs"
            )
        cookie = told.target.cookie
        if cookie in self.servers and any("with SO_REUSEPORT" in note for note in told.notes):
            bound = self.servers[cookie].bound
            return frozenset(it for it, server in self.servers.items() if server.bound == bound)
        return frozenset({cookie})

    def _answers(self, asked: Asked, landed: frozenset[str]) -> frozenset[str]:
        """A UDP server that is bound to another address than its client asked may be heard."""
        here = {self.servers[cookie].sock.getsockname()[0] for cookie in landed}
        if asked.protocol == "udp" and not here <= {"0.0.0.0", "::", asked.address}:
            return frozenset({ANSWERED, NOTHING})
        return self._back(asked, ANSWERED)

    def _back(self, asked: Asked, answer: str) -> frozenset[str]:
        """Rules and other programs take answers to a UDP client of this host, too, and refusals:
        the finding client-ports says so.
        """
        if asked.device == "lo" and asked.protocol == "udp" and self.loaded:
            back = Packet(
                UDP, asked.family, int(ip_address(asked.source)), asked.source_port,
                int(ip_address(asked.address)),
            )  # fmt: skip
            # An ICMP error arrives from lo, an answer from the interface with the address.
            if any(
                matches(rule, back._replace(interface=rule.interface)) for rule in self.rules
            ) or (self.status is not None and self.status.others):
                return frozenset({answer, NOTHING})
        return frozenset({answer})

    def contradictions(self, asked: Asked, told: Explanation, found: Found) -> Iterator[str]:
        """Sentences of status, listeners and check that the packet proves wrong."""
        by_rule = told.rule is not None and told.outcome in (
            Outcome.SOCKET,
            Outcome.REFUSED,
            Outcome.UNANSWERED,
        )
        if told.action == "bind" and by_rule:
            yield from self._of_status(asked, told, found)
        if told.rule is not None:
            yield from self._of_rule(asked, told, found)
        if found.landed:
            yield from self._of_landing(asked, told, found)
        if found.answer != ANSWERED and told.action == "bind":
            yield from self._silence(asked, told, found)

    def without_rules(self, asked: Asked, found: Found) -> Iterator[str]:
        """Nothing is loaded: no packet changes its port, except by NAT or another program."""
        if self.listeners.steered or any(it.shadows for it in self.listeners.listeners):
            yield "listeners shows rules, but nothing is loaded"
        moved = [it for it in self.findings if it.check in ("ahead-of-rules", "foreign-program")]
        if found.landed and not moved:
            server = self.servers[found.landed]
            if server.sock.getsockname()[1] != asked.port:
                yield "nothing is loaded, but it was steered"

    def _steered(self, asked: Asked, told: Explanation) -> list[Steered]:
        """What listeners shows of this rule: a line may make several."""
        assert told.rule is not None
        _, prefix, ports = told.rule.split()[:3]
        bracketed = f"[{prefix}]" if ":" in prefix else prefix
        return [
            each
            for each in self.listeners.steered
            if (each.place, each.protocol) == (told.place, asked.protocol)
            and each.local == f"{bracketed}:{ports}"
        ]

    def _destination(self, asked: Asked, told: Explanation) -> DestinationStatus | None:
        assert self.status is not None
        to = re.search(r" to (\d+)", told.rule or "")
        for each in self.status.destinations:
            if (each.label, each.protocol, each.family, each.listener) == (
                told.label, asked.protocol, FAMILIES[asked.family], int(to[1]) if to else 0,
            ):  # fmt: skip
                return each
        return None

    def _of_status(self, asked: Asked, told: Explanation, found: Found) -> Iterator[str]:
        destination = self._destination(asked, told)
        if destination is None:
            yield "status does not show the destination of a rule in force"
            return
        if not destination.rules:
            yield "status shows no rule for the destination"
        weighed = {member.cookie for member in destination.members if member.weight}
        if found.landed and found.landed not in weighed and len(self._landed(told)) == 1:
            yield f"status does not show {found.landed} as a member that gets traffic"
        if not weighed and found.landed:
            yield "status shows no member, but the packet was not refused"

    def _of_rule(self, asked: Asked, told: Explanation, found: Found) -> Iterator[str]:
        steered = self._steered(asked, told)
        if len(steered) != 1:
            yield f"listeners shows the rule {len(steered)} times"
            return
        (rule,) = steered
        group = len(self._landed(told)) > 1 if told.target else False
        if told.outcome is Outcome.SOCKET and found.landed and not group:
            if found.landed not in rule.sockets:
                yield f"listeners does not show {found.landed} for the rule"
            if any("arrives" in it or "never matches" in it for it in rule.problems):
                yield f"listeners: {rule.problems}, but it has arrived"
        if any(it.endswith(": refused") for it in rule.problems) and found.landed in rule.sockets:
            yield f"listeners: {rule.problems}"
        for finding in self.findings:
            if finding.where == told.place and (told.rule or "") in finding.what:
                yield from self._of_finding(finding, asked, told, found)

    def _of_finding(
        self, finding: Finding, asked: Asked, told: Explanation, found: Found
    ) -> Iterator[str]:
        """What a finding about the rule that wins a packet says, which the packet proves wrong."""
        served = told.outcome is Outcome.SOCKET
        is_error = finding.severity is Severity.ERROR
        outside = asked.device != "lo"
        wrong = {
            "no-route": outside and bool(found.landed) and not told.before,
            "broadcast": outside and bool(found.landed) and not told.before,
            "ahead-of-rules": (
                outside and finding.severity is Severity.WARNING and not told.before
            ),
            "no-interface": True,
            "never-wins": True,
            "inner-interface": True,
            "no-socket": served,
            "which-listener": served,
            "bound-socket": (
                is_error
                and served
                and found.answer == ANSWERED
                and f"socket {found.landed} " in finding.what
            ),
        }
        if wrong.get(finding.check):
            yield f"check: {finding.what}"

    def _of_landing(self, asked: Asked, told: Explanation, found: Found) -> Iterator[str]:
        for finding in self.findings:
            if finding.check == "dead-server" and f"socket {found.landed} " in finding.what:
                yield f"check: {finding.what}"
            if finding.check == "not-loaded" and told.outcome is Outcome.SOCKET:
                yield f"check: {finding.what}, but a rule has steered"
        if self.servers[found.landed].name == "connected":
            return
        shown = [each for each in self.listeners.listeners if each.cookie == found.landed]
        if len(shown) != 1:
            yield f"listeners shows {found.landed} {len(shown)} times"
            return
        (listener,) = shown
        if listener.problem:
            yield f"listeners: {listener.problem}"
        if told.outcome is Outcome.ORDINARY:
            yield from self._of_shadows(asked, listener)

    def _of_shadows(self, asked: Asked, listener: Listener) -> Iterator[str]:
        for shadow in listener.shadows:
            prefix = ip_network(shadow.prefix, strict=False)
            mine = ip_address(asked.address)
            if shadow.whole and prefix.version == mine.version and mine in prefix:
                yield f"listeners: all of it goes to label {shadow.label} by {shadow.place}"

    def _silence(self, asked: Asked, told: Explanation, found: Found) -> Iterator[str]:
        """A rule for a label was to serve the packet, and nobody has: somebody must say why."""
        said = [
            it for it in self.findings if it.where == told.place or (told.label or "") in it.what
        ]
        said += [it for it in self.findings if it.check == "foreign-program"]
        problems = [problem for rule in self._steered(asked, told) for problem in rule.problems]
        if not said and not problems and not told.before and not any(told.notes):
            yield "neither check nor listeners says why the client was not answered"
