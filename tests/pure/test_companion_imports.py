"""The companion runs at boot for every socket: what it imports is its start-up time."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

from sockreg.companion import __main__ as companion
from sockreg.errors import EXIT_NOT_LOADED
from tests.process import run

PYTHON = "/usr/bin/python3"
OPTIONS = ["-I", "-S", "-X", "importtime"]
COSTLY = {"argparse", "ctypes", "enum", "json", "logging", "os", "pathlib", "re", "subprocess",
          "typing"}  # fmt: skip
# Rooms of sockreg that registering has nothing to do with.
NOT_ON_ITS_PATH = tuple(
    f"sockreg.{room}"
    for room in ("rules", "compile", "config", "check", "cli", "commands", "metrics", "views")
)


def modules_in_one_place(tmp_path: Path) -> Path:
    """A directory with sockreg and systemd-python in it, as the Debian packages have them."""
    library = run([PYTHON, "-c", "import systemd; print(systemd.__file__)"]).stdout.strip()
    place = tmp_path / "modules"
    place.mkdir()
    (place / "systemd").symlink_to(Path(library).parent)
    (place / "sockreg").symlink_to(Path(companion.__file__).parents[1])
    return place


def virtual_environment(tmp_path: Path) -> Path:
    """One with sockreg in it, and systemd-python where it is for all; returns its interpreter."""
    place = tmp_path / "environment"
    run([PYTHON, "-m", "venv", "--system-site-packages", "--without-pip", str(place)])
    (modules,) = place.glob("lib/python3*/site-packages")
    (modules / "sockreg").symlink_to(Path(companion.__file__).parents[1])
    return place / "bin/python3"


def imported(tmp_path: Path, verb: str, python: str, modules: Path) -> set[str]:
    """The modules that a companion adds to the bare interpreter's, up to the missing registry."""
    command = [str(modules / "sockreg/companion/__main__.py"), verb, "web.socket", "/nowhere"]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        passed = f'LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web exec "$@" 3<&{listener.fileno()}'
        done = subprocess.run(
            ["/bin/bash", "-c", passed, "bash", python, *OPTIONS, *command],
            pass_fds=[listener.fileno()],
            env={"SOCKREG_BPFFS": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
    assert done.returncode == EXIT_NOT_LOADED, done.stderr
    return _modules(done.stderr) - _modules(run([PYTHON, *OPTIONS, "-c", "pass"]).stderr)


def _modules(importtime: str) -> set[str]:
    """The last column of what -X importtime prints."""
    lines = [line for line in importtime.splitlines() if line.startswith("import time:")]
    return {line.rsplit("|", 1)[1].strip() for line in lines[1:]}


def test_register_imports_little_and_nothing_costly(tmp_path: Path) -> None:
    modules = imported(tmp_path, "register", PYTHON, modules_in_one_place(tmp_path))
    assert {"sockreg.registry.registration", "sockreg.systemd.journal"} <= modules
    assert modules & COSTLY == set()
    assert not {name for name in modules if name.startswith(NOT_ON_ITS_PATH)}
    # Each costs some 0.1 ms. Now it is about thirty, all of which it uses.
    assert len(modules) <= 40, sorted(modules)


def test_register_finds_systemd_python_outside_of_its_virtual_environment(tmp_path: Path) -> None:
    """The companion runs with -S, which hides what the environment takes from the system."""
    python = virtual_environment(tmp_path)
    (modules,) = python.parents[1].glob("lib/python3*/site-packages")
    assert "systemd._daemon" in imported(tmp_path, "register", str(python), modules)


def test_start_imports_neither_rules_nor_anything_costly(tmp_path: Path) -> None:
    modules = imported(tmp_path, "start", PYTHON, modules_in_one_place(tmp_path))
    assert "sockreg.companion.lifecycle" in modules
    assert not {name for name in modules if name.startswith(("sockreg.rules", "sockreg.compile"))}
    assert modules & COSTLY <= {"os"}, "which looking for unit files is worth"
