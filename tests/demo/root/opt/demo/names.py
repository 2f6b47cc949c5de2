"""A UDP server that says what it was sent."""

import socket

with socket.socket(fileno=3) as sock:
    while True:
        question, client = sock.recvfrom(512)
        sock.sendto(b"names, asked for " + question, client)
