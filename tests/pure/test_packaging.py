"""The wheel holds the whole package, the BPF object and the units."""

from __future__ import annotations

import shutil
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from sockreg import __version__, resources
from tests.process import run

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree. Built from a copy: setuptools writes beside its sources."""
    copy = tmp_path_factory.mktemp("tree") / "with a space"
    shutil.copytree(
        ROOT, copy, ignore=shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__")
    )
    target = tmp_path_factory.mktemp("wheel")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "-w", str(target)]
    run([sys.executable, "-m", "pip", "wheel", "-q", *options, str(copy)], timeout=120)
    (built,) = target.glob("*.whl")
    return built


def test_every_package_of_the_tree_is_named() -> None:
    configured = tomllib.loads((ROOT / "pyproject.toml").read_text())
    named = {
        name
        for name in configured["tool"]["setuptools"]["packages"]
        if not name.startswith("sockreg.data.")
    }
    in_tree = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for path in (ROOT / "sockreg").rglob("__init__.py")
    }
    assert named == in_tree


def test_the_wheel_holds_everything(wheel: Path) -> None:
    expected = {
        *(f"{p.relative_to(ROOT)}" for p in (ROOT / "sockreg").rglob("*.py")),
        "sockreg/py.typed",
        *(f"sockreg/data/bpf/{p.name}" for p in (ROOT / "bpf").glob("*.o")),
        *(f"sockreg/data/units/{p.name}" for p in (ROOT / "units").iterdir()),
    }
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == expected
    assert wheel.name == f"sockreg-{__version__}-py3-none-any.whl"


def test_an_installed_sockreg_finds_its_own_files(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    show = "from sockreg import resources as r; print(r.object_path()); print(r.units_path())"
    printed = run([sys.executable, "-P", "-c", show], env={"PYTHONPATH": str(tmp_path)}).stdout
    object_path, units_path = printed.splitlines()
    assert Path(object_path) == tmp_path / "sockreg/data/bpf/sockreg.bpf.o"
    assert Path(object_path).read_bytes() == (ROOT / "bpf/sockreg.bpf.o").read_bytes()
    assert Path(units_path) == tmp_path / "sockreg/data/units"


def test_a_source_tree_finds_its_own_files() -> None:
    assert resources.object_path() == ROOT / "bpf/sockreg.bpf.o"
    assert resources.units_path() == ROOT / "units"
