"""Rule sets change under load: every packet meets the old one or the new one, whole."""

from __future__ import annotations

from tests.kernel.host import Host
from tests.kernel.swapping import SETS, asked_throughout

SWAPS = 200


def test_no_connection_and_no_datagram_is_lost_or_misled(host: Host) -> None:
    host.load(*SETS[0])
    with asked_throughout(host):
        for number in range(1, SWAPS + 1):
            host.apply(*SETS[number % 2])
    assert host.json("status")["generation"] == SWAPS + 1
