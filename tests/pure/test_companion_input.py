"""The companion ends with one clear line, whatever it is handed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from sockreg.companion import __main__ as companion
from sockreg.errors import EXIT_USAGE


@pytest.mark.parametrize("count", ["5", "9" * 30, "9" * 5000])
def test_descriptors_that_are_not_open(tmp_path: Path, count: str) -> None:
    """Also with flags on record, which are put back before anything else."""
    record = tmp_path / "flags"
    record.write_text("pos:\t0\nflags:\t02\nino:\t4711\n")
    command = [companion.__file__, "register", "web.socket", str(record)]
    done = subprocess.run(
        [
            "/bin/sh",
            "-c",
            'export LISTEN_PID=$$; exec "$@"',
            "sh",
            "/usr/bin/python3",
            "-I",
            "-S",
            *command,
        ],
        env={"LISTEN_FDS": count},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == EXIT_USAGE, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "LISTEN_" in done.stderr
