"""A typing error in a global option leaves the host as it is: above all, another --root."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sockreg.errors import (
    EXIT_CONFIG,
    EXIT_FAILURE,
    EXIT_KEPT,
    EXIT_NOT_LOADED,
    EXIT_OK,
    EXIT_REFUSED,
    EXIT_USAGE,
)
from tests.kernel.host import Host
from tests.process import run

RULE = "Bind=tcp 192.0.2.0/24 80"
BIND = ["web", "tcp", "192.0.2.0/24", "81"]
WRITING = [
    ["load"],
    ["apply"],
    ["apply", "--check"],
    ["apply", "--confirm", "60"],
    ["apply", "--start", "web.socket"],
    ["apply", "--stop", "web.socket"],
    ["upgrade"],
    ["bind", *BIND],
    ["bind", "--runtime", *BIND],
    ["unbind", "web", "tcp", "192.0.2.0/24", "80"],
]
READING = [
    ["check"],
    ["check", "--files"],
    ["enable", "web.socket"],
    ["disable", "web.socket"],
    ["import", "tubular", "/dev/null"],
    ["install-units"],
    ["uninstall-units"],
]


@pytest.fixture
def served(host: Host) -> Iterator[Host]:
    """A host with one rule in force, and a server that it leads to."""
    host.load("[web]", RULE)
    with host.serve("web", "127.0.0.1", 8080):
        yield host


@pytest.fixture
def left_alone(served: Host) -> Iterator[Host]:
    """The same, and afterwards everything is as before."""
    yield served
    assert served.ask("192.0.2.7", 80) == "web"
    assert [it["rule"] for it in served.json("rules")] == ["tcp 192.0.2.0/24 80"]
    assert served.json("status")["applied"]["status"] == EXIT_OK


def other(host: Host) -> Path:
    """A root with a rule of its own, beside the one of the host."""
    path = host.root / "other"
    (path / "etc/sockreg").mkdir(parents=True)
    (path / "etc/sockreg/a.conf").write_text("[web]\nBind=tcp 192.0.2.0/24 90\n")
    return path


def at(root: Path | str, words: list[str]) -> list[str]:
    return ["--root", str(root), *words]


@pytest.mark.parametrize("words", [*WRITING, *READING], ids=" ".join)
@pytest.mark.parametrize("forced", [False, True])
def test_a_root_that_is_not_there(left_alone: Host, words: list[str], forced: bool) -> None:
    nowhere = left_alone.root / "nowhere"
    force = forced and words[0] in ("load", "apply", "bind", "unbind")
    told = left_alone.fails(EXIT_USAGE, *at(nowhere, [*words, *(["--force"] if force else [])]))
    assert told.startswith(f"sockreg: --root {nowhere}: No such file or directory\n")
    assert not nowhere.exists()


@pytest.mark.parametrize("wrong", ["", "a-file", "gone"])
def test_a_root_that_is_no_directory(left_alone: Host, wrong: str) -> None:
    (left_alone.root / "a-file").write_text("")
    (left_alone.root / "gone").symlink_to("nowhere")
    path = str(left_alone.root / wrong) if wrong else ""
    for words in (["apply"], ["bind", *BIND], ["check"]):
        told = left_alone.fails(EXIT_USAGE, *at(path, words))
        assert told.startswith(f"sockreg: --root {path or repr(path)}: ")


def test_nothing_is_loaded_from_a_root_that_is_not_there(host: Host) -> None:
    host.fails(EXIT_USAGE, *at(host.root / "nowhere", ["load"]))
    assert not host.home.exists()


def test_what_needs_no_configuration_needs_no_root(served: Host) -> None:
    """A registry can be looked at and unloaded after its root has gone."""
    nowhere = served.root / "nowhere"
    for words in (["status"], ["rules"], ["explain", "tcp", "192.0.2.7", "80"]):
        served.ok(*at(nowhere, words))
    served.ok(*at(nowhere, ["unload"]))


@pytest.mark.parametrize("words", WRITING, ids=" ".join)
def test_another_root(left_alone: Host, words: list[str]) -> None:
    elsewhere = other(left_alone)
    before = sorted(elsewhere.rglob("*"))
    told = left_alone.fails(EXIT_REFUSED, *at(elsewhere, words))
    assert told == (
        f"sockreg: --root {elsewhere}: another root than {left_alone.root}, below which the "
        f"rules in force were read\nsockreg: nothing was changed; give --root {left_alone.root}, "
        f"or use 'sockreg --root {elsewhere} apply --force' to put the rules there in force "
        "instead\n"
    )
    assert sorted(elsewhere.rglob("*")) == before


def test_a_check_of_another_root(left_alone: Host) -> None:
    elsewhere = other(left_alone)
    told = left_alone.fails(EXIT_REFUSED, *at(elsewhere, ["check"]))
    assert "or use 'sockreg check --files'" in told
    assert f"{elsewhere}/etc/sockreg/a.conf:2" in left_alone.ok(
        *at(elsewhere, ["check", "--files"])
    )


def test_an_empty_root(left_alone: Host) -> None:
    empty = left_alone.root / "empty"
    empty.mkdir()
    left_alone.fails(EXIT_REFUSED, *at(empty, ["apply"]))
    left_alone.fails(EXIT_REFUSED, *at(empty, ["bind", *BIND]))
    assert not list(empty.iterdir())


def test_what_the_hint_says_changes_the_root(served: Host) -> None:
    elsewhere = other(served)
    served.ok(*at(elsewhere, ["apply", "--check", "--force"]))
    assert served.ask("192.0.2.7", 80) == "web"
    served.ok(*at(elsewhere, ["apply", "--force"]))
    assert (served.ask("192.0.2.7", 80), served.ask("192.0.2.7", 90)) == ("refused", "web")
    # From now on, this is the one.
    served.fails(EXIT_REFUSED, "apply")
    served.ok(*at(elsewhere, ["bind", *BIND]))
    served.ok(*at(elsewhere, ["unbind", *BIND]))
    served.ok("apply", "--force")


def test_a_root_without_rules_is_remembered_too(host: Host) -> None:
    host.load()
    empty = host.root / "empty"
    empty.mkdir()
    host.fails(EXIT_REFUSED, *at(empty, ["apply"]))
    host.ok(*at(empty, ["apply", "--force"]))
    host.fails(EXIT_REFUSED, "apply")


def test_the_root_of_the_generation_that_comes_back(served: Host) -> None:
    served.ok(*at(other(served), ["apply", "--force"]))
    served.ok("rollback")
    assert "nothing to change" in served.ok("apply")


def test_a_trial_with_another_root(served: Host) -> None:
    elsewhere = other(served)
    served.ok(*at(elsewhere, ["apply", "--confirm", "60", "--force"]))
    assert served.ask("192.0.2.7", 90) == "web"
    served.ok("rollback")


def test_the_last_apply_of_the_configured_rules_is_none_of_another_root(served: Host) -> None:
    for root in (served.root / "nowhere", other(served)):
        served.fails(EXIT_KEPT, *at(root, ["load", "--units"]))
        assert served.json("status")["applied"]["status"] == EXIT_OK
    served.conf("nonsense", name="wrong.conf")
    served.fails(EXIT_CONFIG, "apply")
    assert served.json("status")["applied"]["status"] == EXIT_CONFIG


def test_the_same_root_by_other_names(left_alone: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    link = left_alone.root.with_name(f"{left_alone.root.name}-link")
    link.symlink_to(left_alone.root)
    monkeypatch.chdir(left_alone.root.parent)
    root = left_alone.root
    for name in (link, f"{root}/", f"{root}/etc/..", root.name, f"{link}/."):
        assert "rules are sound" in left_alone.ok(*at(name, ["apply", "--check"]))
        left_alone.ok(*at(name, ["bind", *BIND]))
        assert left_alone.ask("192.0.2.7", 81) == "web"
        left_alone.ok(*at(name, ["unbind", *BIND]))
    monkeypatch.chdir(left_alone.root)
    left_alone.ok(*at(".", ["apply"]))


def test_a_relative_root_is_kept_whole(
    host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A rule's place is found from everywhere, and so are the files of a trial that ends."""
    monkeypatch.chdir(host.root.parent)
    host.conf("[web]", RULE)
    host.ok(*at(host.root.name, ["load"]))
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    (rule,) = host.json("rules")
    assert rule["file"] == str(host.root / "etc/sockreg/rules.conf")


def test_a_tree_that_was_replaced(served: Host) -> None:
    """As a deployment does it: a new directory takes the place of the old one."""
    served.root.joinpath("etc").rename(served.root / "old")
    root = served.root / "deployed"
    for number in (1, 2):
        new = served.root / f"new{number}"
        (new / "etc/sockreg").mkdir(parents=True)
        (new / "etc/sockreg/a.conf").write_text(f"[web]\nBind=tcp 192.0.2.0/24 {90 + number}\n")
        if root.exists():
            root.rename(served.root / "before")
        new.rename(root)
        served.ok(*at(root, ["apply", *(["--force"] if number == 1 else [])]))
        assert served.ask("192.0.2.7", 90 + number) == "web"
    served.conf("[web]", RULE)
    served.ok("apply", "--force")


def test_a_root_that_is_not_mounted(served: Host) -> None:
    """Below the mount point is a directory as well, and an empty one."""
    root = served.root / "mounted"
    root.mkdir()
    run(["mount", "-t", "tmpfs", "tmpfs", str(root)])
    try:
        (root / "etc/sockreg").mkdir(parents=True)
        (root / "etc/sockreg/a.conf").write_text(f"[web]\n{RULE}\n")
        served.ok(*at(root, ["apply", "--force"]))
    finally:
        run(["umount", str(root)])
    told = served.fails(EXIT_REFUSED, *at(root, ["apply"]))
    assert f"--root {root}: another directory than the one below which" in told
    served.fails(EXIT_REFUSED, *at(root, ["bind", *BIND]))
    assert not list(root.iterdir())


@pytest.mark.parametrize("missing", [False, True])
def test_files_that_are_not_mounted(served: Host, missing: bool) -> None:
    etc = served.root / "etc"
    etc.rename(served.root / "saved")
    if not missing:
        etc.mkdir()
    for words in WRITING[:4]:
        told = served.fails(EXIT_REFUSED, *words)
        assert told.startswith(f"sockreg: {etc}: missing or empty, but rules in force were read ")
    assert served.ask("192.0.2.7", 80) == "web"
    served.ok("apply", "--force")
    assert served.ask("192.0.2.7", 80) == "refused"
    served.conf("[web]", RULE)
    served.ok("apply")


def test_rules_that_are_gone_are_gone(served: Host) -> None:
    """Removing the last file is no typing error."""
    (served.root / "etc/sockreg/rules.conf").unlink()
    served.ok("apply")
    assert served.ask("192.0.2.7", 80) == "refused"
    served.conf("[web]", RULE)
    served.ok("apply")


def test_a_chroot_sees_another_root(served: Host) -> None:
    """Its / is not the one of the host, whatever it is called."""
    from sockreg.guards import root

    here = root.root_of("/")
    assert root.same(here, here)
    assert not root.same(here, here._replace(inode=here.inode + 1))


@pytest.mark.parametrize("option", ["--bpffs", "--netns"])
def test_other_global_options(left_alone: Host, option: str, tmp_path: Path) -> None:
    """Nothing takes the place of a value that is empty or wrong."""
    assert left_alone.run(option, "", "apply").status == EXIT_USAGE
    assert left_alone.run(option, str(tmp_path / "nowhere"), "load").status in (
        EXIT_USAGE,
        EXIT_FAILURE,
    )
    (tmp_path / "file").write_text("")
    assert left_alone.run(option, str(tmp_path / "file"), "load").status in (
        EXIT_USAGE,
        EXIT_FAILURE,
    )
    os.mkdir(tmp_path / "dir")
    assert left_alone.run(option, str(tmp_path / "dir"), "apply").status in (
        EXIT_USAGE,
        EXIT_FAILURE,
        EXIT_NOT_LOADED,
    )
    assert not list((tmp_path / "dir").iterdir())


def test_a_second_registry_does_not_win(left_alone: Host) -> None:
    """Another directory of the same bpffs would get a registry without sockets."""
    (left_alone.bpffs / "typo").mkdir()
    left_alone.fails(EXIT_REFUSED, "--bpffs", str(left_alone.bpffs / "typo"), "load", "--force")
