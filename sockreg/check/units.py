"""Units that belong together: sockets, companions, servers, the loader."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from sockreg.check.catalogue import Concern, check, live_check
from sockreg.check.facts import Facts, Host, Unit
from sockreg.check.finding import Finding, Severity
from sockreg.config.rulelines import RULE_KEYS
from sockreg.printable import shell, shell_words
from sockreg.registry.directory import BPFFS, HOME
from sockreg.systemd.sandboxing import fault_of
from sockreg.systemd.unit_label import RULES_SECTION
from sockreg.systemd.unitproperty import template_of
from sockreg.terms import (
    ADDING_PREFIX,
    APPLYING_PREFIX,
    BOOT_PREFIX,
    COMPANION_PREFIX,
    ETCD_SERVICE,
    FILES_SERVICE,
    INTERFACES_SERVICE,
    LOADER,
    METRICS,
    NEEDED,
    SOCK_OPS,
    STALLED_SERVICE,
    companion,
)

_HOME = f"{BPFFS}/{HOME}"
_NETWORKS = ("PrivateNetwork", "NetworkNamespacePath", "JoinsNamespaceOf")


@check(Concern.UNUSED)
def sockets_without_companion(facts: Facts) -> Iterator[Finding]:
    """Rules in a unit that does not count change nothing."""
    for name, unit in facts.sockets.items():
        rules = [setting for key in RULE_KEYS for setting in unit.all(RULES_SECTION, key)]
        if rules and name not in facts.counted:
            masked = f" {companion(name)} is masked." if name in facts.masked else ""
            itself = facts.registers_itself(name)
            yield Finding(
                severity=Severity.WARNING,
                check="no-companion",
                where=str(rules[0].place),
                what=f"{name} has rules, but they do not count",
                why=f"{name} registers its own sockets, but it is not enabled"
                if itself
                else f"{companion(name)} is neither enabled nor started.{masked}",
                fix=f"systemctl enable --now {shell(name if itself else companion(name))}",
            )


@live_check(Concern.UNITS)
def unfinished_enable(_: Facts, host: Host) -> Iterator[Finding]:
    """An enable that died in the middle."""
    if host.unfinished is not None:
        units = shell_words(*host.unfinished.units)
        yield Finding(
            severity=Severity.WARNING,
            check="unfinished-enable",
            where=" ".join(host.unfinished.units),
            what=f"'sockreg enable {units}' of {host.unfinished.when} died in the middle",
            why="links, drop-ins, open sockets or rules of these units may be left",
            fix=f"'sockreg disable {units}', which undoes it, or the same command again",
        )


@check(Concern.UNITS)
def companions_without_socket(facts: Facts) -> Iterator[Finding]:
    """A companion, or a drop-in in its place, that is enabled for a socket that does not exist."""
    for name in facts.wanted:
        if name not in facts.sockets:
            yield Finding(
                severity=Severity.ERROR,
                check="no-socket-unit",
                where=companion(name),
                what=f"{companion(name)} is enabled, but there is no {name}",
                why="the companion cannot start: it is bound to the socket unit, which is "
                "missing or masked",
                fix=f"systemctl disable {shell(companion(name))}, or create {shell(name)}",
            )
    for name, dropin in facts.lost.items():
        yield Finding(
            severity=Severity.ERROR,
            check="no-socket-unit",
            where=dropin,
            what=f"{name} is enabled with sockreg, but there is no {name}",
            why="the unit is missing or masked: it has no socket, and its rules do not count",
            fix=f"sockreg disable {shell(name)}, or create {shell(name)}",
        )


@check(Concern.UNITS)
def sockets_without_server(facts: Facts) -> Iterator[Finding]:
    """A socket that systemd refuses to open, because it has no service to start."""
    for name in facts.counted:
        socket = facts.sockets.get(name)
        if socket is None or facts.server_of(socket):
            continue
        if socket.is_on("Socket", "Accept"):
            instance = facts.instance_of(socket)
            template = template_of(instance)
            if instance not in facts.services:
                yield Finding(
                    severity=Severity.ERROR,
                    check="no-server",
                    where=socket.where("Socket", "Accept"),
                    what=f"{name} has Accept=yes, but there is no {template} to start for a "
                    "connection",
                    why="systemd closes each connection, and the socket fails",
                    fix=f"create {template}, or set Accept=no and create "
                    f"{facts.server_name(socket)}",
                )
            continue
        yield Finding(
            severity=Severity.ERROR,
            check="no-server",
            where=socket.where("Socket", "Service"),
            what=f"{name} has no service to start",
            why='systemd does not start such a socket ("Socket service not loaded, refusing"), '
            "and units that are bound to it fail",
            fix=f"create {facts.server_name(socket)}, or name another service with Service= in "
            "[Socket]",
        )


@check(Concern.RESTARTS)
def restarts(facts: Facts) -> Iterator[Finding]:
    """A server that systemd does not stop together with its socket."""
    for name, server in facts.servers():
        if not facts.is_tied(server, name):
            yield Finding(
                severity=Severity.WARNING,
                check="no-requires",
                where=server.home,
                what=f"{server.name} has neither Requires= nor PartOf={name}",
                why=f"while the server runs, systemd refuses 'systemctl restart {shell(name)}' "
                '("already active, refusing") and leaves the socket stopped',
                fix=f"Requires={name} in [Unit] of {server.name}",
            )


@live_check(Concern.SERVERS)
def stays_active(facts: Facts, host: Host) -> Iterator[Finding]:
    """A server that is active without a process, so that systemd starts no other one."""
    for name, server in facts.servers():
        now = host.state(server.name)
        if (now.active, now.sub) == ("active", "exited"):
            yield Finding(
                severity=Severity.ERROR,
                check="dead-server",
                where=server.where("Service", "RemainAfterExit"),
                what=f"the server of {server.name} has ended, but the unit is still active",
                why=f"systemd starts no new server while {name} listens: clients connect and hang",
                fix=f"remove RemainAfterExit= from {server.name}; for now, run 'systemctl stop "
                f"{shell(server.name)}', and the next client starts it again",
            )
        elif now.active == "failed":
            yield Finding(
                severity=Severity.WARNING,
                check="dead-server",
                where=server.home,
                what=f"{server.name} has failed",
                why=f"the next client may start it again, but after several failures {name} "
                "fails, too",
                fix=f"'systemctl status {shell(server.name)}' says why; then run "
                f"'systemctl reset-failed {shell(server.name)}'",
            )


@live_check(Concern.UNITS)
def inactive_sockets(facts: Facts, host: Host) -> Iterator[Finding]:
    """A socket unit that counts but does not listen."""
    for name in facts.counted:
        now = host.state(name)
        if name in facts.sockets and now.active in ("inactive", "failed"):
            yield Finding(
                severity=Severity.ERROR,
                check="inactive-socket",
                where=facts.sockets[name].home,
                what=f"the rules of {name} count, but the unit is {now.active}",
                why="there is no socket, so traffic that its rules send to the label is refused",
                fix=f"{facts.start(name)}; 'systemctl status {shell(name)}' says why it does not "
                "listen",
            )


@live_check(Concern.UNITS)
def sandboxes(facts: Facts, host: Host) -> Iterator[Finding]:
    """Units of sockreg that systemd could not start as their hardening says."""
    told: set[tuple[str, ...]] = set()
    for name in sorted(facts.services, key=lambda name: name != LOADER):
        unit, now = facts.services[name], host.state(name)
        if now.active != "failed" or not _is_ours(name):
            continue
        fault = fault_of(name, now.exit_status, partial(unit.last, "Service"))
        if fault is None or fault.about in told:
            continue  # the same help has been given for another unit
        told.add(fault.about)
        yield Finding(
            severity=Severity.ERROR,
            check="sandbox",
            where=unit.where("Service", fault.settings[0]) if fault.settings else unit.home,
            what=fault.what,
            why=fault.why,
            fix=f"{fault.fix}; then start the units again" if fault.by_dropin else fault.fix,
        )


@check(Concern.UNITS)
def units_that_start_the_loader(facts: Facts) -> Iterator[Finding]:
    """Units that bring a stopped loader back, as earlier documents had them."""
    for unit in (*facts.sockets.values(), *facts.services.values()):
        for key, setting in unit.starting(LOADER):
            yield Finding(
                severity=Severity.WARNING,
                check="starts-loader",
                where=str(setting.place),
                what=f"{unit.name} has {key}={LOADER}",
                why="each start of the unit, also by a client, brings back the loader that was "
                "stopped, and with it the rules of all other services"
                if key in ("Wants", "Upholds")
                else "a start of the unit brings back the loader that was stopped, and a stop of "
                "the loader stops the unit",
                fix=f"Wants={NEEDED} in its place, and After={NEEDED} {LOADER}; then 'systemctl "
                "daemon-reload'",
            )


@live_check(Concern.LOADER)
def masked_loader(facts: Facts, host: Host) -> Iterator[Finding]:
    """A loader that was masked before it was stopped."""
    if facts.loader_masked and host.situation.in_force:
        yield Finding(
            severity=Severity.WARNING,
            check="masked-loader",
            where=LOADER,
            what=f"{LOADER} is masked, but rules are in force",
            why="systemd has masked ExecStop=, too, so a stop of the unit leaves the rules in "
            "force until the next boot",
            fix="run 'sockreg unload', which ends what 'systemctl mask --now' has begun",
        )


@check(Concern.LOADER)
def hardening(facts: Facts) -> Iterator[Finding]:
    """Settings that keep the loader from its work, or attach the program elsewhere."""
    for unit in _ours(facts):
        for key in _NETWORKS:
            section = "Unit" if key == "JoinsNamespaceOf" else "Service"
            setting = unit.last(section, key)
            if setting and (key != "PrivateNetwork" or unit.is_on(section, key)):
                yield Finding(
                    severity=Severity.ERROR,
                    check="private-network",
                    where=str(setting.place),
                    what=f"{unit.name} has {key}={setting.value}",
                    why="the unit would succeed, but attach the program to a separate network "
                    "namespace without any traffic",
                    fix=f"remove {key}=",
                )
        writable = {word.value.lstrip("-+") for word in unit.words("Service", "ReadWritePaths")}
        if unit.is_on("Service", "ProtectKernelTunables") and _HOME not in writable:
            yield Finding(
                severity=Severity.ERROR,
                check="read-only-bpffs",
                where=unit.where("Service", "ReadWritePaths"),
                what=f"{unit.name} has ProtectKernelTunables=yes without ReadWritePaths=-{_HOME}",
                why="this makes /sys/fs/bpf read-only; naming /sys/fs/bpf itself does not undo it",
                fix=f"ReadWritePaths=-{_HOME}",
            )


@live_check(Concern.LOADER)
def memlock(facts: Facts, host: Host) -> Iterator[Finding]:
    """Kernels that count maps against a limit of 64 KiB."""
    if host.kernel >= (5, 11):
        return
    for unit in _ours(facts):
        setting = unit.last("Service", "LimitMEMLOCK")
        if setting is None or not setting.value.startswith("infinity"):
            yield Finding(
                severity=Severity.ERROR,
                check="memlock",
                where=unit.where("Service", "LimitMEMLOCK"),
                what=f"{unit.name} has a limit on locked memory",
                why="before Linux 5.11, maps count against this limit, and the kernel refuses them",
                fix="LimitMEMLOCK=infinity",
            )


def _is_ours(name: str) -> bool:
    return name in (
        LOADER,
        INTERFACES_SERVICE,
        STALLED_SERVICE,
        FILES_SERVICE,
        ETCD_SERVICE,
        METRICS,
        SOCK_OPS,
    ) or name.startswith((COMPANION_PREFIX, ADDING_PREFIX, APPLYING_PREFIX, BOOT_PREFIX))


def _ours(facts: Facts) -> Iterator[Unit]:
    """The units that put rules in force."""
    for name, unit in facts.services.items():
        if name == LOADER or name.startswith((COMPANION_PREFIX, APPLYING_PREFIX)):
            yield unit
