"""Enabling a .socket unit with the registry, in the best mode for the installed systemd.

- companion: sockreg@NAME.service is enabled; works with any systemd.
- exec: a drop-in makes the .socket unit register its own sockets; systemd 256 and later, where
  PassFileDescriptorsToExec= passes them to ExecStartPost= (systemd.socket(5)).
"""

import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from sockreg.commands.apply import apply
from sockreg.commands.install import own, rendered
from sockreg.commands.taken_label import refuse_taken_labels
from sockreg.context import Context
from sockreg.errors import (
    AccessError,
    SockregError,
    UsageError,
    failure,
)
from sockreg.host import files
from sockreg.registry import registration
from sockreg.registry.destinations import read_destinations
from sockreg.registry.maps import Maps
from sockreg.registry.members import members_of
from sockreg.systemd.unitpaths import find_unit, is_template
from sockreg.terms import LOADER, NEEDED, adding_unit, companion

EXEC_SINCE = 256  # systemd's version
DROPIN = "50-sockreg.conf"
_DIRECTORY = "etc/systemd/system"

# No command for the stop: before ExecStopPre= and ExecStopPost=, systemd clears O_NONBLOCK of
# the sockets, which a running server shares. Closing a socket empties its slot anyway. The '-'
# keeps a failed registration from failing the socket.
_DROPIN = f"""\
# Written by 'sockreg enable'; 'sockreg disable' removes it.
[Unit]
Wants={NEEDED}
After={NEEDED} {LOADER}

[Socket]
PassFileDescriptorsToExec=yes
ExecStartPost=-@PYTHON@ -I -S @COMPANION@ register %n /dev/null
ExecStartPost=-@PYTHON@ -I -S @COMPANION@ start %n @SOCKREG@
"""


class Mode(Enum):
    COMPANION = "companion"
    EXEC = "exec"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The steps of enabling or disabling.

    ``dropin`` is the file to write, or to remove if ``text`` is None. ``commands`` are those of
    systemctl(1) that follow. ``registered`` says whether sockets must be registered afterwards.
    """

    unit: str
    mode: Mode
    dropin: Path | None = None
    text: str | None = None
    commands: list[list[str]]
    registered: bool = False


def plan_enable(context: Context, name: str, mode: Mode | None) -> Plan:
    """How to enable ``name``. ``mode`` None selects the best mode of this systemd.

    Raises SockregError if there is no such unit, if it has the label of another one, if it is
    enabled in the other mode, if the units of sockreg are not installed, or if systemd is too old
    for ``mode``.
    """
    unit = _unit(context.root, name)
    refuse_taken_labels(context, [unit])
    chosen = _mode(context.root, mode)
    dropin = _dropin(context.root, unit)
    service = companion(unit)
    if not find_unit(context.root, service)[1]:
        raise SockregError(
            f"the units of sockreg are not installed: there is no {service}",
            "install them: 'sockreg install-units'",
        )
    if chosen is Mode.COMPANION:
        if dropin.exists():
            raise _other_mode(unit, Mode.EXEC)
        now = [] if _is_elsewhere(context.root) else ["--now"]
        command = [*_systemctl(context.root), "enable", *now, service]
        return Plan(unit=unit, mode=chosen, commands=[command], registered=bool(now))
    if _is_enabled(context.root, service):
        raise _other_mode(unit, Mode.COMPANION)
    if _is_elsewhere(context.root):
        commands = [[*_systemctl(context.root), "enable", unit]]
    elif _succeeds("is-active", "--quiet", unit):
        # systemd refuses a restart while the server runs. For this once, a companion will do.
        add = adding_unit(unit)
        commands = [["systemctl", "daemon-reload"], ["systemctl", "enable", unit],
                    ["systemctl", "start", add]]  # fmt: skip
    else:
        commands = [["systemctl", "daemon-reload"], ["systemctl", "enable", "--now", unit]]
    return Plan(
        unit=unit,
        mode=chosen,
        dropin=dropin,
        text=rendered(_DROPIN, own()),
        commands=commands,
        registered=len(commands) > 1,
    )


def plan_disable(context: Context, name: str) -> Plan | None:
    """How to undo it, or None if the unit is not enabled. Its sockets stay open."""
    unit = _unit(context.root, name)
    dropin = _dropin(context.root, unit)
    systemctl = _systemctl(context.root)
    if dropin.exists():
        commands = [] if _is_elsewhere(context.root) else [["systemctl", "daemon-reload"]]
        return Plan(unit=unit, mode=Mode.EXEC, dropin=dropin, commands=commands)
    service = companion(unit)
    if not _is_enabled(context.root, service) and not (
        not _is_elsewhere(context.root) and _succeeds("is-active", "--quiet", service)
    ):
        return None
    now = [] if _is_elsewhere(context.root) else ["--now"]
    command = [*systemctl, "disable", *now, service]
    return Plan(unit=unit, mode=Mode.COMPANION, commands=[command])


def enable(context: Context, plan: Plan) -> int:
    """Carry out a plan of plan_enable(). Returns the number of destinations that the unit
    serves.
    """
    if plan.dropin is not None:
        _write(plan.dropin, plan.text or "")
    for command in plan.commands:
        _run(command)
    if not plan.registered:
        return 0
    if plan.mode is Mode.EXEC:
        apply(context, start=plan.unit)
    served = _served(context, plan.unit)
    if not served:
        raise SockregError(
            f"{plan.unit} is enabled, but none of its sockets is registered",
            f"'journalctl -u {plan.unit}' says why",
        )
    return served


def disable(context: Context, plan: Plan) -> None:
    """Carry out a plan of plan_disable(): removes the unit's sockets and rules."""
    if plan.dropin is not None:
        try:
            plan.dropin.unlink()
        except OSError as error:
            raise _not_written(plan.dropin, error) from None
        if not any(plan.dropin.parent.iterdir()):
            plan.dropin.parent.rmdir()
    for command in plan.commands:
        _run(command)
    here = plan.mode is Mode.EXEC and not _is_elsewhere(context.root)
    if here and context.is_loaded:
        registration.unregister(context.registry, unit=plan.unit)
        apply(context, stop=plan.unit)


def _unit(root: str, name: str) -> str:
    """The unit's own name; ``web`` is short for ``web.socket``."""
    wanted = name if name.endswith(".socket") else f"{name}.socket"
    identity, paths = find_unit(root, wanted)
    if is_template(wanted):
        raise UsageError(f"{wanted} is a template", "name an instance, such as web@1.socket")
    if not paths:
        raise UsageError(
            f"there is no {wanted}, or it is masked",
            "'systemctl list-unit-files *.socket' lists them",
        )
    return identity


def _mode(root: str, mode: Mode | None) -> Mode:
    if _is_elsewhere(root):
        if mode is None:
            raise UsageError(
                f"the systemd version of {root} is unknown",
                f"give the mode: --mode companion, or --mode exec for systemd {EXEC_SINCE} and "
                "later",
            )
        return mode
    version = _systemd_version()
    if mode is None:
        return Mode.EXEC if version >= EXEC_SINCE else Mode.COMPANION
    if mode is Mode.EXEC and version < EXEC_SINCE:
        raise UsageError(
            f"--mode exec needs systemd {EXEC_SINCE}; this is {version}",
            "--mode companion works with any version",
        )
    return mode


def _systemd_version() -> int:
    """The version of the systemd that runs, for example 252."""
    text = _run(["systemctl", "show", "--property=Version", "--value"])
    found = re.match(r"v?(\d+)", text.strip())
    if found is None:
        raise SockregError(
            f"systemd says that it is version {text.strip()!r}",
            "give the mode: --mode companion works with any version",
        )
    return int(found[1])


def _is_elsewhere(root: str) -> bool:
    """Whether the files are not those of the running systemd."""
    return os.path.realpath(root) != "/"


def _dropin(root: str, unit: str) -> Path:
    return Path(root, _DIRECTORY, f"{unit}.d", DROPIN)


def _is_enabled(root: str, unit: str) -> bool:
    return _succeeds("is-enabled", "--quiet", unit, root=root)


def _succeeds(*arguments: str, root: str = "/") -> bool:
    done = subprocess.run([*_systemctl(root), *arguments], capture_output=True, check=False)
    return done.returncode == 0


def _systemctl(root: str) -> list[str]:
    return ["systemctl", f"--root={root}"] if _is_elsewhere(root) else ["systemctl"]


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["(no message)"]
        kind = SockregError if os.geteuid() == 0 else AccessError
        raise kind(f"'{' '.join(command)}' failed: {lines[0]}", " ".join(lines[1:]))
    return done.stdout


def _write(path: Path, text: str) -> None:
    try:
        files.replace(str(path), text.encode())
    except OSError as error:
        raise _not_written(path, error) from None


def _not_written(path: Path, error: OSError) -> SockregError:
    hint = "run it as root" if isinstance(error, PermissionError) else ""
    return failure(error, f"{path}: cannot be written: {error.strerror}", hint)


def _other_mode(unit: str, mode: Mode) -> SockregError:
    return UsageError(
        f"{unit} is enabled already, in mode {mode.value}",
        f"undo this first: 'sockreg disable {unit}'",
    )


def _served(context: Context, unit: str) -> int:
    with Maps(context.loaded_registry(), read_only=True) as maps:
        return sum(
            member.unit == unit
            for slot in read_destinations(maps).values()
            for member in members_of(maps, slot)
        )
