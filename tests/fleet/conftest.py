"""Three hosts of a fleet, each with a server of its own behind label web."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.sandbox import Sandbox
from tests.systemd.conftest import LOWER
from tests.systemd.conftest import installed as installed
from tests.systemd.units import UNITS, service_unit, socket_unit

NAMES = ("one", "two", "three")
SERVICE = "192.0.2.7"


def files(name: str) -> dict[str, str]:
    """web.socket and web.service; the server says its host's name."""
    return {
        f"{UNITS}/web.socket": socket_unit("127.0.0.1:8080", rules=["Bind=tcp 127.0.0.9 80"]),
        f"{UNITS}/web.service": service_unit(f"accept_loop {name}"),
    }


@pytest.fixture
def hosts(installed: Path) -> Iterator[dict[str, Sandbox]]:
    """Fresh ones. Nothing of sockreg is enabled in them yet."""
    with ExitStack() as boxes:
        found = {
            name: boxes.enter_context(
                Sandbox(name, trees=[installed], lower=LOWER, files=files(name))
            )
            for name in NAMES
        }
        for box in found.values():
            box.network.add_local("192.0.2.0/24")
        yield found
