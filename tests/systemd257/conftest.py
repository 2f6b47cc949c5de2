"""Boxes with systemd 257 over a Debian 13, which `make test-257` gives by SOCKREG_TEST_ROOT=."""

from __future__ import annotations

import os

import pytest

from tests.systemd.conftest import LOWER, MakeBox, installed, make_box

__all__ = ["MakeBox", "installed", "make_box"]


@pytest.fixture(scope="session", autouse=True)
def _newer_systemd() -> None:
    if LOWER == "/" or not os.path.isdir(f"{LOWER}/usr/lib/systemd"):
        pytest.skip(f"SOCKREG_TEST_ROOT={LOWER!r} has no systemd 256 or later: make test-257")
