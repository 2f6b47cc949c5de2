"""Boxes with a real systemd in which sockreg is installed from this source tree."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox import Sandbox, stage

MakeBox = Callable[..., Sandbox]

# The system that boxes boot: this one, or with `make test-257` a Debian 13.
LOWER = os.environ.get("SOCKREG_TEST_ROOT", "/")


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """sockreg as a package installs it, below a directory."""
    return stage(tmp_path_factory.mktemp("installed"))


@pytest.fixture
def make_box(installed: Path) -> Iterator[MakeBox]:
    """Boots boxes with sockreg in them; takes Sandbox's arguments. They end with the test."""
    with ExitStack() as boxes:

        def make(name: str = "box", **options: Any) -> Sandbox:
            return boxes.enter_context(Sandbox(name, trees=[installed], lower=LOWER, **options))

        yield make


@pytest.fixture
def box(make_box: MakeBox) -> Sandbox:
    """A fresh box for one test. Booting takes a fraction of a second."""
    return make_box()


@pytest.fixture(scope="module")
def module_box(installed: Path) -> Iterator[Sandbox]:
    """One box for all tests of a module that leave it as they found it."""
    with Sandbox(trees=[installed], lower=LOWER) as shared:
        yield shared
