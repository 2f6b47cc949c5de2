"""What is remembered of ssh: the labels that lead to it, and for the next boot where it listens."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import cache, partial

from sockreg.config.ruleset import RuleSet
from sockreg.errors import SockregError
from sockreg.guards import ssh, ssh_doors, ssh_kept
from sockreg.guards.ssh_doors import Door
from sockreg.guards.ssh_kept import Kept
from sockreg.guards.ssh_servers import Units
from sockreg.model import Binding
from sockreg.registry import ssh_labels
from sockreg.registry.maps import Maps
from sockreg.systemd import journal

Finder = Callable[[Collection[Binding]], list[Door]]


def finder(
    label_of: Mapping[str, str],
    root: str,
    directory: str | None,
    *,
    at_boot: bool,
    expected: bool,
) -> Finder:
    """What finds the doors of ssh that rules may take, for guards/ssh.py.

    ``label_of`` are the units that count, with their labels. ``directory`` is where rules are kept.
    ``at_boot`` is true if nothing is in force. ``expected`` is whether ssh may start to listen
    later.
    """
    if not expected:
        return partial(ssh_doors.doors, root=root)

    @cache
    def kept() -> Kept | None:
        return _kept(directory)

    @cache
    def labels() -> set[str]:
        units = Units(root)
        return {label for unit, label in label_of.items() if units.serve_ssh(unit)}

    @cache
    def everywhere() -> list[Door]:
        return ssh_doors.doors_at_boot(root, kept(), labels())

    def now_or_later(bindings: Collection[Binding]) -> list[Door]:
        later = ssh_doors.doors_later(bindings, root, kept(), labels)
        return [*ssh_doors.doors(bindings, root), *later]

    return (lambda _: everywhere()) if at_boot else now_or_later


def mark(
    maps: Maps,
    bindings: Collection[Binding],
    label_of: Mapping[str, str],
    find: Finder,
    *,
    take_ssh: bool,
) -> list[str]:
    """Mark the destinations by which rules lead to ssh, so that its socket stays there.

    ``label_of`` are the units that count, with their labels. ``find`` is what finder() has
    returned. ``take_ssh`` is whether the rules may take it. Returns the labels. Callers hold the
    lock of the registry's directory.
    """
    ways: list[ssh.WayIn] = []
    if not take_ssh:
        units: dict[str, list[str]] = {}
        for unit, label in label_of.items():
            units.setdefault(label, []).append(unit)
        try:
            ways = ssh.ways_in(find(bindings), bindings, maps, units)
        except SockregError:
            return []  # the guard has told; marks stay as they are
    ssh_labels.write(maps.registry, {(way.slot, way.port, way.unit) for way in ways})
    return sorted({way.label for way in ways})


def keep(
    directory: str | None, rules: RuleSet, root: str, labels: Collection[str], *, at_boot: bool
) -> None:
    """Keep where ssh listens now for the next boot, if it listens anywhere.

    At a boot, what was known before stays known.
    """
    if directory is None:
        return
    try:
        kept = ssh_doors.kept_for_boot(rules.bindings, root, labels)
        if kept is not None:
            before = _kept(directory) if at_boot else None
            ssh_kept.write(directory, kept if before is None else ssh_kept.both(before, kept))
    except (SockregError, OSError) as error:
        _warn(directory, "where ssh listens cannot be kept for the next boot", error)


def _kept(directory: str | None) -> Kept | None:
    try:
        return None if directory is None else ssh_kept.read(directory)
    except PermissionError:
        return None  # a user who only looks ahead
    except (OSError, ValueError) as error:
        _warn(directory or "", "where ssh listened last is not known", error)
        return None


def _warn(directory: str, what: str, error: Exception) -> None:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    journal.say(
        f"{ssh_kept.path_in(directory)}: {what}: {reason}; at boot, the ports in sshd_config and "
        "in enabled units of ssh are still kept from rules",
        journal.NOTICE,
        journal.WARNING,
    )
