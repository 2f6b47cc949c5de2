"""The same boxes as in tests/systemd, and what several of these tests have in common."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.pure.test_lint import files
from tests.systemd.conftest import installed as installed
from tests.tree import ROOT


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the files of this tree below root/source."""
    tree = tmp_path_factory.mktemp("source")
    for path in files():
        place = tree / "root/source" / path.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, place, follow_symlinks=False)
    return tree
