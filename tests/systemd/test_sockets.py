"""All kinds of sockets that a .socket unit can have, and all kinds of names."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from sockreg.systemd import journal
from tests.netns import UDP
from tests.sandbox import Sandbox
from tests.systemd.conftest import MakeBox
from tests.systemd.units import UNITS, messages, service_unit, socket_unit, web

EVERYWHERE = (
    "Bind=tcp 127.0.0.1 80",
    "Bind=tcp ::1 80",
    "Bind=udp 127.0.0.1 80",
    "Bind=udp ::1 80",
)


def enabled(make_box: MakeBox, files: dict[str, str]) -> Sandbox:
    """A box with these files whose web.socket is enabled with sockreg."""
    box = make_box(files=files)
    box.systemctl("enable", "--now", "sockreg@web")
    return box


def one_server(
    *listen: str, rules: Sequence[str], settings: Sequence[str] = (), server: str = "event_loop web"
) -> dict[str, str]:
    return {
        f"{UNITS}/web.socket": socket_unit(*listen, rules=rules, settings=settings),
        f"{UNITS}/web.service": service_unit(server),
    }


def answers(box: Sandbox) -> dict[str, str]:
    """What is met at port 80 by either protocol over either family."""
    return {
        "tcp4": box.ask("127.0.0.1", 80),
        "tcp6": box.ask("::1", 80),
        "udp4": box.ask("127.0.0.1", 80, UDP),
        "udp6": box.ask("::1", 80, UDP),
    }


def skipped(box: Sandbox) -> list[str]:
    return messages(box, f"MESSAGE_ID={journal.SKIPPED}")


def registered(box: Sandbox) -> list[str]:
    """The registered sockets, as ``label protocol family address unit``."""
    status = json.loads(box.run(["sockreg", "--json", "status"]).stdout)["status"]
    return sorted(
        " ".join([d["label"], d["protocol"], d["family"], member["address"], member["unit"]])
        for d in status["destinations"]
        for member in d["members"]
    )


def test_several_listen_lines_serve_their_own_family_and_protocol(make_box: MakeBox) -> None:
    files = one_server(
        "127.0.0.1:8080",
        "[::1]:8080",
        "ListenDatagram=127.0.0.1:8080",
        "ListenDatagram=[::1]:8080",
        rules=EVERYWHERE,
    )
    box = enabled(make_box, files)
    assert answers(box) == {
        "tcp4": "web 127.0.0.1:80",
        "tcp6": "web [::1]:80",
        "udp4": "web 127.0.0.1:80",
        "udp6": "web [::1]:80",
    }
    assert skipped(box) == []


def test_a_dual_stack_socket_serves_both_families(make_box: MakeBox) -> None:
    box = enabled(make_box, one_server("8080", "ListenDatagram=8080", rules=EVERYWHERE))
    assert registered(box) == [
        "web tcp ipv4 [::]:8080 web.socket",
        "web tcp ipv6 [::]:8080 web.socket",
        "web udp ipv4 [::]:8080 web.socket",
        "web udp ipv6 [::]:8080 web.socket",
    ]
    assert answers(box) == {
        "tcp4": "web 127.0.0.1:80",
        "tcp6": "web [::1]:80",
        "udp4": "web 127.0.0.1:80",
        "udp6": "web [::1]:80",
    }


@pytest.mark.parametrize("listen", ["[::1]:8080", "[::]:8080"])
def test_an_ipv6_only_socket_serves_ipv6_alone(make_box: MakeBox, listen: str) -> None:
    files = one_server(listen, rules=EVERYWHERE, settings=["BindIPv6Only=ipv6-only"])
    box = enabled(make_box, files)
    assert box.ask("::1", 80) == "web [::1]:80"
    assert box.ask("127.0.0.1", 80) == "refused"


def test_a_family_of_its_own_comes_before_dual_stack(make_box: MakeBox) -> None:
    """Port 8080 would be taken for both by a dual-stack socket alone."""
    box = enabled(make_box, one_server("8080", "127.0.0.1:8081", rules=EVERYWHERE))
    assert registered(box) == [
        "web tcp ipv4 127.0.0.1:8081 web.socket",
        "web tcp ipv6 [::]:8080 web.socket",
    ]


def test_two_for_the_same_packets_are_told_apart_by_the_rules(make_box: MakeBox) -> None:
    rules = ["Bind=tcp 127.0.0.1 80 to 8081", "Bind=tcp 127.0.0.1 81 to 8080"]
    box = enabled(make_box, one_server("127.0.0.1:8080", "127.0.0.1:8081", rules=rules))
    assert registered(box) == [
        "web tcp ipv4 127.0.0.1:8080 web.socket",
        "web tcp ipv4 127.0.0.1:8081 web.socket",
    ]
    assert skipped(box) == []
    assert {box.ask("127.0.0.1", port) for port in (80, 81)} == {
        "web 127.0.0.1:80",
        "web 127.0.0.1:81",
    }


def test_a_udp_service(make_box: MakeBox) -> None:
    rules = ["Bind=udp 127.0.0.0/24 5000-5999"]
    box = enabled(make_box, one_server("ListenDatagram=127.0.0.1:8080", rules=rules))
    assert box.ask("127.0.0.1", 5353, UDP) == "web 127.0.0.1:5353"
    assert box.ask("127.0.0.7", 5999, UDP) == "web 127.0.0.7:5999"
    assert box.ask("127.0.0.1", 6000, UDP) == "refused"
    assert box.ask("127.0.0.1", 5353) == "refused"


def test_two_units_with_one_label_and_weights_share_its_connections(make_box: MakeBox) -> None:
    files = web(rules=["Bind=tcp 127.0.0.1 80", "Weight=100"]) | {
        f"{UNITS}/other.socket": socket_unit("127.0.0.1:8081", label="web", rules=["Weight=100"]),
        f"{UNITS}/other.service": service_unit("accept_loop other"),
    }
    box = enabled(make_box, files)
    box.systemctl("enable", "--now", "sockreg@other")
    both = {"web 127.0.0.1:80", "other 127.0.0.1:80"}
    assert {box.ask("127.0.0.1", 80) for _ in range(100)} == both
    box.systemctl("stop", "web.socket")
    assert {box.ask("127.0.0.1", 80) for _ in range(100)} == {"other 127.0.0.1:80"}
    box.systemctl("start", "sockreg@web")
    assert {box.ask("127.0.0.1", 80) for _ in range(100)} == both


def test_units_with_one_label_for_different_families_and_protocols(make_box: MakeBox) -> None:
    files = one_server("127.0.0.1:8080", rules=[*EVERYWHERE, "Weight=1"]) | {
        f"{UNITS}/web6.socket": socket_unit(
            "[::1]:8080", "ListenDatagram=8080", label="web", rules=["Weight=1"]
        ),
        f"{UNITS}/web6.service": service_unit("event_loop web6"),
    }
    box = enabled(make_box, files)
    box.systemctl("enable", "--now", "sockreg@web6")
    assert answers(box) == {
        "tcp4": "web 127.0.0.1:80",
        "tcp6": "web6 [::1]:80",
        "udp4": "web6 127.0.0.1:80",
        "udp6": "web6 [::1]:80",
    }


@pytest.mark.parametrize(
    "setting", ["ReusePort=yes", "FreeBind=yes", "BindToDevice=lo", "Transparent=yes"]
)
def test_socket_settings(make_box: MakeBox, setting: str) -> None:
    files = one_server(
        "127.0.0.1:8080", "ListenDatagram=127.0.0.1:8080", rules=EVERYWHERE, settings=[setting]
    )
    box = enabled(make_box, files)
    assert box.ask("127.0.0.1", 80) == "web 127.0.0.1:80"
    assert box.ask("127.0.0.1", 80, UDP) == "web 127.0.0.1:80"


def test_a_free_bound_address_that_nobody_has(make_box: MakeBox) -> None:
    files = one_server("192.0.2.9:8080", rules=["Bind=tcp 127.0.0.1 80"], settings=["FreeBind=yes"])
    assert enabled(make_box, files).ask("127.0.0.1", 80) == "web 127.0.0.1:80"


@pytest.mark.long
def test_accept_yes(make_box: MakeBox) -> None:
    files = {
        f"{UNITS}/web.socket": socket_unit(
            "127.0.0.1:8080", rules=["Bind=tcp 127.0.0.1 80"], settings=["Accept=yes"]
        ),
        f"{UNITS}/web@.service": service_unit("connected web", settings=["StandardOutput=socket"]),
    }
    box = enabled(make_box, files)
    for _ in range(3):
        assert box.ask("127.0.0.1", 80) == "web 127.0.0.1:80"
        box.systemctl("restart", "sockreg@web")
    assert box.show("web.socket", "ActiveState") == "active"


def test_a_mixed_unit_registers_what_it_can_and_says_what_it_skips(make_box: MakeBox) -> None:
    files = one_server(
        "/run/web.sock",
        "127.0.0.1:8080",
        "ListenFIFO=/run/web.fifo",
        "ListenDatagram=/run/web.datagrams",
        "ListenSequentialPacket=/run/web.packets",
        "ListenNetlink=route 0",
        "ListenMessageQueue=/web",
        rules=EVERYWHERE,
    )
    box = enabled(make_box, files)
    assert registered(box) == ["web tcp ipv4 127.0.0.1:8080 web.socket"]
    prefix = "skipped a socket of web.socket, label web: it is "
    assert sorted(line.removeprefix(prefix).split(";")[0] for line in skipped(box)) == [
        "a FIFO",
        "a UNIX socket",
        "a UNIX socket",
        "a UNIX socket",
        "a netlink socket",
        "not a socket (a special file or a message queue)",
    ]
    assert box.systemctl("is-failed", "sockreg-add@web", check=False).stdout == "inactive\n"


def test_a_unit_without_any_suitable_socket_is_refused(make_box: MakeBox) -> None:
    box = make_box(files=one_server("/run/web.sock", rules=[]))
    assert box.systemctl("enable", "--now", "sockreg@web", check=False).returncode != 0
    (refusal,) = messages(box, f"MESSAGE_ID={journal.REFUSED}")
    assert refusal.startswith("web.socket: none of its sockets can be registered")
    assert box.show("web.socket", "ActiveState") == "active"


@pytest.mark.parametrize(
    ("name", "label"),
    [
        (r"sp\x20ace", None),
        *(
            pytest.param(*others, marks=pytest.mark.long)
            for others in (("foo@1", None), (r"a\x2db", None), ("web", "with space, and comma"))
        ),
    ],
)
def test_names(make_box: MakeBox, name: str, label: str | None) -> None:
    service = f"{name}.service"
    box = make_box(
        files={
            f"{UNITS}/{name}.socket": socket_unit(
                "127.0.0.1:8080", label=label, rules=["Bind=tcp 127.0.0.1 80"]
            ),
            f"{UNITS}/{service}": service_unit("accept_loop web"),
        }
    )
    box.systemctl("enable", "--now", f"sockreg@{name}.service")
    assert box.ask("127.0.0.1", 80) == "web 127.0.0.1:80"
    assert registered(box) == [f"{label or name + '.socket'} tcp ipv4 127.0.0.1:8080 {name}.socket"]
    box.systemctl("restart", f"sockreg@{name}.service")
    assert box.ask("127.0.0.1", 80) == "web 127.0.0.1:80"
    box.systemctl("stop", f"{name}.socket")
    assert box.ask("127.0.0.1", 80) == "refused"
    box.reboot()
    assert box.ask("127.0.0.1", 80) == "web 127.0.0.1:80"


def test_a_name_that_systemd_does_not_take_falls_back_to_the_unit(make_box: MakeBox) -> None:
    files = {
        f"{UNITS}/web.socket": socket_unit(
            "127.0.0.1:8080", label="a:b", rules=["Bind=tcp 127.0.0.1 80"]
        ),
        f"{UNITS}/web.service": service_unit("accept_loop web"),
    }
    box = enabled(make_box, files)
    assert registered(box) == ["web.socket tcp ipv4 127.0.0.1:8080 web.socket"]
    assert box.ask("127.0.0.1", 80) == "web 127.0.0.1:80"
    (notice,) = messages(box, f"MESSAGE_ID={journal.NOTICE}")
    assert notice.startswith(f"{UNITS}/web.socket:4: systemd ignores FileDescriptorName=a:b")
