"""All checks, in the order in which their findings are of use."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sockreg.check import pairs, receivers, registrations, rules, system
from sockreg.check.facts import Facts
from sockreg.check.finding import Finding, Severity

Check = Callable[[Facts], Iterator[Finding]]

CHECKS: tuple[Check, ...] = (
    rules.problems,
    rules.ssh,
    rules.interfaces,
    system.interface_rules,
    rules.routes,
    pairs.companions_without_socket,
    pairs.sockets_without_server,
    pairs.inactive_sockets,
    registrations.unsteerable,
    registrations.rules_without_socket,
    registrations.unserved,
    pairs.stays_active,
    receivers.remain_after_exit,
    receivers.start_limits,
    receivers.nonblocking,
    receivers.live_nonblocking,
    receivers.stop_hooks,
    receivers.dropped_target,
    pairs.hardening,
    pairs.memlock,
    system.not_loaded,
    system.not_applied,
    pairs.sockets_without_companion,
    registrations.sockets_without_rules,
    pairs.restarts,
    rules.shadowed_rules,
    registrations.answers,
    rules.client_ports,
    system.foreign_programs,
    rules.listeners,
    rules.notices,
    rules.any_port,
    system.multipath,
)
_ORDER = list(Severity)


def run(facts: Facts) -> list[Finding]:
    """The findings of all checks, the gravest first; the same one is told once."""
    found = dict.fromkeys(finding for check in CHECKS for finding in check(facts))
    return sorted(found, key=lambda finding: _ORDER.index(finding.severity))
