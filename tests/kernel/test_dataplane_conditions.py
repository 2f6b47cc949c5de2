"""Rules with ``dev`` and ``from`` decide about real packets: test runs have no interface."""

from __future__ import annotations

from contextlib import ExitStack
from typing import NamedTuple

import pytest

from tests.kernel.host import Host
from tests.netns import Namespace, connect


class Addresses(NamedTuple):
    """Of one family: where to serve, what to ask for, and what leads to the clients."""

    loopback: str
    service: str
    other: str
    net: str
    whole: str
    links: dict[str, tuple[str, str, str]]  # device -> network, the host's address, the client's


FAMILIES = {
    "IPv4": Addresses(
        "127.0.0.1",
        "192.0.2.7",
        "192.0.2.8",
        "192.0.2.0/24",
        "32",
        {
            "eth0": ("198.51.100.0/24", "198.51.100.1", "198.51.100.2"),
            "eth1": ("203.0.113.0/24", "203.0.113.1", "203.0.113.2"),
        },
    ),
    "IPv6": Addresses(
        "::1",
        "2001:db8::7",
        "2001:db8::8",
        "2001:db8::/64",
        "128",
        {
            "eth0": ("2001:db8:1::/64", "2001:db8:1::1", "2001:db8:1::2"),
            "eth1": ("2001:db8:2::/64", "2001:db8:2::1", "2001:db8:2::2"),
        },
    ),
}

RULES = """\
[plain]
Bind=tcp {net} 80
[device]
Bind=tcp {net} 80 dev eth0
Bind=tcp {net} 80 dev eth1
[source]
Bind=tcp {net} 80 from {first}
Bind=tcp {net} 81 from {first}
[both]
Bind=tcp {net} 80 dev eth1 from {second}
[longer]
Bind=tcp {other} 80 from {second}
"""


@pytest.mark.parametrize("family", FAMILIES)
def test_interface_and_source_decide(host: Host, family: str) -> None:
    here = FAMILIES[family]
    with ExitStack() as stack:
        clients = {device: stack.enter_context(Namespace()) for device in here.links}
        for device, (network, gateway, address) in here.links.items():
            bits = network.partition("/")[2]
            ends = (f"{gateway}/{bits}", f"{address}/{bits}")
            connect(host.namespace, device, clients[device], "eth0", ends)
            for target in (here.service, here.other):
                clients[device].add_route(f"{target}/{here.whole}", via=gateway)
        first, second = (network for network, _, _ in here.links.values())
        host.load(*RULES.format(**here._asdict(), first=first, second=second).splitlines())
        for label in ("plain", "device", "source", "both", "longer"):
            stack.enter_context(host.serve(label, here.loopback))

        def asked(target: str, port: int = 80) -> list[str]:
            """Who answers the host itself, the client at eth0 and the one at eth1."""
            nearby = host.ask(target, port)
            return [nearby, *(client.ask(target, port) for client in clients.values())]

        # An interface weighs more than a source, a longer prefix more than both.
        assert asked(here.service) == ["plain", "device", "both"]
        assert asked(here.other) == ["plain", "device", "longer"]
        assert asked(here.service, 81) == ["refused", "source", "refused"]
