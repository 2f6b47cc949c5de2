"""Where systemd finds a unit's files: its fragment and its drop-ins (systemd.unit(5)).

On the companion's start-up path: this module only imports ``os`` and ``time``.

Every function takes ``root``, the directory that stands for ``/``. The returned paths start with
it. Below another root, an absolute symbolic link points into that root, as for systemctl --root=. A
file is *masked* if it is empty or a link to /dev/null.

A command asks for hundreds of units. So what a directory contains is remembered, and is read again
when the directory has changed, or not even looked at (Steady).
"""

from __future__ import annotations

import os
import time

# The search path of the system manager; earlier directories win. system.attached
# (portablectl) is left out: its units come with their own drop-ins and no sockreg@ instance.
_SYSTEM = (
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/run/systemd/generator.early",
    "/etc/systemd/system",
    "/run/systemd/system",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/run/systemd/generator.late",
)
_NULL = os.makedev(1, 3)  # /dev/null
_LINKS_MAX = 8  # as many as systemd follows (FOLLOW_MAX, basic/unit-file.c)

# A directory, a mark that changes with what it contains, and the names in it: whether they are
# links. Both are None if it cannot be read.
_Listing = tuple[str, "tuple[int, int, int] | None", "dict[str, bool] | None"]
_listings: dict[str, _Listing] = {}
# For a root and a suffix: the listings, and the links that are other names of each unit.
_Aliases = tuple[list[_Listing], dict[str, list[str]], list[str]]
_known_aliases: dict[tuple[str, str], _Aliases] = {}
# A change within one tick of the kernel's clock need not change the time of a directory.
_SETTLED_NS = 100_000_000
_steady: list[dict[str, _Listing]] = []


class Steady:
    """In this block, each directory is looked at once: all answers are of one moment."""

    def __enter__(self) -> None:
        _steady.append(_steady[-1] if _steady else {})

    def __exit__(self, *_: object) -> None:
        _steady.pop()


def search_path(root: str) -> list[str]:
    """The directories that hold units, highest precedence first. Some may not exist."""
    prefix = root.rstrip("/")
    merged = os.path.islink(prefix + "/lib")  # then /lib is /usr/lib
    return [prefix + d for d in _SYSTEM if not (merged and d.startswith("/lib/"))]


def find_unit(root: str, name: str) -> tuple[str, list[str]]:
    """The unit's name in systemd (aliases resolved), and the unit's files.

    The files are the fragment and then the drop-ins in the order in which systemd applies them,
    without masked drop-ins. There are none if the unit does not exist, is masked, or is a template.
    """
    directories = _look(root)
    identity, fragment = _follow_aliases(root, directories, name)
    if not fragment or is_template(name) or not has_content(root, fragment):
        return identity, []
    present = [path for path in _dropins(root, directories, identity) if has_content(root, path)]
    return identity, [reachable(root, path) for path in (fragment, *present)]


def dropins_of(root: str, name: str) -> list[str]:
    """The drop-ins of a unit, without masked ones, even if the unit itself is not there."""
    directories = _look(root)
    identity, _ = _follow_aliases(root, directories, name)
    return [path for path in _dropins(root, directories, identity) if has_content(root, path)]


def lost_links(root: str, name: str) -> list[str]:
    """Of the unit's file and its drop-ins, the links that lead nowhere. systemd ignores them."""
    directories = _look(root)
    identity, fragment = _follow_aliases(root, directories, name)
    if not fragment or is_template(name):
        return []
    return [
        path
        for path in (fragment, *_dropins(root, directories, identity))
        if os.path.islink(path) and not os.path.exists(reachable(root, path))
    ]


def _dropins(root: str, directories: list[_Listing], identity: str) -> list[str]:
    """The drop-ins that win over others of their name, also masked ones, in their order."""
    names = [identity, *_aliases(root, directories, identity)]
    kinds = [[f"{unit}.d" for unit in _dropin_names(one)] for one in names]
    # Drop-ins for a whole unit type come last: any other drop-in of the same file name wins.
    kinds.append([f"{identity.rpartition('.')[2]}.d"])
    places = [
        f"{directory}/{unit}"
        for units in kinds
        for directory, _, entries in directories
        for unit in units
        if entries is None or unit in entries
    ]
    return winners([(directory, files_in(directory, ".conf")) for directory in places])


def files_state(paths: list[str]) -> tuple[int, int, int, int]:
    """(files, newest, inodes, bytes), like struct unit_state of bpf/registry.h.

    The four numbers differ whenever a file was edited, replaced, added or removed. Any change of a
    file's content or inode changes its ctime, and unlike the mtime, a program cannot set the ctime
    back.
    """
    files = newest = inodes = size = 0
    for path in paths:
        try:
            status = os.stat(path)
        except FileNotFoundError:  # removed a moment ago
            continue
        files += 1
        newest = max(newest, status.st_ctime_ns)
        inodes += status.st_ino
        size += status.st_size
    return files, newest, inodes & 0xFFFFFFFFFFFFFFFF, size


def is_template(name: str) -> bool:
    """Whether this is ``web@.socket``: a unit without the instance it needs."""
    return name.rpartition(".")[0].partition("@")[1:] == ("@", "")


def is_masked(root: str, name: str) -> bool:
    """Whether systemd refuses to start the unit because its file is masked."""
    _, fragment = _follow_aliases(root, _look(root), name)
    if not fragment or has_content(root, fragment):
        return False
    return os.path.exists(reachable(root, fragment))  # not a link to nowhere


def _look(root: str) -> list[_Listing]:
    """The directories that hold units, with what they contain now."""
    return [_listing(directory) for directory in search_path(root)]


def _listing(directory: str) -> _Listing:
    if not _steady:
        return _listing_now(directory)
    found = _steady[-1].get(directory)
    if found is None:
        found = _steady[-1][directory] = _listing_now(directory)
    return found


def _listing_now(directory: str) -> _Listing:
    try:
        status = os.stat(directory)
        mark = status.st_dev, status.st_ino, status.st_ctime_ns
        kept = _listings.get(directory)
        if kept is not None and kept[1] == mark:
            return kept
        with os.scandir(directory) as entries:
            found: _Listing = directory, mark, {it.name: it.is_symlink() for it in entries}
    except (FileNotFoundError, NotADirectoryError):
        return directory, None, {}
    except OSError:
        return directory, None, None
    _listings.pop(directory, None)
    if time.time_ns() - mark[2] > _SETTLED_NS:
        _listings[directory] = found
    return found


def files_in(directory: str, suffix: str) -> list[str]:
    """Names of visible files and links in a directory; none if the directory does not exist."""
    try:
        with os.scandir(directory) as entries:
            return [
                entry.name
                for entry in entries
                if entry.name.endswith(suffix)
                and not entry.name.startswith(".")
                and not entry.is_dir(follow_symlinks=False)
            ]
    except (FileNotFoundError, NotADirectoryError):
        return []


def winners(listings: list[tuple[str, list[str]]]) -> list[str]:
    """For (directory, names) pairs, the path of each name's first occurrence, sorted by name."""
    found: dict[str, str] = {}
    for directory, names in listings:
        for name in names:
            found.setdefault(name, f"{directory}/{name}")
    return [found[name] for name in sorted(found)]


def has_content(root: str, path: str) -> bool:
    """Whether a file exists and is not masked."""
    path = reachable(root, path)
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return False
    # What is no file at all is nothing to pass over: reading it says so.
    is_file = status.st_mode & 0o170000 == 0o100000
    return status.st_size > 0 if is_file else status.st_rdev != _NULL


def reachable(root: str, path: str) -> str:
    """The path to open. Below another root, links are resolved inside that root."""
    prefix = root.rstrip("/")
    if not prefix:
        return path
    for _ in range(_LINKS_MAX):
        if not os.path.islink(path):
            break
        path = _link_target(root, path)
    return path


def _link_target(root: str, link: str) -> str:
    target = os.readlink(link)
    if target == "/dev/null":  # a mask below any root
        return target
    if target.startswith("/"):
        return root.rstrip("/") + os.path.normpath(target)
    return os.path.normpath(f"{os.path.dirname(link)}/{target}")


def _follow_aliases(root: str, directories: list[_Listing], name: str) -> tuple[str, str]:
    """The unit's own name, and the path of its fragment or ''."""
    wanted = name
    for _ in range(_LINKS_MAX):
        fragment = _first(root, directories, wanted) or _first(root, directories, _template(wanted))
        if not fragment:
            return name, ""
        alias_of = _alias_target(root, fragment)
        if not alias_of:
            return _with_instance_of(name, wanted), fragment
        wanted = alias_of
    return name, ""


def _alias_target(root: str, path: str) -> str:
    """The unit that a link in the search path stands for, or ''.

    A link that leads out of the search path is a linked unit file or a mask.
    """
    if not os.path.islink(path):
        return ""
    directory, name = os.path.split(_link_target(root, path))
    return name if directory.removeprefix(root.rstrip("/")) in _SYSTEM else ""


def _aliases(root: str, directories: list[_Listing], identity: str) -> list[str]:
    """The other names of a unit, whose drop-ins apply as well."""
    plain, templates = _links(root, directories, "." + identity.rpartition(".")[2])
    found = set(plain.get(identity, ()))
    if _parts(identity)[1]:
        completed = {_with_instance_of(identity, name) for name in templates}
        found |= {n for n in completed if _follow_aliases(root, directories, n)[0] == identity}
    found.discard(identity)
    return sorted(found)


def _links(
    root: str, directories: list[_Listing], suffix: str
) -> tuple[dict[str, list[str]], list[str]]:
    """The links of a type: for each unit its other names, and the links that are templates."""
    known = _known_aliases.get((root, suffix))
    if known is not None and known[0] == directories:
        return known[1], known[2]
    links: set[str] = set()
    for directory, _, entries in directories:
        if entries is None:
            files_in(directory, suffix)  # raises what is wrong with it
            continue
        links |= {
            name
            for name, is_link in entries.items()
            if is_link and name.endswith(suffix) and not name.startswith(".")
        }
    plain: dict[str, list[str]] = {}
    templates = []
    for name in links:
        if is_template(name):
            templates.append(name)
        else:
            plain.setdefault(_follow_aliases(root, directories, name)[0], []).append(name)
    if _steady or all(mark is None or it in _listings for it, mark, _ in directories):
        _known_aliases[root, suffix] = directories, plain, templates
    return plain, templates


def _first(root: str, directories: list[_Listing], name: str) -> str:
    """The path of the unit file that wins. Links that are not proper aliases do not count."""
    for directory, _, entries in directories:
        path = f"{directory}/{name}"
        if os.path.lexists(path) if entries is None else name in entries:
            target = _alias_target(root, path)
            if not target or _may_be_alias(name, target):
                return path
    return ""


def _may_be_alias(name: str, target: str) -> bool:
    """Whether systemd lets ``name`` be a link to ``target``: another unit of the same type.

    Like unit_validate_alias_symlink_and_warn() of systemd's basic/unit-file.c.
    """
    _, instance, suffix = _parts(name)
    _, target_instance, target_suffix = _parts(target)
    same_kind = instance == target_instance or (instance and target_instance == "@")
    return name != target and suffix == target_suffix and bool(same_kind)


def _parts(name: str) -> tuple[str, str, str]:
    """Prefix, instance with its '@' or '', and suffix with its dot."""
    stem, dot, unit_type = name.rpartition(".")
    prefix, at, instance = stem.partition("@")
    return prefix, at + instance, dot + unit_type


def _template(name: str) -> str:
    prefix, instance, suffix = _parts(name)
    return f"{prefix}@{suffix}" if instance else name


def _with_instance_of(name: str, other: str) -> str:
    """``other``, completed with the instance of ``name`` if it is a template."""
    prefix, instance, suffix = _parts(other)
    return prefix + _parts(name)[1] + suffix if instance == "@" else other


def _dropin_names(name: str) -> list[str]:
    """The names whose .d directories apply, most specific first.

    For ``foo-bar@1.socket``: the unit itself, ``foo-bar@.socket``, ``foo-.socket`` and so on, like
    unit_file_find_dirs() of systemd's shared/dropin.c.
    """
    prefix, instance, suffix = _parts(name)
    names = [name]
    if len(instance) > 1:
        names += _dropin_names(f"{prefix}@{suffix}")
    dash = prefix.removesuffix("-").rfind("-")
    if dash > 0:
        shorter = prefix[: dash + 1]
        names += _dropin_names(shorter + (instance if len(instance) > 1 else "") + suffix)
    return names
