#!/usr/bin/python3
"""A UDP server that replies from the address that the client used, and reports that address.

The server takes its UDP sockets from systemd (sd_listen_fds(3)). Their unit has
PassPacketInfo=yes, so each datagram comes with its destination address. The server passes this
address back with the reply, and the kernel uses it as the source of the reply (IP_PKTINFO in
ip(7), IPV6_PKTINFO in ipv6(7)). This takes no privileges. docs/udp.md has the units.
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


def destination(messages: list[Message]) -> tuple[str, list[Message]]:
    """The destination of a datagram, and the ancillary data for a reply from there."""
    for level, kind, data in messages:
        if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
            # For a broadcast, this is the host's own address, which is the right source.
            _, own, _ = IN_PKTINFO.unpack(data)
            # No interface, so that the reply takes the route to the client.
            source = IN_PKTINFO.pack(0, own, bytes(4))
            return socket.inet_ntop(socket.AF_INET, own), [(level, kind, source)]
        if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
            # A dual-stack socket receives and sends IPv4 addresses as ::ffff:192.0.2.1.
            address, interface = IN6_PKTINFO.unpack(data)
            text = socket.inet_ntop(socket.AF_INET6, address)
            link_local = text.startswith("fe80:")
            source = IN6_PKTINFO.pack(address, interface if link_local else 0)
            return text.removeprefix("::ffff:"), [(level, kind, source)]
    return "an unknown address: PassPacketInfo=yes is missing", []


def answer(sock: socket.socket) -> None:
    try:
        question, messages, _, client = sock.recvmsg(2048, ROOM, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return  # the datagram had a wrong checksum and was discarded (select(2), BUGS)
    address, source = destination(messages)
    text = f"{question.decode(errors='replace').strip()}: sent to {address}\n"
    try:
        sock.sendmsg([text.encode()], source, 0, client)
    except OSError as error:
        # A failed reply to one client must not stop the others.
        print(f"cannot reply from {address} to {client[0]}: {error}", file=sys.stderr)


def main() -> None:
    sockets = [socket.socket(fileno=3 + number) for number in range(int(os.environ["LISTEN_FDS"]))]
    while True:
        for sock in select.select(sockets, [], [])[0]:
            answer(sock)


if __name__ == "__main__":
    main()
