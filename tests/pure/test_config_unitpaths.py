"""Which files make up a unit: search path, aliases, templates, drop-ins, masks."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sockreg.systemd.unitpaths import files_state, find_unit, is_masked, is_template, search_path
from tests.tree import ROOT

ETC = "etc/systemd/system"
RUN = "run/systemd/system"
LIB = "usr/lib/systemd/system"


def put(root: Path, *paths: str, text: str = "[Unit]\n") -> None:
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def link(root: Path, path: str, target: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.symlink_to(target)


def files(root: Path, name: str) -> list[str]:
    return [str(Path(path).relative_to(root)) for path in find_unit(str(root), name)[1]]


def test_search_path_is_that_of_the_system_manager(tmp_path: Path) -> None:
    assert search_path("/")[0] == "/etc/systemd/system.control"
    assert search_path(f"{tmp_path}/") == search_path(str(tmp_path))
    assert f"{tmp_path}/lib/systemd/system" in search_path(str(tmp_path))
    link(tmp_path, "lib", "usr/lib")
    assert f"{tmp_path}/lib/systemd/system" not in search_path(str(tmp_path))
    assert f"{tmp_path}/usr/lib/systemd/system" in search_path(str(tmp_path))


def test_earlier_directories_win(tmp_path: Path) -> None:
    places = [path.removeprefix(f"{tmp_path}/") for path in search_path(str(tmp_path))]
    for place in reversed(places):
        put(tmp_path, f"{place}/web.socket")
        assert files(tmp_path, "web.socket") == [f"{place}/web.socket"]
    assert files(tmp_path, "other.socket") == []
    assert find_unit(str(tmp_path), "other.socket")[0] == "other.socket"


def test_dropins_in_order_of_name_and_first_directory_wins(tmp_path: Path) -> None:
    put(
        tmp_path,
        f"{LIB}/web.socket",
        f"{LIB}/web.socket.d/20-b.conf",
        f"{LIB}/web.socket.d/10-a.conf",
        f"{ETC}/web.socket.d/20-b.conf",
        f"{RUN}/web.socket.d/15-c.conf",
        f"{RUN}/web.socket.d/20-b.conf",
        f"{ETC}/web.socket.d/ignored.txt",
        f"{ETC}/web.socket.d/.hidden.conf",
        f"{ETC}/web.socket.d/folder.conf/file",
        f"{ETC}/socket.d/10-a.conf",
        f"{ETC}/socket.d/12-type.conf",
    )
    assert files(tmp_path, "web.socket") == [
        f"{LIB}/web.socket",
        f"{LIB}/web.socket.d/10-a.conf",
        f"{ETC}/socket.d/12-type.conf",
        f"{RUN}/web.socket.d/15-c.conf",
        f"{ETC}/web.socket.d/20-b.conf",
    ]


def test_dropins_of_template_and_prefixes(tmp_path: Path) -> None:
    put(
        tmp_path,
        f"{ETC}/foo-bar@.socket",
        f"{ETC}/foo-bar@1.socket.d/a.conf",
        f"{ETC}/foo-bar@.socket.d/a.conf",
        f"{ETC}/foo-bar@.socket.d/b.conf",
        f"{ETC}/foo-@1.socket.d/b.conf",
        f"{ETC}/foo-@1.socket.d/c.conf",
        f"{ETC}/foo-@.socket.d/d.conf",
        f"{ETC}/foo-.socket.d/e.conf",
        f"{ETC}/foo-.socket.d/a.conf",
        f"{ETC}/foo-bar@2.socket.d/z.conf",
        f"{ETC}/foo.socket.d/z.conf",
        f"{LIB}/foo-bar@1.socket.d/e.conf",
    )
    assert files(tmp_path, "foo-bar@1.socket") == [
        f"{ETC}/foo-bar@.socket",
        f"{ETC}/foo-bar@1.socket.d/a.conf",
        f"{ETC}/foo-bar@.socket.d/b.conf",
        f"{ETC}/foo-@1.socket.d/c.conf",
        f"{ETC}/foo-@.socket.d/d.conf",
        f"{ETC}/foo-.socket.d/e.conf",
    ]


def test_instance_file_wins_over_the_template(tmp_path: Path) -> None:
    put(tmp_path, f"{ETC}/web@.socket", f"{LIB}/web@1.socket")
    assert files(tmp_path, "web@1.socket") == [f"{LIB}/web@1.socket"]
    assert files(tmp_path, "web@a@b.socket") == [f"{ETC}/web@.socket"]
    assert files(tmp_path, "web@.socket") == []


def test_template_names() -> None:
    assert is_template("web@.socket")
    assert not is_template("web@1.socket")
    assert not is_template("web@a@.socket")
    assert not is_template("web.socket")


@pytest.mark.parametrize("mask", ["empty", "/dev/null"])
def test_masks(tmp_path: Path, mask: str) -> None:
    def hide(path: str) -> None:
        if mask == "empty":
            put(tmp_path, path, text="")
        else:
            link(tmp_path, path, mask)

    put(tmp_path, f"{LIB}/web.socket", f"{LIB}/web.socket.d/a.conf")
    hide(f"{ETC}/web.socket.d/a.conf")
    assert files(tmp_path, "web.socket") == [f"{LIB}/web.socket"]
    assert not is_masked(str(tmp_path), "web.socket")
    hide(f"{ETC}/web.socket")
    assert files(tmp_path, "web.socket") == []
    assert is_masked(str(tmp_path), "web.socket")
    assert not is_masked(str(tmp_path), "other.socket")
    hide(f"{ETC}/pool@.socket")
    assert is_masked(str(tmp_path), "pool@1.socket")


@pytest.mark.parametrize(
    "target", ["web.socket", f"/{LIB}/web.socket", "/lib/systemd/system/web.socket"]
)
def test_alias(tmp_path: Path, target: str) -> None:
    link(tmp_path, "lib", "usr/lib")
    put(
        tmp_path,
        f"{LIB}/web.socket",
        f"{LIB}/web.socket.d/a.conf",
        f"{ETC}/www.socket.d/a.conf",
        f"{ETC}/www.socket.d/b.conf",
    )
    link(tmp_path, f"{ETC}/www.socket", target)
    everything = [
        f"{LIB}/web.socket",
        f"{LIB}/web.socket.d/a.conf",
        f"{ETC}/www.socket.d/b.conf",
    ]
    assert find_unit(str(tmp_path), "www.socket")[0] == "web.socket"
    assert files(tmp_path, "www.socket") == everything
    assert files(tmp_path, "web.socket") == everything


def test_a_link_to_the_same_name_is_no_alias(tmp_path: Path) -> None:
    put(tmp_path, f"{LIB}/web.socket")
    link(tmp_path, f"{ETC}/web.socket", f"/{LIB}/web.socket")
    assert find_unit(str(tmp_path), "web.socket")[0] == "web.socket"
    assert files(tmp_path, "web.socket") == [f"{LIB}/web.socket"]


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("www.socket", "web@1.socket"),
        ("www.socket", "web@.socket"),
        ("www@1.socket", "web.socket"),
        ("www@1.socket", "web@2.socket"),
        ("www@1.socket", "web@1.service"),
    ],
)
def test_links_between_units_of_different_kind_are_ignored(
    tmp_path: Path, name: str, target: str
) -> None:
    put(tmp_path, f"{LIB}/{name}", f"{LIB}/{target}")
    link(tmp_path, f"{ETC}/{name}", f"/{LIB}/{target}")
    assert files(tmp_path, name) == [f"{LIB}/{name}"]


def test_alias_of_an_instance_of_a_template(tmp_path: Path) -> None:
    put(tmp_path, f"{LIB}/web@.socket", f"{ETC}/www@1.socket.d/a.conf")
    link(tmp_path, f"{ETC}/www@1.socket", "web@.socket")
    identity, paths = find_unit(str(tmp_path), "www@1.socket")
    assert identity == "web@1.socket"
    assert paths == [f"{tmp_path}/{LIB}/web@.socket", f"{tmp_path}/{ETC}/www@1.socket.d/a.conf"]
    assert files(tmp_path, "web@2.socket") == [f"{LIB}/web@.socket"]


def test_alias_of_a_template(tmp_path: Path) -> None:
    put(tmp_path, f"{ETC}/web@.socket", f"{ETC}/www@7.socket.d/a.conf")
    link(tmp_path, f"{ETC}/www@.socket", "web@.socket")
    assert find_unit(str(tmp_path), "www@7.socket")[0] == "web@7.socket"
    assert files(tmp_path, "web@7.socket") == [
        f"{ETC}/web@.socket",
        f"{ETC}/www@7.socket.d/a.conf",
    ]
    assert files(tmp_path, "web@8.socket") == [f"{ETC}/web@.socket"]


def test_linked_unit_file(tmp_path: Path) -> None:
    put(tmp_path, "srv/units/other.socket")
    link(tmp_path, f"{ETC}/web.socket", "/srv/units/other.socket")
    identity, paths = find_unit(str(tmp_path), "web.socket")
    assert identity == "web.socket"
    assert [Path(path).read_text() for path in paths] == ["[Unit]\n"]


@pytest.mark.parametrize("target", ["web.socket", "loop.socket", "gone.socket", "/gone.socket"])
def test_links_that_lead_nowhere(tmp_path: Path, target: str) -> None:
    link(tmp_path, f"{ETC}/web.socket", target)
    link(tmp_path, f"{ETC}/loop.socket", "web.socket")
    assert find_unit(str(tmp_path), "web.socket") == ("web.socket", [])


def test_dangling_dropin_is_no_dropin(tmp_path: Path) -> None:
    put(tmp_path, f"{ETC}/web.socket", f"{LIB}/web.socket.d/a.conf")
    link(tmp_path, f"{ETC}/web.socket.d/a.conf", "gone")
    assert files(tmp_path, "web.socket") == [f"{ETC}/web.socket"]


def test_state_changes_with_every_change_of_a_file(tmp_path: Path) -> None:
    put(tmp_path, f"{ETC}/web.socket")
    states = [files_state(find_unit(str(tmp_path), "web.socket")[1])]
    assert states[0][0] == 1

    def changed() -> None:
        states.append(files_state(find_unit(str(tmp_path), "web.socket")[1]))
        assert states[-1] not in states[:-1]

    put(tmp_path, f"{LIB}/web.socket.d/a.conf")
    changed()
    put(tmp_path, f"{LIB}/web.socket.d/b.conf")
    changed()
    put(tmp_path, f"{LIB}/web.socket.d/b.conf", text="[Unix]\n")  # as long as before
    changed()
    put(tmp_path, f"{ETC}/web.socket.d/a.conf")
    changed()
    link(tmp_path, f"{ETC}/web.socket.d/b.conf", "/dev/null")
    changed()
    put(tmp_path, "new")
    os.replace(tmp_path / "new", tmp_path / ETC / "web.socket")
    changed()
    (tmp_path / ETC / "web.socket").unlink()
    changed()
    assert files_state([]) == (0, 0, 0, 0)
    assert files_state([f"{tmp_path}/gone"]) == (0, 0, 0, 0)


def test_imports_nothing_but_os() -> None:
    """It is on the start-up path of every companion."""
    program = (
        "import os, sys; before = set(sys.modules); import sockreg.systemd.unitpaths; "
        "print(*sorted(set(sys.modules) - before))"
    )
    result = subprocess.run(
        [sys.executable, "-S", "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(result.stdout.split()) == {
        "__future__",
        "sockreg",
        "sockreg.systemd",
        "sockreg.systemd.unitpaths",
    }


def test_what_changes_is_seen_at_once(tmp_path: Path) -> None:
    """Directories that were looked at before are not read again; none of this may show."""
    put(tmp_path, f"{LIB}/web.socket", f"{LIB}/other.socket")
    link(tmp_path, f"{ETC}/alias.socket", f"/{LIB}/web.socket")
    put(tmp_path, f"{ETC}/alias.socket.d/10-a.conf")

    def settle() -> None:
        time.sleep(0.12)  # until the times of directories tell
        files(tmp_path, "web.socket")

    own, alias = f"{LIB}/web.socket", f"{ETC}/alias.socket.d/10-a.conf"
    settle()
    assert files(tmp_path, "web.socket") == [own, alias]
    put(tmp_path, f"{RUN}/web.socket.d/05-b.conf")  # in a new directory
    assert files(tmp_path, "web.socket") == [own, f"{RUN}/web.socket.d/05-b.conf", alias]
    settle()
    put(tmp_path, f"{RUN}/web.socket.d/06-c.conf")  # in one that is there
    assert files(tmp_path, "web.socket")[1:3] == [
        f"{RUN}/web.socket.d/05-b.conf",
        f"{RUN}/web.socket.d/06-c.conf",
    ]
    settle()
    link(tmp_path, f"{ETC}/new", f"/{LIB}/other.socket")
    (tmp_path / ETC / "new").rename(tmp_path / ETC / "alias.socket")  # leads elsewhere now
    assert alias not in files(tmp_path, "web.socket")
    assert files(tmp_path, "other.socket") == [f"{LIB}/other.socket", alias]
    settle()
    link(tmp_path, f"{ETC}/web.socket", "/dev/null")
    assert is_masked(str(tmp_path), "web.socket")
    settle()
    (tmp_path / ETC / "web.socket").unlink()
    assert files(tmp_path, "web.socket")[0] == own
    settle()
    (tmp_path / RUN).rename(tmp_path / "gone")
    assert files(tmp_path, "web.socket") == [own]


def test_changes_within_one_tick_of_the_clock_are_seen(tmp_path: Path) -> None:
    put(tmp_path, f"{LIB}/one.socket", f"{LIB}/two.socket")
    put(tmp_path, f"{ETC}/alias.socket.d/10-a.conf")
    for turn in range(200):
        unit = ("one.socket", "two.socket")[turn % 2]
        link(tmp_path, f"{ETC}/new", f"/{LIB}/{unit}")
        (tmp_path / ETC / "new").rename(tmp_path / ETC / "alias.socket")
        assert find_unit(str(tmp_path), "alias.socket")[0] == unit
        assert len(files(tmp_path, unit)) == 2


def test_directories_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, *(f"{LIB}/u{number}.socket" for number in range(50)))
    time.sleep(0.12)
    read = []

    def scandir(path: str) -> object:
        read.append(path)
        return scan(path)

    scan = os.scandir
    monkeypatch.setattr(os, "scandir", scandir)
    for number in range(50):
        assert len(files(tmp_path, f"u{number}.socket")) == 1
    assert read == [f"{tmp_path}/{LIB}"]
