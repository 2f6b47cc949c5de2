"""Another sk_lookup program on a host with units: what check advises works."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.kernel.foreign import Foreign
from tests.systemd.conftest import MakeBox
from tests.systemd.units import UNITS, service_unit, socket_unit

FILES = {
    f"{UNITS}/web.socket": socket_unit("127.0.0.1:8080", rules=["Bind=tcp 192.0.2.0/24 80"]),
    f"{UNITS}/web.service": service_unit("accept_loop web", dependencies=["Requires=web.socket"]),
}


def test_attached_again_sockreg_is_the_last(make_box: MakeBox, tmp_path: Path) -> None:
    """The fix for a program that runs after sockreg's; the units keep their sockets."""
    box = make_box(files=FILES)
    box.network.add_local("192.0.2.0/24")
    box.systemctl("enable", "--now", "sockreg@web")
    assert box.ask("192.0.2.1", 80).startswith("web")
    late = box.network.serve("late", "127.0.0.1", 9091)
    with Foreign(box.network, tmp_path, "replaces", late) as foreign:
        assert box.ask("192.0.2.1", 80) == "late"
        listed = json.loads(box.run(["sockreg", "check", "--json"], check=False).stdout)
        (found,) = (it for it in listed["findings"] if it["check"] == "foreign-program")
        assert found["where"] == str(foreign)
        (fix,) = re.findall(r"attach it again: '(.*)'$", found["fix"])
        box.run(["sh", "-c", fix])
        assert box.ask("192.0.2.1", 80).startswith("web")
        said = box.run(["sockreg", "status"]).stdout
        assert f"also        {foreign} runs before sockreg's" in said
    assert box.ask("192.0.2.1", 80).startswith("web")
