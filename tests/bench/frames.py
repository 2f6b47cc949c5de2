"""Ethernet frames for a flood: the same few bytes from thousands of ports."""

from __future__ import annotations

import struct
from ipaddress import ip_address

from tests.netns import TCP

MAC = "02:00:00:00:00:01"  # of every receiver: locally administered
_SENDER_MAC = "02:00:00:00:00:02"
_FIRST_PORT = 20_000
_SYN = 0x02
_PAYLOAD = b"x" * 18  # with the other headers, the shortest frame Ethernet allows
_ETHERTYPE = {4: 0x0800, 6: 0x86DD}


def flood_of(protocol: int, source: str, target: str, port: int, flows: int) -> list[bytes]:
    """SYNs or datagrams from ``flows`` ports of one address, all of the same length."""
    return [_frame(protocol, source, _FIRST_PORT + flow, target, port) for flow in range(flows)]


def _frame(protocol: int, source: str, source_port: int, target: str, port: int) -> bytes:
    here, there = ip_address(source), ip_address(target)
    segment = _syn(source_port, port) if protocol == TCP else _datagram(source_port, port)
    # RFC 768, RFC 9293, RFC 8200 8.1: the pseudo header of both is summed up the same way.
    pseudo = here.packed + there.packed + struct.pack("!HH", protocol, len(segment))
    checksum = _checksum(pseudo + segment)
    at = 16 if protocol == TCP else 6
    segment = segment[:at] + struct.pack("!H", checksum) + segment[at + 2 :]
    if here.version == 4:
        header = _ipv4(protocol, len(segment), here.packed, there.packed)
    else:
        header = struct.pack("!IHBB", 6 << 28, len(segment), protocol, 64) + here.packed
        header += there.packed
    ends = bytes.fromhex((MAC + _SENDER_MAC).replace(":", ""))
    return ends + struct.pack("!H", _ETHERTYPE[here.version]) + header + segment


def _syn(source_port: int, port: int) -> bytes:
    words = 5  # of the header, which has no options
    return struct.pack("!HHIIBBHHH", source_port, port, 1, 0, words << 4, _SYN, 65535, 0, 0)


def _datagram(source_port: int, port: int) -> bytes:
    return struct.pack("!HHHH", source_port, port, 8 + len(_PAYLOAD), 0) + _PAYLOAD


def _ipv4(protocol: int, payload: int, source: bytes, target: bytes) -> bytes:
    def header(checksum: int) -> bytes:
        length = 20 + payload
        return (
            struct.pack("!BBHHHBBH", 0x45, 0, length, 0, 0, 64, protocol, checksum)
            + source
            + target
        )

    return header(_checksum(header(0)))


def _checksum(content: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    content += b"\0" * (len(content) % 2)
    total: int = sum(struct.unpack(f"!{len(content) // 2}H", content))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
