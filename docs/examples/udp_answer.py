#!/usr/bin/python3
"""A UDP server that answers from the address it was asked at, with that address.

It takes its UDP sockets from systemd (sd_listen_fds(3)), in whose unit stands
PassPacketInfo=yes: each datagram then comes with the address that it was sent to. Handed back
with the answer, that address becomes the answer's source (IP_PKTINFO in ip(7), IPV6_PKTINFO in
ipv6(7)). That takes no privilege. docs/udp.md has the units.
"""

import os
import select
import socket
import struct
import sys

IP_PKTINFO = 8  # linux/in.h; Python's socket module lacks it
# struct in_pktinfo: int ipi_ifindex; struct in_addr ipi_spec_dst, ipi_addr
IN_PKTINFO = struct.Struct("=i4s4s")
# struct in6_pktinfo: struct in6_addr ipi6_addr; int ipi6_ifindex
IN6_PKTINFO = struct.Struct("=16si")
ROOM = socket.CMSG_SPACE(IN_PKTINFO.size) + socket.CMSG_SPACE(IN6_PKTINFO.size)

Message = tuple[int, int, bytes]  # level, type, data


def asked_address(messages: list[Message]) -> tuple[str, list[Message]]:
    """The address that was asked, and what makes an answer leave from it."""
    for level, kind, data in messages:
        if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
            # For a broadcast this is the host's own address, the source that fits.
            _, own, _ = IN_PKTINFO.unpack(data)
            # No interface, so that the answer takes the route that the client has.
            source = IN_PKTINFO.pack(0, own, bytes(4))
            return socket.inet_ntop(socket.AF_INET, own), [(level, kind, source)]
        if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
            # On a dual-stack socket an IPv4 address comes, and goes, as ::ffff:192.0.2.1.
            address, interface = IN6_PKTINFO.unpack(data)
            text = socket.inet_ntop(socket.AF_INET6, address)
            link_local = text.startswith("fe80:")
            source = IN6_PKTINFO.pack(address, interface if link_local else 0)
            return text.removeprefix("::ffff:"), [(level, kind, source)]
    return "an address unknown: PassPacketInfo=yes is missing", []


def answer(sock: socket.socket) -> None:
    try:
        question, messages, _, client = sock.recvmsg(2048, ROOM, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return  # a datagram with a wrong checksum: there was nothing after all (select(2), BUGS)
    address, source = asked_address(messages)
    text = f"{question.decode(errors='replace').strip()}: asked at {address}\n"
    try:
        sock.sendmsg([text.encode()], source, 0, client)
    except OSError as error:
        # One client's answer is no reason to leave the others without.
        print(f"no answer from {address} to {client[0]}: {error}", file=sys.stderr)


def main() -> None:
    sockets = [socket.socket(fileno=3 + number) for number in range(int(os.environ["LISTEN_FDS"]))]
    while True:
        for sock in select.select(sockets, [], [])[0]:
            answer(sock)


if __name__ == "__main__":
    main()
