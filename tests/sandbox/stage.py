"""sockreg laid out as a system package installs it, for a sandbox to boot with."""

from __future__ import annotations

import compileall
import shutil
from pathlib import Path

from sockreg.commands.units import place

SOURCE = Path(__file__).resolve().parents[2]

_PACKAGE = "/usr/lib/python3/dist-packages/sockreg"
# What the placeholders of the units stand for in a system package.
_PLACES = {
    "@SOCKREG@": "/usr/bin/sockreg",
    "@PYTHON@": "/usr/bin/python3",
    "@COMPANION@": f"{_PACKAGE}/companion.py",
    "@RECEIVER@": f"{_PACKAGE}/receiver.py",
}
_COMMAND = """\
#!/usr/bin/python3
import sys

from sockreg.cli.main import main

sys.exit(main())
"""


def stage(directory: Path) -> Path:
    """Lay out the source tree's sockreg below ``directory``, which must be new or empty.

    The package goes to Debian's place for modules, with compiled bytecode, the command to
    /usr/bin, the units to /usr/lib/systemd/system and the journal catalog beside them.
    """
    package = Path(f"{directory}{_PACKAGE}")
    shutil.copytree(
        SOURCE / "sockreg", package, ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
    )
    for name, pattern in (("bpf", "*.o"), ("units", "*")):
        target = package / "data" / name
        target.mkdir(parents=True)
        for path in sorted((SOURCE / name).glob(pattern)):
            shutil.copy2(path, target)
    # The bytecode shows the paths inside the box.
    compileall.compile_dir(package, quiet=1, stripdir=directory, prependdir="/")
    for source in sorted((SOURCE / "units").iterdir()):
        # A package has below /usr what an administrator has below /usr/local.
        placed = str(place(source.name)).replace("usr/local/", "usr/", 1)
        _write(directory / placed, _placed(source.read_text()))
    command = directory / "usr/bin/sockreg"
    _write(command, _COMMAND)
    command.chmod(0o755)
    return directory


def _placed(text: str) -> str:
    for placeholder, path in _PLACES.items():
        text = text.replace(placeholder, path)
    return text


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
