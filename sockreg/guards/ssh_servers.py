"""Which listening sockets are those of an ssh server.

A socket remembers the cgroup that it was created in, which names its unit. This takes no privilege,
so it works in the hardened units. A unit is an ssh server's by its name, or by the program that it
runs. For a server that is started otherwise, its name in the socket's cgroup tells.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress

from sockreg import trust
from sockreg.host import cgroup, processes
from sockreg.host.processes import SYSTEMD
from sockreg.host.sockdiag import DiagSocket
from sockreg.systemd.keyfile import read_sections
from sockreg.systemd.unit_of import unit_of, unit_of_cgroup
from sockreg.systemd.unitpaths import find_unit
from sockreg.systemd.values import boolean
from sockreg.terms import NO_UNIT

PROGRAMS = frozenset({"sshd", "dropbear", "tinysshd", "lshd"})
_NAMED = re.compile(r"(ssh|sshd|openssh|openssh-server|dropbear|tinyssh|tinysshd)(@.*)?")
_PREFIXES = "@-:+!|"  # of an Exec line, systemd.service(5)
_LISTENER = "[listener]"  # in the process title of OpenSSH's listening process, since 8.2
_SESSION = "sshd: "  # the title of its other processes begins with this


class Units:
    """The units below ``root``, asked whether they run an ssh server."""

    def __init__(self, root: str = "/") -> None:
        self._root = root
        self._known: dict[str, bool] = {}

    def serve_ssh(self, unit: str) -> bool:
        """Whether this .service or .socket unit is one of an ssh server."""
        if unit not in self._known:
            stem, _, kind = unit.rpartition(".")
            self._known[unit] = False  # if a unit names itself
            self._known[unit] = is_named(unit) or self._runs(unit, stem, kind)
        return self._known[unit]

    def _runs(self, unit: str, stem: str, kind: str) -> bool:
        if kind == "service":
            return any(is_server(words[0]) for words in self.commands(unit))
        if kind != "socket":
            return False
        service = ""
        accept = False
        for section, key, value in self.settings(unit):
            if section == "Socket" and key == "Service":
                service = value
            elif section == "Socket" and key == "Accept":
                with suppress(ValueError):
                    accept = boolean(value)
        # systemd names an instance for each connection; any will do.
        return self.serve_ssh(service or f"{stem}@0.service" if accept else f"{stem}.service")

    def commands(self, unit: str) -> list[list[str]]:
        """The words of the unit's ExecStart= lines, the program first."""
        found: list[list[str]] = []
        for section, key, value in self.settings(unit):
            if section != "Service" or key != "ExecStart":
                continue
            if not value:
                found.clear()
                continue
            try:
                words = shlex.split(value.lstrip(_PREFIXES))
            except ValueError:
                words = value.lstrip(_PREFIXES).split()
            if words:
                found.append(words)
        return found

    def settings(self, unit: str) -> list[tuple[str, str, str]]:
        """(section, key, value) in the unit's files; none if it has none, or hides them."""
        found = []
        try:
            for path in find_unit(self._root, unit)[1]:
                for section in read_sections(trust.read_file(path)):
                    found += [(section.name, it.key, it.value) for it in section.entries]
        except OSError:
            return []  # what is known by other means counts
        return found


def is_named(unit: str) -> bool:
    """Whether this is a usual name of a unit of an ssh server."""
    stem, _, kind = unit.rpartition(".")
    return kind in ("service", "socket") and _NAMED.fullmatch(stem) is not None


def is_server(program: str) -> bool:
    """Whether a program is an ssh server, by its name."""
    return os.path.basename(program) in PROGRAMS


def servers(socks: Collection[DiagSocket], units: Units) -> dict[int, str]:
    """Of these listening sockets, those of ssh servers: cookie -> unit or process, for messages."""
    paths = cgroup.paths_of({sock.cgroup for sock in socks if sock.cgroup})
    found: dict[int, str] = {}
    unknown: list[DiagSocket] = []
    for sock in socks:
        path = paths.get(sock.cgroup)
        unit = NO_UNIT if path is None else unit_of_cgroup(path)
        if units.serve_ssh(unit):
            found[sock.cookie] = unit
            continue
        pids = [] if path is None else cgroup.pids_in(path)
        holders = processes.holders([sock.inode], pids)
        # The processes that have it open tell, if they may be seen. Otherwise, those of its cgroup.
        held = [process.pid for process in holders.of(sock.inode) if process.pid != SYSTEMD]
        server = _server_among(held or (pids if holders.hidden else []))
        if server:
            found[sock.cookie] = server
        elif not held and not holders.hidden and unit == NO_UNIT:
            unknown.append(sock)
    return found | _by_process(unknown) if unknown else found


def _by_process(socks: Collection[DiagSocket]) -> dict[int, str]:
    """servers(), for sockets whose cgroup tells nothing.

    If nobody may be seen to have a socket open, it is counted as that of an ssh server that runs
    outside of ssh's units.
    """
    holders = processes.holders([sock.inode for sock in socks])
    elsewhere = "" if not holders.hidden else _server_among(_outside_of_units())
    found = {}
    for sock in socks:
        held = [process.pid for process in holders.of(sock.inode)]
        server = _server_among(held) if held else elsewhere
        if server:
            found[sock.cookie] = server
    return found


def _outside_of_units() -> Iterator[int]:
    for pid in processes.all_pids():
        with suppress(OSError):  # it has ended
            if unit_of(pid) == NO_UNIT:
                yield pid


def _server_among(pids: Iterable[int]) -> str:
    """The first process that is a listening ssh server, as ``sshd (pid 123)``, or ''."""
    for pid in pids:
        try:
            process = processes.named(pid)
            if process.name in PROGRAMS and not _is_session(pid):
                return str(process)
        except OSError:
            continue  # it has ended, or /proc hides it
    return ""


def _is_session(pid: int) -> bool:
    """Whether this process serves one connection: its other sockets are forwarded ports."""
    with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
        title = file.read()
    return title.startswith(_SESSION) and _LISTENER not in title
