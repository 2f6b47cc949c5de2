"""What holds for every test: own mounts, an orderly end, and nothing left out."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator

import pytest

from tests.linux import private_mounts


def pytest_configure(config: pytest.Config) -> None:
    if os.geteuid() == 0:
        private_mounts()
    # The default action would end the process without undoing anything.
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that did not run to its end is a failure: green must mean that all was seen."""
    report = yield
    if report.skipped:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped or expected to fail: {report.longrepr}"
        # pytest does not count the failure of a test that was expected to fail.
        report.__dict__.pop("wasxfail", None)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a whole module that would not be looked at."""
    report = yield
    if report.skipped:
        report.outcome = "failed"
        report.longrepr = f"{collector.nodeid} was skipped: {report.longrepr}"
    return report
