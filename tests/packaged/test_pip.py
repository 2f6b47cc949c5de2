"""pip and pipx install the wheel without a compiler, on the Python of each suite of Debian."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.packaged.roots import build_root
from tests.process import run
from tests.sandbox import Sandbox
from tests.systemd.units import web
from tests.tree import ROOT

PYTHONS = {"bookworm": "3.11", "trixie": "3.13", "sid": "3.14"}
WHEELS = "/root/wheels"
PIP = {
    "PIP_NO_INDEX": "1",
    "PIP_FIND_LINKS": WHEELS,
    "PIP_ONLY_BINARY": ":all:",
    "PIPX_HOME": "/opt/pipx",
    "PIPX_BIN_DIR": "/usr/local/bin",
}


def requirements(python: str) -> list[str]:
    """What the wheel depends on with this version of Python, by pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = map(Requirement, project["dependencies"])
    return [
        f"{it.name}{it.specifier}"
        for it in wanted
        if not it.marker or it.marker.evaluate({"python_version": python})
    ]


def fetch(python: str, directory: Path) -> None:
    """Download the wheels of the dependencies; sources in place of one are a failure."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--only-binary=:all:"]
    for_it = ["--python-version", python, "-d", str(directory)]
    # pipx has its own pip.
    subprocess.run([*command, *for_it, *requirements(python), "pip"], check=True)


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the source distribution and the wheel, as they are published."""
    directory = tmp_path_factory.mktemp("distributions")
    said = run([str(ROOT / "units/release/build"), str(directory)], timeout=300).stdout
    assert said.count("PASSED") == 2, said  # twine's
    return directory


@pytest.fixture(params=PYTHONS, scope="module")
def box(
    request: pytest.FixtureRequest, distributions: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Sandbox]:
    """A Debian with the distributions, and with the wheels of the dependencies, in /root/wheels."""
    tree = tmp_path_factory.mktemp("wheels")
    wheels = Path(f"{tree}{WHEELS}")
    wheels.mkdir(parents=True)
    for path in distributions.iterdir():
        (wheels / path.name).write_bytes(path.read_bytes())
    fetch(PYTHONS[request.param], wheels)
    with Sandbox(lower=str(build_root(request.param)), trees=[tree], files=web()) as box:
        yield box


def test_there_is_a_wheel_of_each_dependency_for_3_12(tmp_path: Path) -> None:
    """No Debian has this one."""
    fetch("3.12", tmp_path)
    assert list(tmp_path.glob("numpy-*-cp312-*.whl"))


def test_pipx_installs_what_serves_and_takes_it_out(box: Sandbox) -> None:
    box.run(["sh", "-c", f"pipx install {WHEELS}/sockreg-*.whl"], timeout=300, env=PIP)
    box.run(["sockreg", "install-units"])
    box.run(["sockreg", "enable", "--mode", "companion", "web.socket"])
    assert box.ask("127.0.0.1", 80) == "web 127.0.0.1:80"
    # What has no wheel is named in a sentence by what would need it.
    for command, package in (
        ("status --lines 3", "systemd-python"),
        ("metrics", "prometheus-client"),
    ):
        done = box.run(["sh", "-c", f"sockreg {command}"], check=False)
        assert f"sockreg: the Python package {package} is missing" in done.stderr, done.stderr
    box.systemctl("start", "sockreg-metrics.socket")
    request = b"GET /metrics HTTP/1.0\r\n\r\n"
    answer = box.ask("127.0.0.1", 9437, request=request, timeout=30)
    assert answer.startswith("HTTP/1.1 503 "), answer
    assert "install it: 'apt install python3-prometheus-client'" in answer
    box.run(["sockreg", "uninstall-units"])
    box.run(["pipx", "uninstall", "sockreg"], timeout=120, env=PIP)
    assert box.run(["sh", "-c", "command -v sockreg"], check=False).stdout == ""
    assert box.ask("127.0.0.1", 8080) == "web 127.0.0.1:8080"
    assert box.systemctl("--failed", "--no-legend").stdout == ""
