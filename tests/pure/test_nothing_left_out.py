"""With --no-skips, a run of the tests in which something did not run is not green."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.process import run
from tests.tree import ROOT

SKIPPING = {
    "in a test": "import pytest\ndef test_it(): pytest.skip('no time')\n",
    "by a mark": "import pytest\n@pytest.mark.skip(reason='no time')\ndef test_it(): pass\n",
    "a module": "import pytest\npytest.skip('no time', allow_module_level=True)\n",
    "expecting failure": "import pytest\n@pytest.mark.xfail\ndef test_it(): assert False\n",
    "without its program": "import subprocess\ndef test_it(): subprocess.run(['nowhere'])\n",
    "in a fixture": (
        "import pytest\n@pytest.fixture\ndef f(): pytest.skip('no time')\ndef test_it(f): pass\n"
    ),
}


def outcome(directory: Path, *options: str) -> tuple[int, str]:
    """pytest's exit status and last line for the tests of a directory, under our conftest.py."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["-p", "tests.conftest", "--rootdir", str(directory), *options, str(directory)]
    done = run(command, check=False, cwd=ROOT)
    return done.returncode, done.stdout.splitlines()[-1]


@pytest.mark.parametrize("text", SKIPPING.values(), ids=SKIPPING.keys())
def test_leaving_out_fails_where_it_must_not_be(tmp_path: Path, text: str) -> None:
    (tmp_path / "test_passing.py").write_text("def test_passing(): pass\n")
    (tmp_path / "test_it.py").write_text(text)
    status, last = outcome(tmp_path)
    assert status == 0, last
    assert "1 skipped" in last or "1 xfailed" in last
    status, last = outcome(tmp_path, "--no-skips")
    assert status != 0, last
    assert "1 failed" in last or "1 error" in last


def test_having_no_test_fails(tmp_path: Path) -> None:
    assert outcome(tmp_path)[0] != 0
