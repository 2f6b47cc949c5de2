"""sockreg laid out as a system package installs it, for a sandbox to boot with."""

from __future__ import annotations

import compileall
import shutil
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]

_COMMAND = """\
#!/usr/bin/python3
import sys

from sockreg.cli.main import main

sys.exit(main())
"""


def stage(directory: Path) -> Path:
    """Lay out the source tree's sockreg below ``directory``, which must be new or empty.

    The package goes to Debian's place for modules, with compiled bytecode, the command to
    /usr/bin and the units to /usr/lib/systemd/system.
    """
    package = directory / "usr/lib/python3/dist-packages/sockreg"
    shutil.copytree(
        SOURCE / "sockreg", package, ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
    )
    for name, patterns in (("bpf", "*.o"), ("units", "*")):
        target = package / "data" / name
        target.mkdir(parents=True)
        for path in sorted((SOURCE / name).glob(patterns)):
            shutil.copy2(path, target)
    # The paths in the bytecode are those inside the box.
    compileall.compile_dir(package, quiet=1, stripdir=directory, prependdir="/")
    shutil.copytree(package / "data/units", directory / "usr/lib/systemd/system")
    command = directory / "usr/bin/sockreg"
    command.parent.mkdir(parents=True)
    command.write_text(_COMMAND)
    command.chmod(0o755)
    return directory
