"""Fixtures of the tests that need a kernel and root, but no systemd."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns import Namespace, bpffs


@pytest.fixture(scope="session", autouse=True)
def _root() -> None:
    if os.geteuid() != 0:
        pytest.exit("tests/kernel needs root", returncode=1)


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    """A fresh network namespace with its loopback up."""
    with Namespace() as fresh:
        yield fresh


@pytest.fixture
def bpffs_path() -> Iterator[Path]:
    """A fresh bpffs of the test's own."""
    with bpffs() as path:
        yield path
