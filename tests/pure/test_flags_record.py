"""The record of O_NONBLOCK counts if it is a file that nobody else could have written."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path

import pytest

from sockreg.companion import flags


def test_only_a_file_of_ones_own_counts(tmp_path: Path) -> None:
    record = tmp_path / "web"
    with socket.socket() as sock:
        inode = os.fstat(sock.fileno()).st_ino
        fcntl.fcntl(sock, fcntl.F_SETFL, os.O_NONBLOCK)
        record.write_text(f"pos:\t0\nflags:\t02\nmnt_id:\t1\nino:\t{inode}\n")
        fds = range(sock.fileno(), sock.fileno() + 1)
        for mode in (0o666, 0o664, 0o602):
            record.chmod(mode)
            assert flags.restore(str(record), fds) == 0
        link = tmp_path / "link"
        link.symlink_to(record)
        os.mkfifo(tmp_path / "fifo")
        record.chmod(0o600)
        for other in (link, tmp_path / "fifo", tmp_path, tmp_path / "none"):
            assert flags.restore(str(other), fds) == 0
        assert fcntl.fcntl(sock, fcntl.F_GETFL) & os.O_NONBLOCK
        assert flags.restore(str(record), fds) == 1
        assert not fcntl.fcntl(sock, fcntl.F_GETFL) & os.O_NONBLOCK


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_record_of_somebody_else_counts_for_nothing(tmp_path: Path) -> None:
    record = tmp_path / "web"
    with socket.socket() as sock:
        fcntl.fcntl(sock, fcntl.F_SETFL, os.O_NONBLOCK)
        record.write_text(f"flags:\t02\nino:\t{os.fstat(sock.fileno()).st_ino}\n")
        os.chown(record, 65501, -1)
        record.chmod(0o600)
        assert flags.restore(str(record), range(sock.fileno(), sock.fileno() + 1)) == 0
        assert fcntl.fcntl(sock, fcntl.F_GETFL) & os.O_NONBLOCK
