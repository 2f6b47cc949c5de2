"""The pure tests pass on the Python of each suite of Debian, 3.14 among them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.packaged.roots import build_root
from tests.packaged.test_pip import PYTHONS
from tests.sandbox import Sandbox
from tests.tree import ROOT

# Of tests/requirements/test.txt: no linters, which have no wheels for every Python.
_PINNED = {
    "attrs", "hypothesis", "iniconfig", "packaging", "pluggy", "pygments", "pytest", "shtab",
    "sortedcontainers",
}  # fmt: skip
# What tests/prepare takes from Debian 12, and these systems do not have.
_OF_DEBIAN = ("jsonschema", "prometheus-client", "pyte")
# Tests of charts, texts, shells and packages: their outcome does not depend on Python, and they
# take tools that are not there. test_pip.py has the wheel, test_build.py the packages.
_NOT_OF_PYTHON = (
    *("bench", "completion", "docs", "english", "lint", "packaging"),
    "fixes.py::test_packages_are_those_that_have_it",
)


def _install(python: str, directory: Path) -> None:
    """Put pytest, and what the tests import, in a directory, from wheels for this Python."""
    pinned = directory.with_suffix(".txt")
    entries = re.findall(
        r"^([a-z0-9-]+)(==.*(?:\n +.*)*)", (ROOT / "tests/requirements/test.txt").read_text(), re.M
    )
    pinned.write_text("".join(f"{name}{rest}\n" for name, rest in entries if name in _PINNED))
    command = [sys.executable, "-m", "pip", "install", "-qq", "--no-warn-conflicts"]
    for_it = ["--only-binary=:all:", "--python-version", python, "--target", str(directory)]
    exactly = ["--no-deps", "--require-hashes", "-r", str(pinned)]
    subprocess.run([*command, *for_it, *exactly], check=True)
    subprocess.run([*command, *for_it, "--upgrade", *_OF_DEBIAN], check=True)


@pytest.mark.parametrize("suite", PYTHONS)
def test_pure_tests_pass(suite: str, source: Path, tmp_path: Path) -> None:
    site = tmp_path / "root/site"
    site.parent.mkdir()
    _install(PYTHONS[suite], site)
    left_out = [
        f"--deselect=tests/pure/test_{test}"
        if "::" in test
        else f"--ignore=tests/pure/test_{test}.py"
        for test in _NOT_OF_PYTHON
    ]
    command = ["python3", "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/pure", *left_out]
    with Sandbox(lower=str(build_root(suite)), trees=[source, tmp_path]) as box:
        said = box.run(
            ["sh", "-c", f"cd /root/source && PYTHONPATH=/root/site exec {' '.join(command)}"],
            timeout=900,
            check=False,
        )
    print(said.stdout.splitlines()[-1])
    assert said.returncode == 0, said.stdout[-20000:] + said.stderr
