"""Whether a peer may register under a label: root may, and others by a grant.

Grants are read from the conf files for each connection of somebody else, so that they hold from
the moment that they are written. A file that cannot be trusted or read grants nothing.
"""

import posix

from sockreg import grants, trust
from sockreg.errors import AccessError
from sockreg.grants import Grant
from sockreg.receive.peer import Peer
from sockreg.terms import CONF_DIRECTORIES

TYPE_CHECKING = False  # that of the typing module, which takes long to import
if TYPE_CHECKING:
    from collections.abc import Iterable

    from sockreg.systemd.keyfile import Entry

_ROOT = 0


def require(peer: Peer, label: str, root: str) -> int | None:
    """How many members the label may have, None for as many as there is room for.

    Raises AccessError if the peer may not register there.
    """
    if peer.uid == _ROOT:
        return None
    allowed = [grant.members for grant in read(root, label) if _is_meant(grant, peer)]
    if not allowed:
        raise AccessError(
            f"user {peer.uid} may not register sockets under label {label}",
            f"'{grants.KEY}=user:{peer.uid}' in section [{label}] of a file in /etc/sockreg allows "
            "it",
        )
    return max(allowed)


def read(root: str, label: str) -> list[Grant]:
    """The grants of a label, in the order in which the files are read."""
    # Only for those who are not root: these take long to import.
    from sockreg.systemd.keyfile import read_sections
    from sockreg.systemd.unitpaths import winners

    found: list[Grant] = []
    for path in winners([(directory, _names(directory)) for directory in _directories(root)]):
        try:
            content = trust.read(root, path)
        except OSError:
            continue  # load, apply and check say why its rules do not count either
        if grants.KEY.encode() not in content:
            continue
        for section in read_sections(content):
            if section.name == label:
                _add(found, section.entries)
    return found


def _directories(root: str) -> list[str]:
    return [root.rstrip("/") + directory for directory in CONF_DIRECTORIES]


def _names(directory: str) -> list[str]:
    try:
        names = posix.listdir(directory)
    except OSError:
        return []
    return [name for name in names if name.endswith(".conf") and not name.startswith(".")]


def _add(found: list[Grant], entries: "Iterable[Entry]") -> None:
    for _, _, key, value in entries:
        if key != grants.KEY:
            continue
        if not value:
            found.clear()
            continue
        try:
            found.append(grants.parse(value))
        except ValueError:
            continue  # said by load, apply and check, with its line


def _is_meant(grant: Grant, peer: Peer) -> bool:
    if grant.kind == "unit":
        return grants.is_of(peer.registrant, grant.name)
    if grant.kind == "group":
        return _group(grant.name) in peer.gids
    return bool(_user(grant.name) == peer.uid)


def _user(name: str) -> int:
    if name.isascii() and name.isdigit():
        return int(name)
    import pwd

    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return -1


def _group(name: str) -> int:
    if name.isascii() and name.isdigit():
        return int(name)
    import grp

    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return -1
