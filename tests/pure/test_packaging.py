"""The source distribution holds the whole tree, and the wheel that it gives the whole package, the
BPF objects, units, manual page and completion.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from sockreg import __version__, shipped
from sockreg.commands import install
from sockreg.errors import RefusedError
from tests.process import run
from tests.pure.test_lint import files
from tests.tree import ROOT


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution of this tree. Built from a copy, beside which there is no git."""
    copy = tmp_path_factory.mktemp("tree") / "with a space"
    for path in files():
        place = copy / path.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, place, follow_symlinks=False)
    target = tmp_path_factory.mktemp("sdist")
    run([sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(target)], cwd=copy)
    (built,) = target.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that the source distribution gives."""
    target = tmp_path_factory.mktemp("wheel")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "-w", str(target)]
    run([sys.executable, "-m", "pip", "wheel", "-q", *options, str(sdist)], timeout=120)
    (built,) = target.glob("*.whl")
    return built


def test_the_source_distribution_holds_everything(sdist: Path) -> None:
    """Tests, documents and packaging as well: who has it can do all that a clone can."""
    inside = f"sockreg-{__version__}/"
    assert sdist.name == f"sockreg-{__version__}.tar.gz"
    with tarfile.open(sdist) as archive:
        members = {it.name.removeprefix(inside): it for it in archive if not it.isdir()}
        of_its_own = members.pop("PKG-INFO")
        about = archive.extractfile(of_its_own)
        assert about is not None
        assert f"\nVersion: {__version__}\n" in about.read().decode()
    tree = {str(path.relative_to(ROOT)): path for path in files()}
    assert set(members) == set(tree)
    for name, member in members.items():
        assert member.issym() == tree[name].is_symlink(), name
        if member.isfile():
            assert bool(member.mode & 0o100) == os.access(tree[name], os.X_OK), name
            assert member.size == tree[name].stat().st_size, name


def test_the_wheel_holds_everything(wheel: Path) -> None:
    expected = {
        *(f"{p.relative_to(ROOT)}" for p in (ROOT / "sockreg").rglob("*.py")),
        "sockreg/py.typed",
        *(f"sockreg/data/bpf/{p.name}" for p in (ROOT / "bpf").glob("*.o")),
        "sockreg/data/man/sockreg.8",
        f"sockreg-{__version__}.data/data/bin/sockreg",
        *(f"sockreg/data/units/{p.name}" for p in (ROOT / "units").iterdir() if p.is_file()),
        "sockreg/data/units/user/sockreg@.service",
    }
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == expected
    assert wheel.name == f"sockreg-{__version__}-py3-none-any.whl"


def test_the_wheel_says_its_licence_and_has_the_text(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        about = archive.read(f"sockreg-{__version__}.dist-info/METADATA").decode()
        text = archive.read(f"sockreg-{__version__}.dist-info/licenses/LICENSE").decode()
    assert "\nLicense-Expression: MIT\n" in about
    assert text == (ROOT / "LICENSES/MIT.txt").read_text()


def test_an_installed_sockreg_finds_its_own_files(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    paths = ("object_path", "sock_ops_object_path", "units_path", "man_page_path")
    show = "from sockreg import shipped as r; " + "; ".join(f"print(r.{it}())" for it in paths)
    printed = run([sys.executable, "-P", "-c", show], env={"PYTHONPATH": str(tmp_path)}).stdout
    assert printed.splitlines() == [
        f"{tmp_path}/sockreg/data/{name}"
        for name in ("bpf/sockreg.bpf.o", "bpf/sockops.bpf.o", "units", "man/sockreg.8")
    ]
    held = tmp_path / "sockreg/data/bpf/sockreg.bpf.o"
    assert held.read_bytes() == (ROOT / "bpf/sockreg.bpf.o").read_bytes()


def test_a_wheel_installs_units_manual_page_and_completion(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "modules")
    command = [sys.executable, "-P", "-m", "sockreg", "--root", str(tmp_path), "install-units"]
    done = run(command, env={"PYTHONPATH": str(tmp_path / "modules")})
    local = tmp_path / "usr/local"
    written = {path for path in local.rglob("*") if path.is_file()}
    assert {line.removeprefix("wrote ") for line in done.stdout.splitlines()[:-1]} == {
        str(path) for path in written
    }
    assert {str(path.relative_to(local)) for path in written} == {
        "lib/systemd/catalog/sockreg.catalog",
        "lib/systemd/system-generators/sockreg-generator",
        "lib/sysusers.d/sockreg.conf",
        "share/bash-completion/completions/sockreg",
        "share/fish/vendor_completions.d/sockreg.fish",
        "share/zsh/site-functions/_sockreg",
        "share/man/man8/sockreg.8",
        *(
            f"lib/systemd/system/{path.name}"
            for kind in ("service", "socket", "mount", "path", "timer")
            for path in (ROOT / "units").glob(f"*.{kind}")
        ),
        "lib/systemd/user/sockreg@.service",
    }
    companion = (local / "lib/systemd/system/sockreg-add@.service").read_text()
    module = f"{tmp_path}/modules/sockreg/companion/__main__.py"
    assert f"\nExecStart={sys.executable} -I -S {module} register " in companion


@pytest.mark.parametrize("field", ["command", "interpreter", "package"])
@pytest.mark.parametrize("directory", ["/tmp", "/var/tmp"])
def test_an_installation_that_units_do_not_see_is_refused(
    monkeypatch: pytest.MonkeyPatch, directory: str, field: str
) -> None:
    elsewhere = install.DEBIAN._replace(package="/opt/venv/lib/sockreg")
    own = elsewhere._replace(**{field: f"{directory}/venv/bin/x"})
    monkeypatch.setattr(install, "own", lambda: own)
    monkeypatch.setattr(install, "write", lambda *_: pytest.fail("it writes"))
    with pytest.raises(RefusedError, match=f"could not run {directory}/venv/bin/x"):
        install.install_units("/")


def test_a_source_tree_finds_its_own_files() -> None:
    assert shipped.object_path() == ROOT / "bpf/sockreg.bpf.o"
    assert shipped.units_path() == ROOT / "units"
    assert shipped.man_page_path() == ROOT / "docs/man/sockreg.8"


def test_the_debian_package_has_this_version() -> None:
    newest = (ROOT / "units/debian/changelog").read_text().partition("\n")[0]
    assert newest.startswith(f"sockreg ({__version__}-")
    package = newest.split()[1].strip("()")
    assert f"apt install ./dist/sockreg_{package}_all.deb" in (ROOT / "README.md").read_text()


def test_the_rpm_has_this_version() -> None:
    spec = (ROOT / "units/rpm/sockreg.spec").read_text()
    assert re.search(rf"^Version: +{re.escape(__version__)}$", spec, re.MULTILINE)
    _, _, changes = spec.partition("%changelog\n")
    assert changes.splitlines()[0].endswith(f" - {__version__}-1")


def test_the_ansible_collection_has_this_version() -> None:
    assert f"\nversion: {__version__}\n" in (ROOT / "units/ansible/galaxy.yml").read_text()


def test_what_the_debian_package_is_built_with_is_here() -> None:
    # -I: Debian takes build-essential for granted, whose compilers nothing here needs.
    run(["dpkg-checkbuilddeps", "-I", str(ROOT / "units/debian/control")])


@pytest.mark.parametrize("kind", ["test", "fuzz", "fleet", "site", "release"])
def test_what_is_taken_from_the_index_is_pinned_with_hashes(kind: str) -> None:
    """And has the versions that pyproject.toml asks for; tests/requirements/update writes it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = {it for it in project["optional-dependencies"][kind] if "==" in it}
    text = (ROOT / f"tests/requirements/{kind}.txt").read_text().replace("\\\n", "")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    pinned = {re.match(r"[\w.-]+==[\w.]+", line)[0] for line in lines}  # type: ignore[index]
    assert asked <= pinned
    assert [line for line in lines if not re.search(r" --hash=sha256:[0-9a-f]{64}", line)] == []


def test_who_and_where_is_said_in_one_place() -> None:
    run([sys.executable, str(ROOT / "units/release/identity.py"), "--check"])


def test_the_changelog_begins_with_this_version() -> None:
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0].split()[0] == __version__
    form = re.compile(r"\d+\.\d+\.\d+ \((not released|\d{4}-\d\d-\d\d)\)")
    assert [heading for heading in headings if not form.fullmatch(heading)] == []
    assert [heading for heading in headings[1:] if "not released" in heading] == []


def test_what_ci_and_the_documents_call_is_there() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    ci = (ROOT / ".github/workflows/tests.yml").read_text()
    lists = re.findall(r"target: \[(.*)\]", ci)
    called = {word.strip('"').split()[0] for row in lists for word in row.split(", ")}
    for document in ("CONTRIBUTING", "releasing"):
        for commands in re.findall(
            r"\bmake ([\w\s-]+?)`", (ROOT / f"docs/{document}.md").read_text()
        ):
            called |= set(commands.split())
    assert {"demo", "test", "bpf", "test-packages"} <= called
    assert called <= targets
