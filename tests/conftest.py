"""What holds for every test: its layer, what the layer needs, own mounts, an orderly end.

``-m pure``, ``-m kernel`` and ``-m systemd`` choose a layer. What this machine cannot run is
skipped with a reason; with ``--no-skips``, as in CI, it fails.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.linux import private_mounts

# The folders of tests that have another name than their layer.
_LAYERS = {
    "browser": "kernel",
    "faults": "kernel",
    "soak": "kernel",
    "kernels": "kernel",
    "truth": "kernel",
    "fleet": "systemd",
    "packaged": "systemd",
    "recipes": "systemd",
    "systemd257": "systemd",
}
_NO_SKIPS = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--no-skips", action="store_true", help="a test that is skipped or may fail is a failure"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_NO_SKIPS] = config.getoption("--no-skips")
    # The default action would end the process without undoing anything.
    signal.signal(signal.SIGTERM, _interrupt)
    # A shell that starts us in the background without job control ignores SIGINT for us, and so
    # for all commands that tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Without it, each of some thousand commands would compile its modules from source.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    tests = Path(__file__).parent
    layers = {item: _layer(item.path, tests) for item in items}
    missing = {layer: _missing(layer) for layer in set(layers.values())}
    for item, layer in layers.items():
        if layer is not None:
            item.add_marker(layer)
            if reason := missing[layer]:
                item.add_marker(pytest.mark.skip(reason=reason))


def _layer(path: Path, tests: Path) -> str | None:
    """The folder of tests/ that a test is in; none for tests from elsewhere."""
    if not path.is_relative_to(tests):
        return None
    folder = path.relative_to(tests).parts[0]
    return _LAYERS.get(folder, folder)


def _missing(layer: str | None) -> str:
    """What this machine lacks for a layer, as the reason of a skip; nothing if it has all.

    Root gets mounts of its own.
    """
    if layer in (None, "pure"):
        return ""
    if os.geteuid() != 0:
        return f"tests/{layer} needs root"
    try:
        private_mounts()
    except PermissionError as error:
        return f"tests/{layer} needs CAP_SYS_ADMIN: {error}"
    if "\tbpf\n" not in Path("/proc/filesystems").read_text():
        return f"tests/{layer} needs a kernel with CONFIG_BPF_SYSCALL"
    if layer == "systemd":
        if shutil.which("systemctl") is None:
            return "tests/systemd needs systemd"
        if " cgroup2 " not in Path("/proc/self/mounts").read_text():
            return "tests/systemd needs a cgroup2 hierarchy, and none is mounted"
    return ""


def _not_installed(call: pytest.CallInfo[None]) -> str:
    """The program that a test could not start as it is nowhere in PATH; nothing otherwise."""
    # PermissionError comes where some directory of PATH may not be searched.
    if call.excinfo is None or not isinstance(
        call.excinfo.value, FileNotFoundError | PermissionError
    ):
        return ""
    name = str(call.excinfo.value.filename)
    started = os.path.basename(call.excinfo.traceback[-1].path) == "subprocess.py"
    return name if started and "/" not in name and shutil.which(name) is None else ""


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test whose program is not installed is skipped.

    With ``--no-skips`` a test that did not run to its end is a failure.
    """
    report = yield
    if program := _not_installed(call):
        report.outcome = "skipped"
        report.longrepr = (str(item.path), item.location[1] or 0, f"{program} is not installed")
    if report.skipped and item.config.stash[_NO_SKIPS]:
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
    if report.skipped and collector.config.stash[_NO_SKIPS]:
        report.outcome = "failed"
        report.longrepr = f"{collector.nodeid} was skipped: {report.longrepr}"
    return report
