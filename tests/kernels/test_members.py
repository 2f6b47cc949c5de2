"""Packets of members of a bond arrive from the bond, and those of a VRF from the VRF."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kernel.host import Host
from tests.kernel.test_interfaces import SERVICE, joined
from tests.netns import Namespace

RULES = (
    "[member]", "Bind=tcp 192.0.2.0/24 80 dev left",
    "[above]", "Bind=tcp 192.0.2.0/24 80 dev above",
    "[any]", "Bind=tcp 192.0.2.0/24 80",
)  # fmt: skip


@pytest.fixture
def client() -> Iterator[Namespace]:
    with Namespace() as client:
        yield client


def never_matches(host: Host, why: str) -> None:
    for command in (("check",), ("explain", "tcp", SERVICE, "80", "dev", "left")):
        said = host.run(*command).text
        assert f"left is {why}: its packets arrive from above" in said
        assert "write dev above" in said


def test_a_member_of_a_bond(host: Host, client: Namespace) -> None:
    joined(host, "left", client)
    for command in (
        "addr del 10.0.1.1/24 dev left",
        "link set left down",
        "link add above type bond mode active-backup miimon 10",
        "link set left master above",
        "link set above up",
        "addr add 10.0.1.1/24 dev above",
    ):
        host.namespace.run("ip", *command.split())
    host.load(*RULES)
    with (
        host.serve("member", "127.0.0.1", 8001),
        host.serve("above", "127.0.0.1", 8002),
        host.serve("any", "127.0.0.1", 8003),
    ):
        assert client.ask(SERVICE, 80) == "above"
        never_matches(host, "a member of bond above")
