"""One seed: a host whose state changes, packets in each state, and what was told about them."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from sockreg.api import Registry, open_registry
from sockreg.errors import NotLoadedError
from sockreg.host import packetfilter
from sockreg.model import Packet
from sockreg.views.explain import Explanation, Outcome
from tests.netns import TCP, UDP
from tests.oracle.reference import winners
from tests.truth.claims import Asked, Told
from tests.truth.wire import on_one_processor
from tests.truth.world import ADDRESSES, NAME_OF, PORTS, V4, V6, World

STATES, PACKETS = 8, 12  # of a seed, and of a state
_PRINTED = 0.1  # share of the packets for which the command itself is run
_VERDICTS = {
    Outcome.SOCKET: "goes to a socket of label",
    Outcome.UNANSWERED: "goes to a socket of label",
    Outcome.OTHER: "goes to a socket that another program selects",
    Outcome.REFUSED: "refused with",
    Outcome.ORDINARY: "left to ordinary lookup, which finds the socket below",
    Outcome.NOBODY: "left to ordinary lookup, which finds no socket: refused",
}


class Count:
    """What was compared. ``differences`` has a text for each that was found."""

    def __init__(self) -> None:
        self.states = self.packets = self.printed = 0
        self.outcomes: Counter[str] = Counter()
        self.met: Counter[str] = Counter()
        self.differences: list[str] = []

    def add(self, other: Count) -> None:
        """Add what another one has counted."""
        self.states += other.states
        self.packets += other.packets
        self.printed += other.printed
        self.outcomes += other.outcomes
        self.met += other.met
        self.differences += other.differences

    def __str__(self) -> str:
        told = ", ".join(f"{name} {count}" for name, count in sorted(self.outcomes.items()))
        met = ", ".join(f"{name} {count}" for name, count in sorted(self.met.items()))
        return (
            f"{self.states} situations, {self.packets} packets ({self.printed} of them also as "
            f"printed), {len(self.differences)} differences\ntold: {told}\nmet: {met}"
        )


def run_seed(seed: str, directory: Path, count: Count) -> None:
    """Compare one seed's states and packets."""
    with World(seed, directory) as world, on_one_processor(), pytest.MonkeyPatch.context() as patch:
        for _ in range(STATES):
            for _ in range(world.rng.choice((1, 1, 2))):
                world.step()
            count.states += 1
            for server in world.servers.values():
                server.empty()
            with open_registry(
                world.host.namespace.path, bpffs=str(world.host.bpffs), root=str(world.host.root)
            ) as registry:
                # The same for all questions to one state.
                rules = packetfilter.read()
                patch.setattr(packetfilter, "read", lambda there=rules: there)
                told = Told(registry, world.servers)
                for _ in range(PACKETS):
                    count.differences += [
                        "\n".join((*world.history, *lines))
                        for lines in _packet(world, registry, told, count)
                    ]
                patch.undo()


def _packet(
    world: World, registry: Registry, told: Told, count: Count
) -> Iterator[tuple[str, ...]]:
    rng = world.rng
    client = world.clients[rng.choice(list(world.clients))]
    family, protocol = rng.choice((V4, V6)), rng.choice((TCP, UDP))
    # What this host sends to another one does not arrive by the loopback.
    near = client.device == "lo" or rng.random() < 0.8
    address = rng.choice(ADDRESSES[family][: 3 if near else None])
    port = rng.choice((80, *PORTS))
    # As usual: what a host sends to an address of its interfaces has the same source.
    own = client.device == "lo" and address == ADDRESSES[family][2]
    source = address if own else client.sources[family]
    with client.open(family, protocol, source) as sock, contextlib.ExitStack() as stack:
        if protocol == UDP and rng.random() < 0.1:
            stack.enter_context(world.connected(client, sock, port))
        source, source_port = sock.getsockname()[:2]
        asked = Asked(NAME_OF[protocol], family, address, port, source, source_port, client.device)
        count.packets += 1
        try:
            explanation = asked.explained(registry)
        except NotLoadedError:
            explanation = None
        found = client.meet(sock, address, port, world.servers.values())
        count.met[found.answer] += 1
        if explanation is None:
            count.outcomes["not loaded"] += 1
            wrong = list(told.without_rules(asked, found))
        else:
            count.outcomes[explanation.outcome] += 1
            expected = told.expected(asked, explanation)
            wrong = [] if expected.holds(found) else [f"explain foretells {expected}"]
            wrong += _meant(world, asked, explanation)
            wrong += told.contradictions(asked, explanation, found)
            if rng.random() < _PRINTED:
                count.printed += 1
                wrong += _printed(world, asked, explanation)
        if wrong:
            yield (f"asked {asked}", f"told {explanation}", f"found {found}", *wrong)


def _meant(world: World, asked: Asked, told: Explanation) -> Iterator[str]:
    """The line whose packet this is, if it is not the one that is told."""
    if not world.follows_interfaces and asked.device == "eth1":
        return  # nobody has looked at the interface that was made since then
    # What this host sends to an address of an interface comes from there.
    to_eth0 = asked.device == "lo" and asked.address == ADDRESSES[asked.family][2]
    packet = Packet(
        {"tcp": TCP, "udp": UDP}[asked.protocol], asked.family, int(ip_address(asked.address)),
        asked.port, int(ip_address(asked.source)), "eth0" if to_eth0 else asked.device,
    )  # fmt: skip
    (winner,) = winners(world.meant, [packet])
    meant = None if winner is None else f"{world.host.root}{winner.place}"
    if told.place != meant:
        yield f"by what the files say, it is the packet of {meant}"


def _printed(world: World, asked: Asked, told: Explanation) -> Iterator[str]:
    """Differences between what the command prints and what the library tells."""
    fields = world.host.json("explain", *asked.words)
    cookie = told.target.cookie if told.target else None
    printed = (fields["target"] or {}).get("cookie")
    if (fields["outcome"], fields["rule"], printed) != (told.outcome, told.rule, cookie):
        yield f"--json prints {fields}"
    text = world.host.ok("explain", *asked.words)
    verdict = _VERDICTS[told.at_rules]
    if told.outcome is Outcome.UNREACHED:
        verdict = f"does not get to the rules; there, it would be: {verdict}"
    if not text.startswith(f"verdict   {verdict}"):
        yield f"explain prints {text}"
    yield from (f"explain does not print {it}" for it in told.before if it not in text)
    if told.target is not None and f"socket    {told.target.cookie}" not in text:
        yield f"explain does not print the socket: {text}"
