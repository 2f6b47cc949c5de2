"""Where OpenSSH's server is configured to listen: Port and ListenAddress of sshd_config(5)."""

from __future__ import annotations

import glob
import os
import shlex
import socket
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sockreg.model import INET, INET6
from sockreg.systemd.values import port_number

SSH_PORT = 22
# Of Debian, Fedora and most others; of openSUSE, where the first replaces it.
FILES = ("/etc/ssh/sshd_config", "/usr/etc/ssh/sshd_config")
_DEPTH_MAX = 16  # SERVCONF_MAX_DEPTH of OpenSSH's servconf.c
_FILES_MAX = 1000  # with all that they include: files that include each other multiply
_LINE_MAX = 1 << 16  # bytes; no line that counts is as long


class Configured(NamedTuple):
    """A port, and the address to listen on: None is all addresses of ``families``.

    ``place`` is the file and line that says so.
    """

    address: str | None
    port: int
    families: tuple[int, ...]
    place: str


class _Line(NamedTuple):
    key: str
    words: list[str]
    place: str


def config_file(root: str) -> str | None:
    """The configuration file of sshd below ``root``, if there is one."""
    for path in FILES:
        if os.path.exists(root.rstrip("/") + path):
            return path
    return None


def configured(root: str, path: str, ports: Sequence[int] = ()) -> list[Configured]:
    """Where sshd listens by this file below ``root``. ``ports`` are those of its command line.

    Lines of Match blocks do not count: neither setting is allowed there. Raises OSError if a file
    cannot be read.
    """
    lines = list(_lines(root.rstrip("/"), path, 0, []))
    families: tuple[int, ...] = (INET, INET6)
    found: dict[str, list[_Line]] = {_LISTEN: [], _PORT: []}
    for line in lines:
        if line.key in found:
            found[line.key].append(line)
        elif line.key == _FAMILY and families == (INET, INET6):
            families = {"inet": (INET,), "inet6": (INET6,)}.get(line.words[0].lower(), families)
    # The command line's ports replace those of the file.
    named = [(port, path) for port in ports]
    if not named:
        named = [
            (port, line.place) for line in found[_PORT] if (port := port_number(line.words[0]))
        ]
    named = named or [(SSH_PORT, path)]
    if not found[_LISTEN]:
        return [Configured(None, port, families, place) for port, place in named]
    listening = []
    for line in found[_LISTEN]:
        address, own_port = address_and_port(line.words[0])
        for port in [own_port] if own_port else [port for port, _ in named]:
            listening.append(Configured(address, port, families, line.place))
    return listening


_FAMILY, _INCLUDE, _LISTEN, _MATCH, _PORT = (
    "addressfamily", "include", "listenaddress", "match", "port"
)  # fmt: skip
_KEYS = (_FAMILY, _INCLUDE, _LISTEN, _MATCH, _PORT)
_BEFORE_KEY = " \t\f\v\r\"'"


def _lines(root: str, path: str, depth: int, read: list[str]) -> Iterator[_Line]:
    """The lines of a file and of what it includes, outside of Match blocks.

    ``read`` are the files that were read before.
    """
    read.append(path)
    if "\0" in path:
        return  # there is no such file
    with open(root + path, encoding="utf-8", errors="replace") as file:
        for number, text in enumerate(file, 1):
            if len(text) > _LINE_MAX or not text.lstrip(_BEFORE_KEY).lower().startswith(_KEYS):
                continue  # splitting words takes long
            words = _words(text)
            if len(words) < 2:
                continue
            key = words[0].lower()
            if key == _MATCH:
                return  # to the end of this file, or to another Match
            if key == _INCLUDE and depth < _DEPTH_MAX:
                for included in _included(root, words[1:]):
                    if len(read) < _FILES_MAX:
                        yield from _lines(root, included, depth + 1, read)
            else:
                yield _Line(key, words[1:], f"{root}{path}:{number}")


def _words(text: str) -> list[str]:
    """``Keyword argument...`` or ``Keyword=argument``; none of a line that sshd would refuse."""
    try:
        words = shlex.split(text, comments=True)
    except ValueError:
        return []
    if not words:
        return []
    key, equals, rest = words[0].partition("=")
    words[:1] = [key, rest] if equals and rest else [key]
    if len(words) > 1 and words[1].startswith("="):
        words[1:2] = [words[1][1:]] if len(words[1]) > 1 else []
    return words


def _included(root: str, patterns: list[str]) -> list[str]:
    """The files that an Include line names, without the root: relative ones are in /etc/ssh."""
    found = []
    for pattern in patterns:
        if "\0" in pattern:
            continue  # there is no such file
        absolute = os.path.join("/etc/ssh", pattern)
        matching = sorted(glob.glob(glob.escape(root) + absolute))
        found += [path.removeprefix(root) for path in matching if os.path.isfile(path)]
    return found


def address_and_port(word: str) -> tuple[str | None, int]:
    """Of ``host``, ``host:port``, ``[host]:port`` or an IPv6 address; port 0 is none.

    A name, and an address that stands for all, are None.
    """
    host, port = word, ""
    if word.startswith("["):
        host, _, port = word[1:].partition("]")
        port = port.removeprefix(":")
    elif word.count(":") == 1:
        host, _, port = word.partition(":")
    for family in (INET, INET6):
        try:
            packed = socket.inet_pton(family, host.partition("%")[0])
        except (OSError, ValueError):
            continue
        canonical = socket.inet_ntop(family, packed)
        return (None if not any(packed) else canonical), port_number(port)
    return None, port_number(port)
