"""Which sockets one process registers at boot: what sockreg-generator writes for systemd.

A unit with ``Sockets=`` is ordered after all of them, so a socket that starts late would hold up
all others, and one that is ordered after a service could close a circle. Therefore this takes only
sockets that nothing but the start of the system comes before. All others are left to their
companions, and so are those for which an administrator has changed the units of the companion.
"""

import os

from sockreg import trust
from sockreg.errors import SockregError
from sockreg.systemd.keyfile import Section, read_sections
from sockreg.systemd.unit_label import read_label
from sockreg.systemd.unitpaths import (
    Steady,
    find_unit,
    has_content,
    is_masked,
    is_template,
    search_path,
    winners,
)
from sockreg.terms import BOOT_PREFIX, COMPANION_PREFIX, adding_unit, companion, is_unit_name

# Fewer are not worth a process of their own.
FEWEST = 3
# Of one process: systemd passes the names of all sockets in one variable of at most 128 KiB
# (MAX_ARG_STRLEN of execve(2)).
NAMES_MAX = 64 << 10
# Units that share a name cannot be in one process.
BATCHES_MAX = 4

_TARGET = "sockets.target"
_LAST = "sockreg-booted.service"
# The keys of [Unit] that make no other unit start before the socket does, or with it.
_HARMLESS = {
    "Description", "Documentation", "Before", "Wants", "PartOf", "Conflicts", "IgnoreOnIsolate",
    "StopWhenUnneeded", "RefuseManualStart", "RefuseManualStop", "CollectMode",
    "StartLimitIntervalSec", "StartLimitBurst",
}  # fmt: skip
_HARMLESS_PREFIXES = ("Condition", "Assert", "X-")
# In [Socket]: a command that runs first, a device or directory that must be there first, or another
# network namespace.
_LATE = {"BindToDevice", "PrivateNetwork", "NetworkNamespacePath", "LogNamespace"}
_LATE_PREFIXES = ("Exec", "Root", "Working", "Mount", "BindPaths", "BindReadOnlyPaths")
_PRESENT = "/run/"  # paths below need no other mount


def write(directory: str, root: str) -> None:
    """Write the drop-ins of the units that register at boot below ``directory``. Raises OSError."""
    with Steady():
        batches = sort_into_batches(boot_units(root))
    if not batches:
        return
    everything = []
    for number, batch in enumerate(batches):
        everything.append(f"{BOOT_PREFIX}{number}.service")
        for name, text in files_of(str(number), batch).items():
            _write(directory, name, text)
    after = [f"After={adding_unit(unit)}" for batch in batches for unit, _ in batch]
    _write(directory, f"{_LAST}.d/units.conf", _text(["[Unit]", *after]))
    wants = f"Wants={' '.join([*everything, _LAST])}"
    _write(directory, f"{_TARGET}.d/sockreg.conf", _text(["[Unit]", wants]))


def files_of(instance: str, batch: list[tuple[str, str]]) -> dict[str, str]:
    """The files that make an instance of sockreg-boot@.service register some units: name -> text.

    The names are below a directory of units. boot.py reads the second file.
    """
    lines = ["[Unit]", *(f"Before={adding_unit(unit)}" for unit, _ in batch)]
    lines += ["[Service]", *(f"Sockets={unit}" for unit, _ in batch)]
    directory = f"{BOOT_PREFIX}{instance}.service.d"
    return {
        f"{directory}/units.conf": _text(lines),
        f"{directory}/units": _text([f"{unit} {passed}" for unit, passed in batch]),
    }


def _text(lines: list[str]) -> str:
    return "\n".join([*lines, ""])


def _write(directory: str, name: str, text: str) -> None:
    path = f"{directory}/{name}"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def sort_into_batches(units: list[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    """(unit, name) pairs, for one process each; names differ within a batch.

    Units for which there is no room are left out.
    """
    batches: list[dict[str, str]] = []
    sizes: list[int] = []
    for unit, name in units:
        # systemd passes the name once for each socket; a unit has few.
        size = 8 * (len(name) + 1)
        for number in range(BATCHES_MAX):
            if number == len(batches):
                batches.append({})
                sizes.append(0)
            if name not in batches[number] and sizes[number] + size <= NAMES_MAX:
                batches[number][name] = unit
                sizes[number] += size
                break
    return [
        [(unit, name) for name, unit in batch.items()] for batch in batches if len(batch) >= FEWEST
    ]


def boot_units(root: str) -> list[tuple[str, str]]:
    """The .socket units that a boot registers and that nothing holds up, with the names of their
    sockets. Raises OSError if the directories of systemd cannot be read.
    """
    return never_late(
        root,
        [
            name.removeprefix(COMPANION_PREFIX).removesuffix(".service") + ".socket"
            for name in _wanted(root)
        ],
    )


def never_late(root: str, units: list[str]) -> list[tuple[str, str]]:
    """Of some .socket units, those that nothing holds up, with the names of their sockets."""
    held_up = _held_up(root)
    if held_up is None:
        return []
    found = []
    for unit in units:
        try:
            passed = _name_of(root, unit) if unit not in held_up else None
        except (SockregError, OSError):
            continue  # its companion says what is wrong
        if passed is not None:
            found.append((unit, passed))
    return found


def _wanted(root: str) -> list[str]:
    """The sockreg@ instances that a boot starts. A link to /dev/null undoes one after it."""
    listings = []
    for directory in search_path(root):
        place = f"{directory}/{_TARGET}.wants"
        try:
            names = os.listdir(place)
        except (FileNotFoundError, NotADirectoryError):
            continue
        listings.append((place, [name for name in names if name.startswith(COMPANION_PREFIX)]))
    return [
        name
        for path in winners(listings)
        if is_unit_name(name := os.path.basename(path))
        and not is_template(name)
        and (has_content(root, path) or not os.path.exists(path))
    ]


def _held_up(root: str) -> set[str] | None:
    """The .socket units that other units are ordered before, as their files say it.

    None if a file says it of units that are not known here.
    """
    found = set()
    for directory in search_path(root):
        try:
            entries = os.listdir(directory)
        except (FileNotFoundError, NotADirectoryError):
            continue
        paths = [f"{directory}/{name}" for name in entries if not name.endswith(".d")]
        for name in entries:
            if name.endswith(".d"):
                paths += [f"{directory}/{name}/{it}" for it in _listed(f"{directory}/{name}")]
        for path in paths:
            for unit in _before(path):
                if "%" in unit:
                    return None
                found.add(find_unit(root, unit)[0])
    return found


def _listed(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except NotADirectoryError:
        return []


def _before(path: str) -> list[str]:
    try:
        with open(path, "rb") as file:
            content = file.read(trust.SIZE_MAX)
    except (IsADirectoryError, FileNotFoundError):
        return []
    if b"Before" not in content or b".socket" not in content:
        return []
    return [
        word
        for section in read_sections(content)
        if section.name == "Unit"
        for entry in section.entries
        if entry.key == "Before"
        for word in entry.value.split()
        if word.endswith(".socket")
    ]


def _name_of(root: str, unit: str) -> str | None:
    """The name under which systemd passes the unit's sockets; None if it is left to its companion.

    Raises OSError and SockregError if something is wrong with its files.
    """
    identity, paths = find_unit(root, unit)
    if identity != unit or not paths or not _is_as_shipped(root, unit):
        return None
    sections = [(path, it) for path in paths for it in read_sections(trust.read(root, path))]
    for _, section in sections:
        if any(_may_be_late(section.name, entry.key, entry.value) for entry in section.entries):
            return None
    of_socket: list[tuple[str, Section]] = [it for it in sections if it[1].name == "Socket"]
    return read_label(unit, of_socket, _ignore, _ignore)


def _is_as_shipped(root: str, unit: str) -> bool:
    """Whether the companion of a unit is that of all units, without drop-ins of its own."""
    template = "sockreg-add@.service"
    _, paths = find_unit(root, adding_unit(unit))
    return (
        bool(paths)
        and paths[0].endswith(f"/{template}")
        and all(path.split("/")[-2] == "service.d" for path in paths[1:])
        and not is_masked(root, companion(unit))
    )


def _may_be_late(section: str, key: str, value: str) -> bool:
    if section == "Unit":
        return key not in _HARMLESS and not key.startswith(_HARMLESS_PREFIXES)
    if section == "Socket":
        if key.startswith("Listen"):
            return value.startswith("/") and not value.startswith(_PRESENT)
        return key in _LATE or key.startswith(_LATE_PREFIXES)
    return False


def _ignore(path: str, line: int, text: str) -> None:
    """systemd ignores a wrong name, too, and passes the unit's own."""
