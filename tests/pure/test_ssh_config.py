"""Where sshd_config lets sshd listen."""

from __future__ import annotations

from pathlib import Path

import pytest

from sockreg.guards.ssh_config import config_file, configured
from sockreg.model import INET, INET6

BOTH = (INET, INET6)
Found = list[tuple[str | None, int, tuple[int, ...]]]


def write(root: Path, text: str, name: str = "sshd_config") -> None:
    path = root / "etc/ssh" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def read(root: Path, ports: list[int] | None = None) -> Found:
    path = config_file(str(root))
    assert path is not None
    return [(it.address, it.port, it.families) for it in configured(str(root), path, ports or [])]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", [(None, 22, BOTH)]),
        ("# Port 2222\n", [(None, 22, BOTH)]),
        ("Port 2222\nport 2223 # two\n", [(None, 2222, BOTH), (None, 2223, BOTH)]),
        ('Port=2222\nPORT = 2223\n  Port "2224"\n', [(None, p, BOTH) for p in (2222, 2223, 2224)]),
        ("Port 0\nPort x\nPort\n", [(None, 22, BOTH)]),
        ("AddressFamily inet\n", [(None, 22, (INET,))]),
        ("AddressFamily inet6\nAddressFamily any\n", [(None, 22, (INET6,))]),
        ("ListenAddress 192.0.2.1\nPort 2222\n", [("192.0.2.1", 2222, BOTH)]),
        ("ListenAddress 192.0.2.1:2222\n", [("192.0.2.1", 2222, BOTH)]),
        ("ListenAddress [2001:db8:0::1]:2222\n", [("2001:db8::1", 2222, BOTH)]),
        ("ListenAddress 2001:db8::1\n", [("2001:db8::1", 22, BOTH)]),
        ("ListenAddress fe80::1%eth0 rdomain 4\n", [("fe80::1", 22, BOTH)]),
        ("ListenAddress 0.0.0.0:2222\n", [(None, 2222, BOTH)]),
        ("ListenAddress host.example:2222\n", [(None, 2222, BOTH)]),
        (
            "ListenAddress 192.0.2.1\nListenAddress ::1\nPort 1\nPort 2\n",
            [("192.0.2.1", 1, BOTH), ("192.0.2.1", 2, BOTH), ("::1", 1, BOTH), ("::1", 2, BOTH)],
        ),
        ("Match User x\nPort 2222\n", [(None, 22, BOTH)]),
        ('Port 2222\nBanner "unfinished\n', [(None, 2222, BOTH)]),
        ("Include nowhere/*.conf\nPort 2222\n", [(None, 2222, BOTH)]),
    ],
)
def test_a_file(tmp_path: Path, text: str, found: Found) -> None:
    write(tmp_path, text)
    assert read(tmp_path) == found


def test_files_that_are_included(tmp_path: Path) -> None:
    write(tmp_path, "Include /etc/ssh/sshd_config.d/*.conf\nPort 3\nMatch all\nInclude last.conf\n")
    write(tmp_path, "Port 1\nMatch User x\nPort 9\n", "sshd_config.d/1.conf")
    write(tmp_path, "Include other\n", "sshd_config.d/2.conf")
    write(tmp_path, "Port 2\n", "other")
    write(tmp_path, "Port 9\n", "last.conf")
    write(tmp_path, "Port 9\n", "sshd_config.d/no.txt")
    assert read(tmp_path) == [(None, 1, BOTH), (None, 2, BOTH), (None, 3, BOTH)]
    path = tmp_path / "etc/ssh/sshd_config"
    places = [it.place for it in configured(str(tmp_path), "/etc/ssh/sshd_config")]
    assert places[2] == f"{path}:2"


def test_a_file_that_includes_itself(tmp_path: Path) -> None:
    write(tmp_path, "Port 2222\nInclude sshd_config\n")
    assert set(read(tmp_path)) == {(None, 2222, BOTH)}


def test_the_command_line_wins(tmp_path: Path) -> None:
    write(tmp_path, "Port 1\nListenAddress 192.0.2.1:3\nListenAddress 192.0.2.2\n")
    assert read(tmp_path, [2]) == [("192.0.2.1", 3, BOTH), ("192.0.2.2", 2, BOTH)]


def test_other_places(tmp_path: Path) -> None:
    assert config_file(str(tmp_path)) is None
    path = tmp_path / "usr/etc/ssh/sshd_config"
    path.parent.mkdir(parents=True)
    path.write_text("Port 2222\n")
    assert config_file(f"{tmp_path}/") == "/usr/etc/ssh/sshd_config"
