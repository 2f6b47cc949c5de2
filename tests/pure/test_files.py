"""Files that are written as a whole."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from sockreg.host import files


def test_it_replaces_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "new" / "web.conf"
    files.replace(str(path), b"first\n")
    with path.open("rb") as before:
        files.replace(str(path), b"second\n", mode=0o600)
        assert before.read() == b"first\n", "a reader sees the file that it opened"
    assert path.read_bytes() == b"second\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == ["web.conf"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    (tmp_path / "place" / "kept").touch()
    with pytest.raises(OSError, match="place"):
        files.replace(str(tmp_path / "place"), b"text")
    assert os.listdir(tmp_path) == ["place"]


@pytest.mark.parametrize("below", ["", "state"])
def test_a_link_to_nowhere_is_named(tmp_path: Path, below: str) -> None:
    link = tmp_path / "link"
    link.symlink_to("/srv/gone")
    with pytest.raises(FileNotFoundError) as caught:
        files.replace(str(link / below / "rules"), b"text")
    assert caught.value.strerror == f"{link} is a symbolic link to /srv/gone, which does not exist"
    assert caught.value.filename == str(link)


def test_removing_twice_is_fine(tmp_path: Path) -> None:
    path = tmp_path / "web.conf"
    path.touch()
    files.remove(str(path))
    files.remove(str(path))
    assert os.listdir(tmp_path) == []
