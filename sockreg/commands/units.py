"""Install the units, the journal catalog and the group for the place this sockreg runs from."""

import os
import subprocess
import sys
from pathlib import Path

from sockreg import companion, receiver, resources
from sockreg.errors import EXIT_PERMISSION, SockregError

UNITS = Path("usr/local/lib/systemd/system")  # systemd.unit(5): installed by the administrator
CATALOG = Path("usr/local/lib/systemd/catalog")
GROUPS = Path("usr/local/lib/sysusers.d/sockreg.conf")  # sysusers.d(5)


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


def place(name: str) -> Path:
    """Where a file of ours goes, below the root."""
    match Path(name).suffix:
        case ".catalog":
            return CATALOG / name
        case ".sysusers":
            return GROUPS
        case _:
            return UNITS / name


def install_units(root: str) -> list[Path]:
    """Write units, catalog and group below ``root``, have systemd read them; returns the files.

    SockregError if a file cannot be written.
    """
    written = []
    for source in sorted(resources.units_path().iterdir()):
        target = Path(root) / place(source.name)
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
            subprocess.run(["systemd-sysusers", str(Path(root) / GROUPS)], check=True)
            subprocess.run(["systemctl", "daemon-reload"], check=True)
        subprocess.run(["journalctl", "--update-catalog"], check=False)
    return written
