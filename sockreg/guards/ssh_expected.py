"""Where ssh will listen once it is started: at boot, rules come into force before.

This is read from the units of ssh servers that are enabled, and from sshd_config(5).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sockreg import trust
from sockreg.guards import ssh_config
from sockreg.guards.ssh_config import SSH_PORT, Configured, address_and_port
from sockreg.guards.ssh_servers import PROGRAMS, Units, is_named, is_server
from sockreg.model import INET, INET6
from sockreg.systemd.unitpaths import find_unit, is_template, search_path
from sockreg.systemd.values import port_number

_BOTH = (INET, INET6)
_ENABLING = (".wants", ".requires")


class Expected(NamedTuple):
    """What enabled units say, and notices about what could not be read."""

    ports: list[Configured]
    notices: list[str]


def expected(root: str) -> Expected:
    """Where the enabled ssh servers below ``root`` will listen. Files that hide are in notices."""
    units = Units(root)
    found = Expected([], [])
    for name in _enabled(root):
        if units.serve_ssh(name):
            try:
                found.ports.extend(_of_unit(root, units, name))
            except OSError as error:
                found.notices.append(
                    f"{error.filename}: {error.strerror}: rules may take the port of {name}"
                )
    return found


def _enabled(root: str) -> list[str]:
    """Units that others want and that may be those of an ssh server, by what their files say."""
    names = set()
    for directory in search_path(root):
        for listed in _names(directory):
            if listed.endswith(_ENABLING):
                names |= set(_names(f"{directory}/{listed}"))
    return sorted(
        name
        for name in names
        if name.endswith((".service", ".socket"))
        and not is_template(name)
        and (is_named(name) or _mentions_server(root, name))
    )


def _mentions_server(root: str, name: str) -> bool:
    """A quick look, so that few of a host's many units are parsed."""
    try:
        for path in find_unit(root, name)[1]:
            content = trust.read_file(path)
            # The service of a socket may say what the socket's own files do not.
            if any(program.encode() in content for program in PROGRAMS):
                return True
            if name.endswith(".socket"):
                return _mentions_server(root, f"{name.removesuffix('.socket')}.service") or (
                    _mentions_server(root, f"{name.removesuffix('.socket')}@0.service")
                )
    except OSError:
        pass  # its server is found once it listens
    return False


def _of_unit(root: str, units: Units, name: str) -> Iterator[Configured]:
    """Where the server of one unit listens. Raises OSError if its configuration cannot be read."""
    place = (find_unit(root, name)[1] or [name])[0]
    if name.endswith(".socket"):
        for address, port in _streams(units, name):
            yield Configured(address, port, _BOTH, place)
        return
    commands = [words for words in units.commands(name) if is_server(words[0])]
    for words in commands or [["sshd"]]:
        path, listening = _options(words)
        if os.path.basename(words[0]) == "sshd":
            path = path or ssh_config.config_file(root)
            ports = [port for _, port in listening]
            if path is not None:
                yield from ssh_config.configured(root, path, ports)
                continue
        for address, port in listening or [(None, SSH_PORT)]:
            yield Configured(address, port, _BOTH, place)


def _streams(units: Units, name: str) -> list[tuple[str | None, int]]:
    found: list[tuple[str | None, int]] = []
    for section, key, value in units.settings(name):
        if section == "Socket" and key == "ListenStream":
            if not value:
                found.clear()
            elif port_number(value):
                found.append((None, port_number(value)))
            elif ":" in value and not value.startswith(("vsock:", "/", "@")):
                found.append(address_and_port(value))
    return [(address, port) for address, port in found if 0 < port < 65536]


def _options(words: Sequence[str]) -> tuple[str | None, list[tuple[str | None, int]]]:
    """Of a command line: the file of -f, and the addresses and ports of -p and -o Port=."""
    path = None
    listening = []
    rest = iter(words[1:])
    for word in rest:
        option, value = word[:2], word[2:]
        if option not in ("-f", "-p", "-o"):
            continue
        value = value or next(rest, "")
        if option == "-f":
            path = value
        elif option == "-p":
            listening.append(
                address_and_port(value) if ":" in value else (None, port_number(value))
            )
        elif value.lower().replace(" ", "=").startswith("port="):
            listening.append((None, port_number(value[len("port=") :].strip())))
    return path, [(address, port) for address, port in listening if port]


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []  # it does not exist, or cannot be read
