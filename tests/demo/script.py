"""The script of the demo: its steps in order.

The order of the talk (Linux Plumbers Conference 2019, "Programmable socket lookup with
BPF", the demo at its end), with the systemd units that a host would use. The units and
servers are in root/.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tests.demo.play import EVERY, SYSTEM, Ask, Scan, Step, Type
from tests.netns import UDP

ORDINARY_SSH = Ask("127.0.0.1", 22, "SSH-2.0-ordinary")
HTTP = b"GET / HTTP/1.0\r\n\r\n"


def terminator(address: str, port: int) -> Ask:
    """The terminator must answer there."""
    return Ask(address, port, f"terminator, reached at {address}:{port}")


def nginx(address: str, port: int) -> Ask:
    """nginx must answer there."""
    return Ask(address, port, "nginx says hello", request=HTTP)


def scan(here: Collection[int], there: Collection[int], ports: range = SYSTEM) -> Scan:
    """The talk's two addresses side by side."""
    return Scan({"127.0.0.1": here, "127.1.1.1": there}, ports)


STEPS: Sequence[Step] = (
    Step(
        "Nothing is attached",
        "An ordinary server listens on port 22 of 127.0.0.1, as it would on any host.",
        (
            Type("systemctl start ssh-like"),
            Type("sockreg status", ["no registry"], status=7),
            ORDINARY_SSH,
            scan([22], []),
        ),
    ),
    Step(
        "Load",
        "The program is attached to the network namespace. Without rules it changes nothing.",
        (
            Type("systemctl start sockreg"),
            Type("sockreg status -n 0", ["generation 1, 0 rules"]),
            ORDINARY_SSH,
            scan([22], []),
        ),
    ),
    Step(
        "Register a socket",
        "term.socket listens on 127.0.0.1:5000. Enabling the unit puts its socket into the "
        "registry under the label terminator; without rules no port is open yet. The server has "
        "not been started.",
        (
            Type("cat /etc/systemd/system/term.socket", ["FileDescriptorName=terminator"]),
            Type("systemctl enable --now -q sockreg@term"),
            Type("sockreg status -n 0", ["127.0.0.1:5000"]),
            Type("journalctl -q -o cat SOCKREG_LABEL=terminator", ["registered tcp"]),
            Type("systemctl is-active term.service", ["inactive"], status=3),
            scan([22], []),
        ),
    ),
    Step(
        "Port 80 appears",
        "The first connection starts the server on demand, as if sockreg were not there.",
        (
            Type("sockreg bind terminator tcp 127.0.0.1 80", ["1 added"]),
            terminator("127.0.0.1", 80),
            Type("systemctl is-active term.service", ["active"]),
            scan([22, 80], []),
        ),
    ),
    Step(
        "Bind over a port that somebody listens on",
        "The ordinary server keeps its socket and gets no more connections.",
        (
            Type("sockreg bind terminator tcp 127.0.0.1 22", ["1 added"]),
            terminator("127.0.0.1", 22),
            scan([22, 80], []),
        ),
    ),
    Step(
        "Give it back",
        "Without the rule the port is the ordinary server's again.",
        (
            Type("sockreg unbind terminator tcp 127.0.0.1 22", ["1 removed"]),
            ORDINARY_SSH,
            scan([22, 80], []),
        ),
    ),
    Step(
        "All ports of one address",
        "One rule, one socket.",
        (
            Type("sockreg bind terminator tcp 127.0.0.1 '*'", ["1 added"]),
            terminator("127.0.0.1", 22),
            terminator("127.0.0.1", 65535),
            scan(EVERY, [], EVERY),
        ),
    ),
    Step(
        "Look at the rules and remove one",
        "What is in force has a line in a file behind it.",
        (
            Type("sockreg rules", ["tcp 127.0.0.1 80", "tcp 127.0.0.1 *", "90-bind.conf:"]),
            Type("sockreg unbind terminator tcp 127.0.0.1 '*'", ["1 removed"]),
            ORDINARY_SSH,
            scan([22, 80], []),
        ),
    ),
    Step(
        "A whole subnet on port 443",
        "16 million addresses, no socket more.",
        (
            Type("sockreg bind terminator tcp 127.0.0.0/8 443", ["1 added"]),
            terminator("127.0.0.1", 443),
            terminator("127.200.3.4", 443),
            scan([22, 80, 443], [443]),
        ),
    ),
    Step(
        "Two servers share port 80",
        "nginx takes its socket from systemd, and the rules stand in a drop-in of the socket "
        "unit: enabling puts them in force.",
        (
            Type("cat /etc/systemd/system/web.socket.d/sockreg.conf", ["[X-Sockreg]"]),
            Type("systemctl enable --now -q sockreg@web"),
            terminator("127.0.0.1", 80),
            nginx("127.1.1.1", 80),
            scan([22, 80, 443], [80, 443]),
        ),
    ),
    Step(
        "IPv6, and one socket for both families",
        "api.socket listens on [::]:6000 for an asyncio server; rules of both families lead to it.",
        (
            Type("cat /etc/systemd/system/api.socket.d/sockreg.conf", ["Bind=tcp ::1 80"]),
            Type("systemctl enable --now -q sockreg@api"),
            Ask("::1", 80, "api, reached at ::1 port 80"),
            Ask("127.1.1.1", 81, "api, reached at ::ffff:127.1.1.1 port 81"),
            Scan({"127.0.0.1": [22, 80, 443], "127.1.1.1": [80, 81, 443], "::1": [80]}),
        ),
    ),
    Step(
        "UDP",
        "The same for datagrams; names.socket has the UDP port 5300.",
        (
            Type("systemctl enable --now -q sockreg@names"),
            Ask("127.1.1.1", 53, "refused", UDP, b"example.org"),
            Type("sockreg bind names udp 127.0.0.0/8 53", ["1 added"]),
            Ask("127.1.1.1", 53, "names, asked for example.org", UDP, b"example.org"),
            scan([22, 80, 443], [80, 81, 443]),
        ),
    ),
    Step(
        "Restarts",
        "Restarting the registration disturbs nobody: server, socket and clients stay. Restarting "
        "the socket unit makes a new socket, which is registered under the same label.",
        (
            Type("systemctl restart sockreg@term"),
            terminator("127.0.0.1", 80),
            # The first returns when the socket listens, the second when it is registered too.
            Type("systemctl restart term.socket && systemctl start sockreg@term"),
            terminator("127.0.0.1", 80),
            Type(
                "journalctl -q -o cat SOCKREG_LABEL=terminator", ["registered tcp 127.0.0.1:5000"]
            ),
            Type("sockreg status -n 0", ["term.socket", "web.socket", "api.socket"]),
            scan([22, 80, 443], [80, 81, 443]),
        ),
    ),
    Step(
        "Every address and every port",
        "The most general rules of all. More specific ones still win: nginx keeps its port.",
        (
            Type("sockreg bind terminator tcp 0.0.0.0/0 '*'", ["1 added"]),
            Type("sockreg bind api tcp ::/0 '*'", ["1 added"]),
            terminator("127.0.0.1", 22),
            terminator("127.99.99.99", 9999),
            Ask("::1", 9999, "api, reached at ::1 port 9999"),
            nginx("127.1.1.1", 80),
            scan(EVERY, EVERY, EVERY),
        ),
    ),
    Step(
        "Stop, and forget",
        "A stop takes all rules out of force and keeps the sockets for the next start; unload "
        "forgets them. Everything is as it was: the sockets listen on at their own addresses.",
        (
            Type("systemctl stop sockreg"),
            Type("sockreg status -n 0", ["in force    nothing", "terminator"]),
            Type("sockreg unload", ["is gone"]),
            Type("sockreg status", ["no registry"], status=7),
            terminator("127.0.0.1", 5000),
            nginx("127.0.0.1", 8080),
            ORDINARY_SSH,
            scan([22], []),
        ),
    ),
)
