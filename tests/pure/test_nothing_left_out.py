"""A run of the tests in which something did not run is not green."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.process import run

ROOT = Path(__file__).resolve().parents[2]
SKIPPING = {
    "in a test": "import pytest\ndef test_it(): pytest.skip('no time')\n",
    "by a mark": "import pytest\n@pytest.mark.skip(reason='no time')\ndef test_it(): pass\n",
    "a module": "import pytest\npytest.skip('no time', allow_module_level=True)\n",
    "expecting failure": "import pytest\n@pytest.mark.xfail\ndef test_it(): assert False\n",
    "in a fixture": (
        "import pytest\n@pytest.fixture\ndef f(): pytest.skip('no time')\ndef test_it(f): pass\n"
    ),
    "having no test": "",
}


@pytest.mark.parametrize("text", SKIPPING.values(), ids=SKIPPING.keys())
def test_leaving_out_fails(tmp_path: Path, text: str) -> None:
    (tmp_path / "test_passing.py").write_text("def test_passing(): pass\n" if text else "")
    (tmp_path / "test_it.py").write_text(text)
    pytest_command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    own_rules = ["-p", "tests.conftest", "--rootdir", str(tmp_path)]
    done = run(
        [*pytest_command, *own_rules, str(tmp_path)], check=False, env={"PYTHONPATH": str(ROOT)}
    )
    assert done.returncode != 0, done.stdout
    assert "1 failed" in done.stdout or "1 error" in done.stdout or not text
