"""Taking out what install-units wrote, and before that everything of sockreg that is in force.

The order is that of the Debian package (units/debian/sockreg.prerm). None of the steps closes a
socket of the operator. A step that fails leaves what is needed to try again.
"""

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

from sockreg.commands import install, load
from sockreg.context import Context
from sockreg.errors import NotLoadedError, RefusedError, failure
from sockreg.systemd import unit_control

# What holds or takes sockets of the package's own, and the loader; then what only notes things.
_FIRST = (
    "sockreg-metrics.socket", "sockreg-metrics.service", "sockreg-receive.socket",
    "sockreg-sockops.service", "sockreg-interfaces.socket", "sockreg-stalled.timer",
    "sockreg-stalled.service", "sockreg-files.path", "sockreg-files.service",
    "sockreg-files-apply.service", "sockreg-etcd.service", "sockreg.service",
)  # fmt: skip
_THEN = ("sockreg-needed.service", "sockreg-booted.service")
_TRANSIENT = ("sockreg-end-*.timer", "sockreg-end-*.service")
_RUNTIME = (
    "/sys/fs/bpf/sockreg", "/run/sockreg/bpf/sockreg", "/run/sockreg/bpf", "/run/sockreg/enable",
    "/run/sockreg",
)  # fmt: skip
_NOTES = ("/run/sockreg-add", "/run/sockreg-registered", "/run/sockreg-booted")


def uninstall_units(context: Context) -> list[Path]:
    """Remove what install_units() wrote below the root. Returns the files that were there.

    On the system that runs, this first stops the units and unloads the registry of this network
    namespace. Sockets of the operator keep listening, and configuration stays. Raises SockregError
    if a package installed the units, or if a step fails; the files are then still there.
    """
    installation = install.own()
    if install.is_packaged(installation):
        raise RefusedError(
            "a package of this system installed the units of this sockreg",
            "remove the package with apt or dnf",
        )
    live = context.root == "/" and unit_control.is_running()
    if live:
        stop(context)
    removed = []
    try:
        for path in install.targets(Path(context.root), installation):
            if path.is_symlink() or path.exists():
                path.unlink()
                removed.append(path)
    except OSError as error:
        hint = "run it as root" if isinstance(error, PermissionError) else ""
        raise failure(error, f"cannot remove {error.filename}: {error.strerror}", hint) from None
    if live:
        unit_control.run(["daemon-reload"])
        # systemd remembers a unit that has failed, although its file has gone.
        unit_control.run(["reset-failed", "sockreg*"])
    if context.root == "/":
        subprocess.run(["journalctl", "--update-catalog"], check=False)
    return removed


def stop(context: Context) -> None:
    """Stop all units of sockreg, and take everything out of the kernel."""
    found = unit_control.states([*_FIRST, *_THEN])
    there = {unit for unit, state in found.items() if state.load != "not-found"}
    if first := [unit for unit in _FIRST if unit in there]:
        unit_control.run(["stop", "--", *first])
    then = [unit for unit in _THEN if unit in there]
    unit_control.run(["stop", "--", "sockreg@*.service", *_TRANSIENT, *then])
    with contextlib.suppress(NotLoadedError):
        load.unload(context)
    for directory in _RUNTIME:
        # Other network namespaces may have registries, and rules may be there until the next boot.
        with contextlib.suppress(OSError):
            os.rmdir(directory)
    for notes in _NOTES:
        shutil.rmtree(notes, ignore_errors=True)
