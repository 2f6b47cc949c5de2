"""Boxes with systemd 257 over a Debian 13, which `make test-257` gives by SOCKREG_TEST_ROOT=."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox import Sandbox, stage

MakeBox = Callable[..., Sandbox]


@pytest.fixture(scope="session")
def lower() -> str:
    """The root of a system with systemd 256 or later."""
    root = os.environ.get("SOCKREG_TEST_ROOT", "")
    if not os.path.isdir(f"{root}/usr/lib/systemd") or root in ("", "/"):
        pytest.exit(f"SOCKREG_TEST_ROOT={root!r} is no system: run `make test-257`", returncode=1)
    return root


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """sockreg as a package installs it, below a directory."""
    return stage(tmp_path_factory.mktemp("installed"))


@pytest.fixture
def make_box(installed: Path, lower: str) -> Iterator[MakeBox]:
    """Boots boxes with sockreg in them; takes Sandbox's arguments. They end with the test."""
    with ExitStack() as boxes:

        def make(name: str = "box", **options: Any) -> Sandbox:
            return boxes.enter_context(Sandbox(name, trees=[installed], lower=lower, **options))

        yield make
