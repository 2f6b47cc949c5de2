"""The receiver of sockets where systemd limits how often it looks (PollLimitBurst=, 255)."""

from __future__ import annotations

from tests.systemd.load import flooding
from tests.systemd.units import UNITS, messages, service_unit, socket_unit
from tests.systemd257.conftest import MakeBox

GROUP = "www-data"  # of Debian's base system
SENDER = service_unit("accept_loop web").replace("ExecStart=", "ExecStart=sockreg send web -- ")
FILES = {
    "/etc/sockreg/web.conf": "[web]\nBind=tcp 127.0.0.1 80\n",
    f"{UNITS}/web.socket": socket_unit("127.0.0.1:8080"),
    f"{UNITS}/web.service": SENDER,
    f"{UNITS}/sockreg-receive.socket.d/group.conf": (
        f"[Socket]\nSocketGroup={GROUP}\nSocketMode=0660\n"
    ),
}


def test_a_flood_of_one_user_keeps_no_other_from_registering(make_box: MakeBox) -> None:
    """Nor systemd from starting units, as that of the sender."""
    box = make_box(files=FILES)
    box.systemctl("enable", "--now", "sockreg.service", "sockreg-receive.socket")
    with flooding(box, GROUP) as flood:
        box.systemctl("start", "web.socket", "web.service")
        box.wait(lambda: box.ask("127.0.0.1", 80) == "web 127.0.0.1:80", "the registration")
        assert flood.poll() is None
    assert "web: OK" in messages(box, "_SYSTEMD_UNIT=web.service")
