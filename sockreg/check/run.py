"""Run all checks."""

from __future__ import annotations

from sockreg.check import (  # noqa: F401  # their checks add themselves to the list
    answers,
    granted,
    kernel,
    labels,
    passed_sockets,
    rules,
    units,
)
from sockreg.check.catalogue import CHECKS
from sockreg.check.facts import Facts
from sockreg.check.finding import Finding, Severity

_ORDER = list(Severity)


def run(facts: Facts) -> list[Finding]:
    """The findings of all checks, most severe first, each one once.

    Findings of one severity are in the order of their concerns.
    """
    ordered = sorted(CHECKS, key=lambda check: check.concern)
    found = dict.fromkeys(finding for check in ordered for finding in check.find(facts))
    return sorted(found, key=lambda finding: _ORDER.index(finding.severity))
