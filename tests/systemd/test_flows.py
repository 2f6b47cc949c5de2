"""HTTP/3 downloads during rolling restarts, with and without Flows=sticky."""

from __future__ import annotations

import importlib.util
import json
import shutil
import threading
import time
from pathlib import Path

import pytest

from tests.sandbox import Sandbox
from tests.systemd.conftest import LOWER
from tests.systemd.units import UNITS, service_unit, socket_unit
from tests.tree import IN_BOX

QUIC = "/opt/quic"  # aioquic, in boxes
_PACKAGES = (
    "aioquic", "cryptography", "_cffi_backend", "cffi", "pylsqpack", "OpenSSL", "service_identity",
    "attr", "attrs", "pyasn1", "pyasn1_modules", "certifi", "typing_extensions",
)  # fmt: skip
RULES = ("Bind=udp 192.0.2.0/24 4430-4439",)
STICKY = (*RULES, "Flows=sticky")
END = "/run/downloads-end"


@pytest.fixture(scope="module")
def with_quic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """aioquic and what it imports, below a directory."""
    tree = tmp_path_factory.mktemp("quic")
    for name in _PACKAGES:
        found = importlib.util.find_spec(name)
        if found is None or found.origin is None:
            continue
        origin = Path(found.origin)
        if origin.name == "__init__.py":
            shutil.copytree(origin.parent, tree / QUIC[1:] / name)
        else:
            (tree / QUIC[1:]).mkdir(parents=True, exist_ok=True)
            shutil.copy(origin, tree / QUIC[1:])
    return tree


def files(rules: tuple[str, ...]) -> dict[str, str]:
    """Of quic@.socket and quic@.service, as docs/flows.md has them."""
    return {
        f"{UNITS}/quic@.socket": socket_unit(
            "ListenDatagram=127.0.0.1:844%i", label="quic", rules=rules
        ),
        f"{UNITS}/quic@.service": service_unit(
            "quic quic%i",
            settings=(
                f"Environment=PYTHONPATH={QUIC}",
                "ExecStartPost=-+/usr/bin/sockreg weight quic --unit quic@%i.socket",
                "ExecStop=-+/usr/bin/sockreg drain quic quic@%i.socket",
                "TimeoutStopSec=60",
            ),
            dependencies=["Requires=quic@%i.socket"],
        ),
    }


def downloads(box: Sandbox, seconds: float, restarts: int) -> dict[str, int]:
    """What downloads of this length meet while the two servers restart in turn."""
    for number in (1, 2):
        box.systemctl("enable", "--now", "-q", f"sockreg@quic@{number}.service")
        box.systemctl("start", f"quic@{number}.service")
    client = [
        "env", f"PYTHONPATH={QUIC}", "sh", "-c",
        f"cd {IN_BOX} && exec /usr/bin/python3 -m tests.servers.quic_clients {seconds} {END} 20",
    ]  # fmt: skip
    met: dict[str, int] = {}

    def look() -> None:
        met.update(json.loads(box.run(client, timeout=400).stdout))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        for number in range(restarts):
            time.sleep(seconds)  # downloads begin all the time, at both
            box.systemctl("restart", f"quic@{1 + number % 2}.service", timeout=120)
    finally:
        box.run(["touch", END])
        thread.join()
    return met


@pytest.mark.parametrize(
    ("seconds", "restarts", "compared"),
    [
        pytest.param(1.0, 2, [STICKY], id="short"),
        # A download that breaks ends when its connection has been idle for long enough.
        pytest.param(4.0, 10, [RULES, STICKY], id="compared", marks=pytest.mark.long),
    ],
)
def test_a_rolling_restart_breaks_no_download(
    installed: Path,
    with_quic: Path,
    seconds: float,
    restarts: int,
    compared: list[tuple[str, ...]],
) -> None:
    found = {}
    for rules in compared:
        with Sandbox("box", trees=[installed, with_quic], lower=LOWER, files=files(rules)) as box:
            box.run(["ip", "address", "add", "192.0.2.0/24", "dev", "lo"])
            found[rules] = downloads(box, seconds, restarts)
    assert found[STICKY].keys() == {"quic1", "quic2"}, found  # and none is broken
    if RULES in found:
        assert found[RULES]["broken"] >= 2 * restarts, found
