"""Where the ssh servers that are enabled will listen."""

from __future__ import annotations

from pathlib import Path

import pytest

from sockreg.guards.ssh_expected import expected

UNITS = "etc/systemd/system"
SSHD = "[Service]\nExecStart=/usr/sbin/sshd -D $SSHD_OPTS\n"


STREAMS = (
    "[Socket]\nListenStream=22\nListenStream=\nListenStream=0.0.0.0:2226\n"
    "ListenStream=[2001:db8::1]:2227\nListenStream=/run/ssh\nListenStream=vsock::22\n"
)


def write(root: Path, path: str, text: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def enable(root: Path, unit: str, text: str, by: str = "multi-user.target.wants") -> None:
    write(root, f"{UNITS}/{unit}", text)
    link = root / UNITS / by / unit
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(f"/{UNITS}/{unit}")


def found(root: Path) -> list[tuple[str | None, int]]:
    return [(it.address, it.port) for it in expected(str(root)).ports]


@pytest.mark.parametrize(
    ("unit", "text", "listens"),
    [
        ("ssh.service", SSHD, [(None, 2222)]),
        ("sshd.service", "[Service]\nExecStart=/bin/sh -c 'exec sshd'\n", [(None, 2222)]),
        ("rescue.service", SSHD, [(None, 2222)]),
        ("rescue.service", "[Service]\nExecStart=-@/usr/sbin/sshd sshd -p 22 -p2223 -D\n",
         [(None, 22), (None, 2223)]),
        ("rescue.service", "[Service]\nExecStart=sshd -o Port=24 -f /etc/ssh/other\n",
         [("192.0.2.1", 24)]),
        ("rescue.service", "[Service]\nExecStart=sshd -f /etc/ssh/other\n", [("192.0.2.1", 2224)]),
        ("dropbear.service", "[Service]\nExecStart=/usr/sbin/dropbear -F -p 192.0.2.1:2225\n",
         [("192.0.2.1", 2225)]),
        ("dropbear.service", "[Service]\nExecStart=/usr/sbin/dropbear -EF -p $PORT\n",
         [(None, 22)]),
        ("ssh.socket", STREAMS,
         [(None, 2226), ("2001:db8::1", 2227)]),
        ("web.service", "[Service]\nExecStart=/usr/sbin/nginx\n", []),
        ("keys.service", "[Service]\nExecStart=/usr/bin/ssh-keygen -f /etc/sshd\n", []),
    ],
)  # fmt: skip
def test_a_unit(
    tmp_path: Path, unit: str, text: str, listens: list[tuple[str | None, int]]
) -> None:
    write(tmp_path, "etc/ssh/sshd_config", "Port 2222\n")
    write(tmp_path, "etc/ssh/other", "ListenAddress 192.0.2.1\nPort 2224\n")
    write(tmp_path, f"{UNITS}/{unit}", text)
    assert found(tmp_path) == []  # it is not enabled
    enable(tmp_path, unit, text)
    assert found(tmp_path) == listens


def test_a_socket_by_the_program_of_its_service(tmp_path: Path) -> None:
    write(tmp_path, f"{UNITS}/rescue@.service", "[Service]\nExecStart=-/usr/sbin/sshd -i\n")
    enable(tmp_path, "rescue.socket", "[Socket]\nListenStream=2222\nAccept=yes\n")
    enable(tmp_path, "other.socket", "[Socket]\nListenStream=2223\nAccept=yes\n")
    assert found(tmp_path) == [(None, 2222)]


def test_a_drop_in_and_a_mask(tmp_path: Path) -> None:
    enable(tmp_path, "ssh.socket", "[Socket]\nListenStream=22\n", "sockets.target.wants")
    write(
        tmp_path,
        f"{UNITS}/ssh.socket.d/port.conf",
        "[Socket]\nListenStream=\nListenStream=2222\n",
    )
    assert found(tmp_path) == [(None, 2222)]
    (tmp_path / UNITS / "ssh.socket").unlink()
    (tmp_path / UNITS / "ssh.socket").symlink_to("/dev/null")
    assert found(tmp_path) == []


def test_a_configuration_that_cannot_be_read(tmp_path: Path) -> None:
    enable(tmp_path, "ssh.service", "[Service]\nExecStart=/usr/sbin/sshd -f /etc/ssh/gone\n")
    assert found(tmp_path) == []
    (notice,) = expected(str(tmp_path)).notices
    assert notice.endswith(
        "etc/ssh/gone: No such file or directory: rules may take the port of ssh.service"
    )
