"""The Debian systems that recipes are played in, with the packages that these install."""

from __future__ import annotations

import os
import shlex
import subprocess
from functools import cache
from pathlib import Path

from tests.docs import RECIPES, Command, scenes
from tests.tree import ROOT

APT_INSTALL = "apt install "
# What sockreg depends on and recommends, what clients use, and what servers recommend.
_NEEDED = (
    "iproute2 libbpf1 python3 python3-numpy python3-pyelftools python3-systemd systemd util-linux"
    " bind9-dnsutils curl openssh-client dns-root-data"
)
# The recipes for which Debian 12 has nothing.
_NEWER = {"http3.md": "trixie"}


def suite_of(document: Path) -> str:
    """The Debian that a recipe is for."""
    return _NEWER.get(document.name, "bookworm")


def packages(command: Command) -> list[str]:
    """What ``apt install`` installs."""
    return shlex.split(command.line.removeprefix(APT_INSTALL))


@cache
def recipe_root(suite: str) -> Path:
    """The Debian of a suite with what its recipes install; debootstrap(8) makes it once."""
    wanted = {
        package
        for document in RECIPES
        if suite_of(document) == suite
        for scene in scenes(document)
        for command in scene.commands()
        if command.line.startswith(APT_INSTALL)
        for package in packages(command)
    }
    done = subprocess.run(
        [ROOT / "tests/debian-root", suite, *_NEEDED.split(), *sorted(wanted)],
        env=os.environ | {"NAME": f"{suite}-recipes"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return Path(done.stdout.strip())
