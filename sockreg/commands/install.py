"""Installing the files that are not Python: units, catalog, group, manual page, completion.

A wheel contains these files, but cannot know its installation path. They are written for the path
of an installation: below /usr/local for an administrator, below /usr for a package.
"""

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from sockreg import shipped
from sockreg.errors import RefusedError, failure

_UNITS, _USER_UNITS = "lib/systemd/system", "lib/systemd/user"  # systemd.unit(5)
# By suffix. Shells and man search the directories below /usr/local, too (bash-completion's README,
# "Where to put completions" of fish-completions(7), manpath(5)).
_OTHER_PLACES = {
    ".8": "share/man/man8/sockreg.8",
    ".bash-completion": "share/bash-completion/completions/sockreg",
    ".catalog": "lib/systemd/catalog/sockreg.catalog",
    ".generator": "lib/systemd/system-generators/sockreg-generator",  # systemd.generator(7)
    ".fish": "share/fish/vendor_completions.d/sockreg.fish",
    ".sysusers": "lib/sysusers.d/sockreg.conf",  # sysusers.d(5)
}
_HIDDEN = ("/tmp/", "/var/tmp/")  # InaccessiblePaths= of the units
GROUPS = _OTHER_PLACES[".sysusers"]


class Installation(NamedTuple):
    """Where a sockreg is.

    ``package`` is the directory of its Python, ``zsh`` the one below the prefix where zsh finds
    completions. ``prefix`` has no slash in front: it is below a root.
    """

    prefix: str
    command: str
    interpreter: str
    package: str
    zsh: str


# Debian's places: Python Policy, "Module Path"; README.Debian of zsh.
DEBIAN = Installation(
    prefix="usr",
    command="/usr/bin/sockreg",
    interpreter="/usr/bin/python3",
    package="/usr/lib/python3/dist-packages/sockreg",
    zsh="share/zsh/vendor-completions",
)


def own() -> Installation:
    """This installation. Its command is the script beside the interpreter, where pip puts it."""
    return Installation(
        prefix="usr/local",
        command=str(Path(sys.executable).with_name("sockreg")),
        interpreter=sys.executable,
        package=str(shipped.PACKAGE),
        zsh="share/zsh/site-functions",
    )


def rendered(text: str, installation: Installation) -> str:
    """A unit with the paths of an installation."""
    return (
        text.replace("@SOCKREG@", installation.command)
        .replace("@PYTHON@", installation.interpreter)
        .replace("@COMPANION@", f"{installation.package}/companion/__main__.py")
        .replace("@FOLLOWER@", f"{installation.package}/follow/__main__.py")
        .replace("@RECEIVER@", f"{installation.package}/receive/__main__.py")
    )


def write(root: Path, installation: Installation) -> list[Path]:
    """Write all files below ``root`` for an installation. Returns them. Raises OSError."""
    files = targets(root, installation)
    for target, source in files.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(rendered(source.read_text(), installation))
        if source.suffix == ".generator":
            target.chmod(0o755)
    return list(files)


def targets(root: Path, installation: Installation) -> dict[Path, Path]:
    """The files of an installation below ``root``, and what each is written from."""
    units = shipped.units_path()
    sources = [path for path in (*units.iterdir(), *units.glob("user/*")) if path.is_file()]
    place = root / installation.prefix
    return {
        place / _place(source, installation): source
        for source in sorted([*sources, shipped.man_page_path()])
    }


def is_packaged(installation: Installation) -> bool:
    """Whether the installation belongs to a package of the system, which has these files."""
    return installation.package.startswith("/usr/lib")


def _place(source: Path, installation: Installation) -> str:
    if source.suffix == ".zsh":
        return f"{installation.zsh}/_sockreg"
    home = _USER_UNITS if source.parent.name == "user" else _UNITS
    return _OTHER_PLACES.get(source.suffix, f"{home}/{source.name}")


def _require_visible(path: str) -> None:
    """Raise RefusedError if the units could not run what is there."""
    why = ""
    if path.startswith(_HIDDEN):
        why = "they do not see /tmp and /var/tmp"
    for directory in Path(path).parents:
        if directory.exists() and not _lets_root_in(directory.stat()):
            why = f"without capabilities, they may not enter {directory}"
    if why:
        raise RefusedError(
            f"the units could not run {path}: {why}",
            "install sockreg elsewhere, for example in a virtual environment below /opt",
        )


def _lets_root_in(directory: os.stat_result) -> bool:
    """Whether root may enter a directory without CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH."""
    if directory.st_uid == 0:
        return bool(directory.st_mode & stat.S_IXUSR)
    if directory.st_gid == 0:
        return bool(directory.st_mode & stat.S_IXGRP)
    return bool(directory.st_mode & stat.S_IXOTH)


def install_units(root: str) -> list[Path]:
    """Write them below ``root`` and reload systemd. Returns the files.

    Raises SockregError if a file cannot be written, or if a package has installed them already.
    """
    installation = own()
    if is_packaged(installation):
        # Files in /usr/local would take precedence, and stay when the package is upgraded.
        raise RefusedError(
            "a package of this system has already installed the units of this sockreg",
            "there is nothing to do; 'dpkg --verify sockreg' or 'rpm --verify sockreg' shows "
            "missing files",
        )
    if root == "/":
        for path in (installation.command, installation.interpreter, installation.package):
            _require_visible(path)
    try:
        written = write(Path(root), installation)
    except OSError as error:
        hint = "run it as root" if isinstance(error, PermissionError) else ""
        raise failure(error, f"cannot write {error.filename}: {error.strerror}", hint) from None
    if root == "/":
        if os.path.isdir("/run/systemd/system"):  # sd_booted(3)
            groups = Path(root, installation.prefix, GROUPS)
            subprocess.run(["systemd-sysusers", str(groups)], check=True)
            subprocess.run(["systemctl", "daemon-reload"], check=True)
        subprocess.run(["journalctl", "--update-catalog"], check=False)
    return written
