"""Debian systems in which packages are built and checked as on a build machine."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.tree import ROOT

# What builds packages and checks them, and what the package of sockreg depends on and recommends.
_TOOLS = (
    "build-essential debhelper dh-python pybuild-plugin-pyproject python3-hatchling clang llvm"
    " libbpf-dev lintian autopkgtest rpm rpmlint twine pipx python3-venv"
)
_NEEDED = (
    "iproute2 libbpf1 python3 python3-numpy python3-prometheus-client python3-pyelftools"
    " python3-systemd systemd util-linux"
)


def build_root(suite: str) -> Path:
    """The Debian of a suite with the tools of packagers; debootstrap(8) makes it once."""
    done = subprocess.run(
        [ROOT / "tests/debian-root", suite, *_TOOLS.split(), *_NEEDED.split()],
        env=os.environ | {"NAME": f"{suite}-build"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return Path(done.stdout.strip())
