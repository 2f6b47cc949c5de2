"""sockreg laid out as a system package installs it, for a sandbox to boot with."""

from __future__ import annotations

import compileall
from pathlib import Path

from sockreg.commands import install
from tests import tree


def stage(directory: Path) -> Path:
    """Lay out the source tree's sockreg below ``directory``, which must be new or empty.

    The package goes to Debian's place for modules, with compiled bytecode, the command to
    /usr/bin, units, catalog and the rest where the Debian package has them.
    """
    package = Path(f"{directory}{install.DEBIAN.package}")
    package.parent.mkdir(parents=True)
    tree.copy(tree.ROOT / "sockreg", package)
    objects = package / "data/bpf"
    objects.mkdir(parents=True)
    for path in sorted((tree.ROOT / "bpf").glob("*.o")):
        tree.copy(path, objects / path.name)
    # The bytecode shows the paths inside the box.
    compileall.compile_dir(package, quiet=1, stripdir=directory, prependdir="/")
    install.write(directory, install.DEBIAN)
    command = Path(f"{directory}{install.DEBIAN.command}")
    command.parent.mkdir(parents=True)
    tree.copy(tree.ROOT / "bin/sockreg", command)
    return directory
