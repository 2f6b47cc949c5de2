"""Register= lines: grants that nobody can use."""

from __future__ import annotations

from collections.abc import Iterator

from sockreg.check.catalogue import Concern, check, live_check
from sockreg.check.facts import Facts, Host
from sockreg.check.finding import Finding, Severity
from sockreg.grants import KEY
from sockreg.model import Action
from sockreg.printable import shell
from sockreg.terms import RECEIVER_SOCKET


@check(Concern.UNITS)
def unknown_holders(facts: Facts) -> Iterator[Finding]:
    """Grants for a user, a group or a unit that there is not."""
    for granted in facts.grants:
        if not granted.known:
            grant = granted.grant
            yield Finding(
                severity=Severity.WARNING,
                check="unknown-holder",
                where=str(granted.place),
                what=f"{KEY}={grant.kind}:{grant.name} of label {granted.label}: there is no such "
                f"{grant.kind}",
                why="nobody has this grant, until somebody makes one of this name",
                fix=f"write the name of a {grant.kind} that there is, or remove the line",
            )


@check(Concern.UNUSED)
def grants_without_rules(facts: Facts) -> Iterator[Finding]:
    """Grants of a label to which no rule leads."""
    led = {binding.label for binding in facts.bindings if binding.action is Action.BIND}
    for label in dict.fromkeys(granted.label for granted in facts.grants):
        if label not in led:
            first = next(granted for granted in facts.grants if granted.label == label)
            yield Finding(
                severity=Severity.WARNING,
                check="grant-without-rules",
                where=str(first.place),
                what=f"label {label} may be registered by a grant, but no rule leads to it",
                why="whatever is registered there gets no traffic",
                fix=f"Bind= lines in section [{label}], or no {KEY}= there",
            )


@live_check(Concern.UNITS)
def no_receiver(facts: Facts, host: Host) -> Iterator[Finding]:
    """Grants, but nothing that takes the sockets in."""
    if facts.grants and host.state(RECEIVER_SOCKET).active != "active":
        yield Finding(
            severity=Severity.WARNING,
            check="no-receiver",
            where=str(facts.grants[0].place),
            what=f"there are {KEY}= lines, but {RECEIVER_SOCKET} is not active",
            why="who has a grant passes his sockets there",
            fix=f"systemctl enable --now {shell(RECEIVER_SOCKET)}",
        )
