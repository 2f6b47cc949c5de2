"""Which of several sockets is meant."""

from __future__ import annotations

import pytest

from sockreg.commands.take_choice import Candidate, Selector, choose, parse_local
from sockreg.errors import EXIT_REFUSED, EXIT_USAGE, SockregError
from sockreg.host.processes import Process
from sockreg.host.sockdiag import LISTENING, DiagSocket
from sockreg.model import INET, INET6, TCP, UDP


def candidate(text: str, cookie: int) -> Candidate:
    """``tcp 127.0.0.1 80`` as a candidate."""
    protocol, address, port = text.split()
    family = INET6 if ":" in address else INET
    number = TCP if protocol == "tcp" else UDP
    socket = DiagSocket(
        number, family, LISTENING, address, int(port), "", 0, 0, cookie, 0, 0, 0, 0, cookie, 0,
        False, "", "",
    )  # fmt: skip
    return Candidate(socket, Process(1, "server"), 3)


def candidates(*texts: str) -> list[Candidate]:
    return [candidate(text, cookie) for cookie, text in enumerate(texts, 1)]


@pytest.mark.parametrize(
    ("texts", "chosen"),
    [
        (["tcp 127.0.0.1 80"], [1]),
        (["tcp 127.0.0.1 80"] * 3, [1]),
        (["tcp 0.0.0.0 80", "tcp :: 80"], [1, 2]),
        (["udp ::1 53", "udp 127.0.0.1 53", "udp ::1 53"], [1, 2]),
    ],
    ids=["one", "a group", "both families", "a group and another family"],
)
def test_what_belongs_together(texts: list[str], chosen: list[int]) -> None:
    assert [it.socket.cookie for it in choose(candidates(*texts), "it")] == chosen


@pytest.mark.parametrize(
    "texts",
    [
        ["tcp 127.0.0.1 80", "tcp 127.0.0.1 81"],
        ["tcp 127.0.0.1 80", "udp 127.0.0.1 80"],
        ["tcp 127.0.0.1 80", "tcp 127.0.0.2 80"],
        ["tcp 127.0.0.1 80", "tcp ::1 81"],
    ],
)
def test_what_is_for_the_operator_to_choose(texts: list[str]) -> None:
    with pytest.raises(SockregError) as refusal:
        choose(candidates(*texts), "process web (pid 7)")
    assert refusal.value.status == EXIT_REFUSED
    assert refusal.value.message.startswith("process web (pid 7) has 2 sockets that match")
    for it in candidates(*texts):
        assert str(it) in refusal.value.message


def test_a_long_list_is_cut() -> None:
    with pytest.raises(SockregError, match=r"tcp 127\.0\.0\.1:8 \(sk:8\) and 92 more$"):
        choose(candidates(*(f"tcp 127.0.0.1 {port}" for port in range(1, 101))), "it")


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [
        ("127.0.0.1:80", "127.0.0.1", 80),
        ("[::1]:65535", "::1", 65535),
        ("[2001:DB8:0::1]:80", "2001:db8::1", 80),
        (":80", None, 80),
        ("*:80", None, 80),
        ("[::]:1", "::", 1),
    ],
)
def test_local(text: str, address: str | None, port: int) -> None:
    assert parse_local(text) == (address, port)


@pytest.mark.parametrize(
    "text",
    ["", "80", ":", ":0", ":65536", ":-1", ":http", "::1:80", "[127.0.0.1]:80", "[::1]80", "a:80",
     "127.0.0.1", "127.0.0.1:", "127.0.0.1/8:80", "[::1:80", ":\uff18\uff10"],
)  # fmt: skip
def test_what_is_no_local_address(text: str) -> None:
    with pytest.raises(SockregError, match=r"--local .*: not an address and a port") as refusal:
        parse_local(text)
    assert refusal.value.status == EXIT_USAGE


@pytest.mark.parametrize(
    ("selector", "text", "matches", "exact"),
    [
        (Selector(), "a TCP listener or bound UDP socket", [True, True, True], False),
        (Selector(UDP), "udp socket that can be registered", [False, False, True], False),
        (Selector(None, None, 80), "socket on *:80", [True, True, False], False),
        (Selector(TCP, "::1", 80), "socket that can be registered on [::1]:80", [0, 1, 0], True),
    ],
)
def test_selectors(selector: Selector, text: str, matches: list[bool], exact: bool) -> None:
    found = candidates("tcp 127.0.0.1 80", "tcp ::1 80", "udp 127.0.0.1 53")
    assert [selector.matches(it.socket) for it in found] == matches
    assert selector.is_exact is exact
    assert text in f"a {selector}"
