"""A package that a command needs and does not find is told in a sentence, never in a traceback."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from sockreg import shipped
from sockreg.companion import __main__ as companion
from sockreg.compile import FEW
from sockreg.errors import EXIT_FAILURE, EXIT_NOT_LOADED, EXIT_OK
from tests.kernel.host import Host, Outcome

WEB = ("[web]", "Bind=tcp 192.0.2.0/24 80")

Hidden = Callable[..., Outcome]


@pytest.fixture
def run_without(host: Host, tmp_path: Path) -> Hidden:
    """Run a command as a process that does not find a module."""

    def run(module: str, *arguments: str, **rest: str) -> Outcome:
        hide(tmp_path / "hidden", module)
        return host.process(*arguments, env={"PYTHONPATH": str(tmp_path / "hidden"), **rest})

    return run


def hide(directory: Path, module: str) -> None:
    """Python finds a module of that name in ``directory``, and fails as if there were none."""
    directory.mkdir()
    (directory / f"{module}.py").write_text(
        f"raise ModuleNotFoundError(\"No module named '{module}'\", name='{module}')\n"
    )


def said(outcome: Outcome, pypi: str, debian: str) -> None:
    assert outcome.status == EXIT_FAILURE, outcome.text
    first, hint = outcome.err.splitlines()[-2:]
    assert first.startswith(f"sockreg: the Python package {pypi} is missing or broken: ")
    assert hint == f"sockreg: install it: 'apt install {debian}' or 'pip install {pypi}'"
    assert "Traceback" not in outcome.err


def test_numpy_for_many_rules(host: Host, run_without: Hidden) -> None:
    many = (f"Bind=tcp 10.0.{number >> 8}.{number & 255} 80" for number in range(FEW + 1))
    host.conf("[web]", *many)
    said(run_without("numpy", "load"), "numpy", "python3-numpy")
    host.fails(EXIT_NOT_LOADED, "status")
    assert list(host.home.iterdir()) == []


def test_few_rules_take_no_numpy(host: Host, run_without: Hidden) -> None:
    host.conf(*WEB)
    assert run_without("numpy", "load").status == EXIT_OK


def test_pyelftools_for_a_foreign_object(host: Host, run_without: Hidden, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.o"
    foreign.write_bytes(shipped.object_path().read_bytes() + b"\0")
    host.conf(*WEB)
    outcome = run_without("elftools", "--object", str(foreign), "load")
    said(outcome, "pyelftools", "python3-pyelftools")


def test_our_own_object_takes_no_pyelftools(host: Host, run_without: Hidden) -> None:
    host.conf(*WEB)
    assert run_without("elftools", "load").status == EXIT_OK


def test_the_prometheus_client(host: Host, run_without: Hidden) -> None:
    host.load(*WEB)
    outcome = run_without("prometheus_client", "metrics")
    said(outcome, "prometheus-client", "python3-prometheus-client")


def test_systemd_python_for_the_lines_of_the_journal(host: Host, run_without: Hidden) -> None:
    """The rest of the status is there; without lines there is no need for it."""
    host.load(*WEB)
    outcome = run_without("systemd", "status", "--lines", "3")
    said(outcome, "systemd-python", "python3-systemd")
    assert "generation 1, 1 rule" in outcome.out


def test_status_without_lines_takes_no_systemd_python(host: Host, run_without: Hidden) -> None:
    host.load(*WEB)
    assert run_without("systemd", "status", "--lines", "0").status == EXIT_OK


def test_the_line_of_systemctl_status_takes_no_systemd_python(
    host: Host, run_without: Hidden, tmp_path: Path
) -> None:
    """libsystemd is asked instead, which every host with systemd has."""
    host.conf(*WEB)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        outcome = run_without("systemd", "load", NOTIFY_SOCKET=str(tmp_path / "notify"))
        assert outcome.status == EXIT_OK, outcome.text
        assert manager.recv(4096).startswith(b"STATUS=last start or reload: generation 1 in force")


def test_a_state_that_nobody_takes_is_no_failure(host: Host, tmp_path: Path) -> None:
    """Rules that are in force are no failure of the loader's unit."""
    host.conf(*WEB)
    outcome = host.process("load", env={"NOTIFY_SOCKET": str(tmp_path / "nowhere")})
    assert outcome.status == EXIT_OK, outcome.text
    assert "cannot tell systemd the state: No such file or directory" in outcome.err


def test_the_companion_registers_without_systemd_python(host: Host, tmp_path: Path) -> None:
    """After a search in all places of this Python."""
    host.load(*WEB)
    hide(tmp_path / "hidden", "systemd")
    (tmp_path / "hidden/sockreg").symlink_to(Path(companion.__file__).parents[1])
    entry = tmp_path / "hidden/sockreg/companion/__main__.py"
    command = ["/usr/bin/python3", "-I", "-S", str(entry), "register", "web.socket", "/nowhere"]
    with host.namespace.serve("web", "127.0.0.1") as server:
        with host.passing([("web", server.sock)]) as (wrapper, fds):
            done = subprocess.run(
                [*wrapper, *command],
                capture_output=True,
                text=True,
                check=False,
                pass_fds=fds,
                timeout=60,
                env={"SOCKREG_BPFFS": str(host.bpffs)},
            )
        assert done.returncode == EXIT_OK, done.stderr
        assert host.ask("192.0.2.7", 80) == "web"
