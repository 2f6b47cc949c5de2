"""Reading the facts: unit files and rules, the kernel, systemd."""

from __future__ import annotations

import grp
import os
import pwd
import resource
import subprocess
from collections.abc import Collection, Iterable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path

from sockreg import grants
from sockreg.check.facts import Facts, Granted, Host, SystemdState, Unit
from sockreg.check.probe import probe as ask
from sockreg.check.probe import visit
from sockreg.commands import unfinished
from sockreg.config.conf import read_sections_of_all
from sockreg.config.counted import lost_units, units_of_companions
from sockreg.config.ruleset import RuleSet, examine_rule_set
from sockreg.config.ruleset import read_units as read_unit_files
from sockreg.config.socketunit import read_socket_unit
from sockreg.context import Context
from sockreg.errors import SockregError
from sockreg.grants import Grant
from sockreg.guards import root, ssh, ssh_doors
from sockreg.host import links, packetfilter, queues, release
from sockreg.model import UDP, Place, label_problem
from sockreg.registry import access, attachment, generations
from sockreg.registry.maps import Maps
from sockreg.registry.units import active_units, read_units
from sockreg.systemd import unit_control
from sockreg.systemd.unitpaths import files_in, is_masked, is_template, search_path
from sockreg.terms import (
    ETCD_SERVICE,
    FILES_SERVICE,
    INTERFACES_SERVICE,
    INTERFACES_SOCKET,
    LOADER,
    METRICS,
    SOCK_OPS,
    STALLED_SERVICE,
    adding_unit,
    applying_unit,
    companion,
    is_unit_name,
)
from sockreg.views import inspect, situation, status
from sockreg.views.ahead import Filter
from sockreg.views.situation import Situation

_CLIENT_PORTS = "/proc/sys/net/ipv4/ip_local_port_range"
_STATE = ",".join(("Id", "ActiveState", "SubState", "MainPID", *unit_control.EXIT_STATUS))
_DEFAULT_CLIENT_PORTS = range(32768, 61000)  # ip(7)
_BETWEEN = 1.0  # s between two looks at a queue that is full
_ASKING = ("IP_PKTINFO", "IP_RECVORIGDSTADDR", "IPV6_RECVPKTINFO", "IPV6_RECVORIGDSTADDR")


def gather(context: Context, *, probe: bool = False) -> Facts:
    """With ``probe``, UDP servers are sent a datagram.

    Raises SockregError if a directory, the registry or the kernel's tables cannot be read.

    RefusedError if the rules in force are those of another root: nothing could be compared.
    """
    if context.is_loaded:
        header = generations.read_in_force(context.registry, generations.read_header)
        root.refuse_other(header, context.root, "use 'sockreg check --files'")
    facts = gather_files(context.root, *_counting(context))
    return replace(facts, host=_host(context, facts, probe=probe))


def gather_files(root: str, active: Collection[str] = (), first: Collection[str] = ()) -> Facts:
    """The facts in the files below ``root``; the other arguments are those of read_rule_set()."""
    rules, report = examine_rule_set(root, active, first=first)
    wanted = units_of_companions(root)
    named = _installed(root, ".socket") | rules.units.keys() | wanted
    found = {name: unit for name in sorted(named) if (unit := _read(root, name))}
    return Facts(
        rules=rules,
        problems=list(dict.fromkeys(report.problems)),
        sockets=found,
        counted=sorted(rules.units),
        services=_services(root, found, rules.units.keys() | wanted),
        wanted=sorted(wanted),
        lost=lost_units(root),
        masked=frozenset(name for name in wanted if _is_masked(root, companion(name))),
        host=None,
        loader_masked=_is_masked(root, LOADER),
        grants=[*_grants(root)],
    )


def _grants(root: str) -> Iterator[Granted]:
    files, _ = read_sections_of_all(root, {}, list)
    for file in files:
        for section in file.sections:
            for line, _, key, value in section.entries:
                if key != grants.KEY or not value or label_problem(section.name):
                    continue
                with suppress(ValueError):  # the rule set says so
                    grant = grants.parse(value)
                    place = Place(file.path, line)
                    yield Granted(section.name, place, grant, _is_known(root, grant))


def _is_known(root: str, grant: Grant) -> bool:
    """Whether somebody can have a grant. Below another root, nobody knows its users."""
    if grant.kind == "unit":
        names = [grant.name, f"{grant.name.partition('@')[0]}@.{grant.name.rpartition('.')[2]}"]
        return grant.name.endswith(".scope") or any(
            os.path.lexists(f"{directory}/{name}")
            for directory in search_path(root)
            for name in names
        )
    if grant.name.isdecimal() or root != "/":
        return True
    try:
        pwd.getpwnam(grant.name) if grant.kind == "user" else grp.getgrnam(grant.name)
    except KeyError:
        return False
    return True


def _counting(context: Context) -> tuple[set[str], set[str]]:
    """The .socket units that count because their companion is started, and those that
    count and keep their label.
    """
    if not context.is_loaded:
        return set(), set()
    with Maps(context.registry, read_only=True) as maps:
        active, known = active_units(maps), read_units(maps)
    # A unit that had another label comes after the one that had this label.
    now = read_unit_files(context.root, active)
    return active, {n for n, unit in now.items() if n in known and known[n].label == unit.label}


def _installed(root: str, suffix: str) -> set[str]:
    return {
        name
        for directory in search_path(root)
        for name in _files(directory, suffix)
        if is_unit_name(name) and not is_template(name)
    }


def _is_masked(root: str, name: str) -> bool:
    try:
        return is_masked(root, name)
    except OSError:
        return False  # nobody knows


def _files(directory: str, suffix: str) -> list[str]:
    try:
        return files_in(directory, suffix)
    except OSError:
        return []  # the rule set says so


def _read(root: str, name: str) -> Unit | None:
    try:
        unit = read_socket_unit(root, name)
    except OSError:
        return None  # if it counts, the rule set says so
    return None if unit is None else Unit(unit.name, unit.paths, unit.sections)


def _services(root: str, found: dict[str, Unit], counted: Iterable[str]) -> dict[str, Unit]:
    names = {
        LOADER,
        INTERFACES_SERVICE,
        STALLED_SERVICE,
        FILES_SERVICE,
        ETCD_SERVICE,
        METRICS,
        SOCK_OPS,
    }
    for name in counted:
        names |= {companion(name), adding_unit(name), applying_unit(name)}
        names.add(name.removesuffix(".socket") + ".service")
        if name in found:
            names.update(word.value for word in found[name].words("Socket", "Service"))
            if found[name].is_on("Socket", "Accept"):
                names.add(Facts.instance_of(found[name]))
    services = {name: unit for name in sorted(names) if (unit := _read(root, name))}
    for name in sorted(_installed(root, ".service") - names):
        unit = _read(root, name)
        if unit is not None and (unit.all("Service", "Sockets") or any(unit.starting(LOADER))):
            services[name] = unit
    return services


def _host(context: Context, facts: Facts, *, probe: bool) -> Host:
    there = situation.read(context)
    nonblocking, asked_for = _look_into(there)
    named = {binding.interface for binding in facts.bindings if binding.interface}
    others, blocked = _others(context, there)
    return Host(
        kernel=release.running(),
        memlock=_memlock(),
        unfinished=unfinished.left_by_dead(),
        client_ports=_client_ports(),
        interfaces=links.indices_of(named),
        inner=links.above(named),
        situation=there,
        others=others,
        blocked=blocked,
        loopholes=access.loopholes(),
        expected=status.expected_units(context),
        doors=_doors(context, facts.rules, there),
        nonblocking=nonblocking,
        asked_for=asked_for,
        probes=ask(there) if probe else (),
        visits=visit(there) if probe else (),
        jams=_jams(there),
        filter=Filter(packetfilter.read()),
        states=_states(context, [*facts.sockets, *facts.services, INTERFACES_SOCKET]),
    )


def _memlock() -> int | None:
    limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    return None if limit == resource.RLIM_INFINITY else limit


def _client_ports() -> range:
    try:
        first, last = Path(_CLIENT_PORTS).read_text().split()
    except OSError:
        return _DEFAULT_CLIENT_PORTS  # /proc may be hidden
    return range(int(first), int(last) + 1)


def _others(
    context: Context, there: Situation
) -> tuple[list[attachment.Other], tuple[str, str] | None]:
    """Foreign programs, or why even root may not list them."""
    if os.geteuid() != 0:
        return [], None  # listing takes CAP_NET_ADMIN
    try:
        if there.loaded:
            return attachment.others(context.registry, context.netns), None
        return [
            attachment.Other(program.program_id, program.name, None)
            for program in attachment.attached(context.netns)
        ], None
    except SockregError as error:
        return [], (error.message, error.hint)


def _doors(context: Context, rules: RuleSet, there: Situation) -> list[tuple[str, str, str]]:
    through = ssh_doors.doors(rules.bindings, context.root)
    if not through:
        return []
    with Maps(context.registry, read_only=True) if there.loaded else nullcontext() as maps:
        found = ssh.taken(through, rules.bindings, maps)
    return [(str(loss.binding.place), ssh.sentence(loss), ssh.way_out(loss)) for loss in found]


def _look_into(there: Situation) -> tuple[dict[int, bool], dict[int, bool]]:
    """For readable members: O_NONBLOCK, and whether UDP sockets receive destination addresses."""
    nonblocking, asked_for = {}, {}
    for cookie in there.labels_of:
        sock = there.by_cookie.get(cookie)
        held = there.holders.by_inode.get(sock.inode, []) if sock else []
        flag, options, _ = inspect.look_into(cookie, held, there.holders.hidden)
        if sock is None or flag is None or options is None:
            continue
        nonblocking[cookie] = flag
        if sock.protocol == UDP:
            asked_for[cookie] = any(options.get(name) for name in _ASKING)
    return nonblocking, asked_for


def _jams(there: Situation) -> dict[int, queues.Jam]:
    cookies = {
        one.cookie
        for members in there.members.values()
        for member in members
        for one in (member, *member.mates)
    }
    return queues.staying_full(
        (there.by_cookie[cookie] for cookie in cookies if cookie in there.by_cookie), _BETWEEN
    )


def _states(context: Context, units: list[str]) -> dict[str, SystemdState]:
    """What systemd reports about the units, if it is the systemd of these files and this
    namespace.
    """
    if not os.path.isdir("/run/systemd/system") or context.root != "/":  # sd_booted(3)
        return {}
    try:
        if os.stat("/proc/1/ns/net").st_ino != context.netns.inode:
            return {}
    except PermissionError:
        pass  # run by a user, who has no access to other namespaces
    command = ["systemctl", "show", "-p", _STATE, "--", *units]
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", errors="surrogateescape", check=False
    )
    found = {}
    for block in done.stdout.split("\n\n"):
        values = dict(line.partition("=")[::2] for line in block.split("\n"))
        if values.get("Id"):
            found[values["Id"]] = SystemdState(
                values.get("ActiveState", ""),
                values.get("SubState", ""),
                int(values.get("MainPID") or 0),
                unit_control.exit_status(values),
            )
    return found
