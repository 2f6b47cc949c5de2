"""Install the units and the journal catalog for the place this sockreg runs from."""

import os
import subprocess
import sys
from pathlib import Path

from sockreg import companion, receiver, resources
from sockreg.errors import EXIT_PERMISSION, SockregError

UNITS = Path("usr/local/lib/systemd/system")  # systemd.unit(5): installed by the administrator
CATALOG = Path("usr/local/lib/systemd/catalog")


def command_path() -> str:
    """The full command: the script beside the interpreter, as pip and packages install it."""
    return str(Path(sys.executable).with_name("sockreg"))


def rendered(text: str) -> str:
    """A unit with the paths of this installation."""
    return (
        text.replace("@SOCKREG@", command_path())
        .replace("@PYTHON@", sys.executable)
        .replace("@COMPANION@", str(Path(companion.__file__).resolve()))
        .replace("@RECEIVER@", str(Path(receiver.__file__).resolve()))
    )


def install_units(root: str) -> list[Path]:
    """Write units and catalog below ``root``, have systemd read them; returns the files.

    SockregError if a file cannot be written.
    """
    written = []
    for source in sorted(resources.units_path().iterdir()):
        folder = CATALOG if source.suffix == ".catalog" else UNITS
        target = Path(root) / folder / source.name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(rendered(source.read_text()))
        except OSError as error:
            raise SockregError(
                f"cannot write {target}: {error.strerror}", "run it as root", EXIT_PERMISSION
            ) from None
        written.append(target)
    if root == "/":
        if os.path.isdir("/run/systemd/system"):  # sd_booted(3)
            subprocess.run(["systemctl", "daemon-reload"], check=True)
        subprocess.run(["journalctl", "--update-catalog"], check=False)
    return written
