"""Debian's packages with .socket units of the system, by name, and how to take the units."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Collection
from pathlib import Path

PACKAGES = [
    "acpid", "atftpd", "avahi-daemon", "clamav-daemon", "cloud-init", "cockpit-ws", "cups-daemon",
    "dbus-system-bus-common", "dmeventd", "docker.io", "dovecot-core", "erlang-base", "fcgiwrap",
    "gpsd", "ibacm", "libvirt-daemon-system", "lirc", "lvm2", "lxd", "mariadb-server",
    "micro-httpd", "mpd", "multipath-tools", "nix-setup-systemd", "nsca-ng-server", "open-iscsi",
    "openssh-server", "pcscd", "podman", "rpcbind", "sane-utils", "snapd", "spice-vdagent",
    "sssd-common", "sssd-kcm", "systemd", "systemd-journal-remote", "systemd-oomd", "tang",
    "targetcli-fb", "udev", "uuid-runtime", "xpra",
]  # fmt: skip

_CACHE = Path(os.environ.get("XDG_CACHE_HOME", "/var/cache")) / "sockreg-packages"
# Where packages have units, and where a box has them: its /lib is a link.
_PLACES = ("lib/systemd/system", "usr/lib/systemd/system")
INTO = "usr/lib/systemd/system"


def download() -> None:
    """Download with apt-get(8) the packages that are not there yet. They are kept."""
    _CACHE.mkdir(parents=True, exist_ok=True)
    have = {path.name.partition("_")[0] for path in _CACHE.glob("*.deb")}
    for name in PACKAGES:
        if name not in have:
            subprocess.run(
                ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", name],
                cwd=_CACHE,
                check=True,
            )


def units_of(packages: Collection[str], into: Path) -> Path:
    """A tree with the .socket and .service units of those packages that are there."""
    tree = into / "tree"
    (tree / INTO).mkdir(parents=True)
    for package in sorted(_CACHE.glob("*.deb")):
        if package.name.partition("_")[0] in packages:
            unpacked = into / package.name
            subprocess.run(["dpkg-deb", "-x", str(package), str(unpacked)], check=True)
            _take_units(unpacked, tree / INTO)
            shutil.rmtree(unpacked)
    return tree


def _take_units(unpacked: Path, into: Path) -> None:
    for place in _PLACES:
        for path in sorted((unpacked / place).glob("*.*")):
            # A link is another name of a unit.
            if path.suffix in (".socket", ".service") and not path.is_symlink():
                shutil.copy2(path, into / path.name)
