"""Readers read: what the group, a registrar and nobody can do with pins and locks."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sockreg.errors import EXIT_OK
from sockreg.registry import access
from tests import tree
from tests.kernel.host import Host
from tests.process import run

READER, STRANGER = "65534", "65502"
RULES = ["[web]", "Bind=tcp 192.0.2.0/24 80", "[other]", "Bind=tcp 192.0.2.0/24 81"]
LOOKS = ["MAP_LOOKUP_ELEM", "MAP_GET_NEXT_KEY", "OBJ_GET_INFO_BY_FD", "MAP_LOOKUP_BATCH"]
PROGRAMS = {"copy_socket", "link", "program"}


@dataclass(frozen=True)
class Walk:
    """What one walk over the pins could do; see walk.py."""

    pins: dict[str, dict[str, list[str]]]
    by_id: dict[str, str]
    locks: dict[str, list[str]]
    made: list[str]
    removed: list[str]


@pytest.fixture
def full(host: Host, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host that has every pin: two generations, a pool, a trial, sock_ops."""
    monkeypatch.setattr(access, "GROUP", "nogroup")
    host.bpffs.chmod(0o711)
    host.load(*RULES)
    host.ok("load", "--sock-ops")
    host.conf(*RULES, "Bind=tcp 192.0.2.9 90")
    host.ok("apply", "--confirm", "300")
    return host


@contextlib.contextmanager
def walking(host: Host, user: str, group: str, *, also: Sequence[Path] = ()) -> Iterator[Walk]:
    """The walk of a user without privileges, which holds its locks until the block ends.

    ``also`` are directories besides those of the registry.
    """
    paths = [host.home, *sorted(host.home.rglob("*")), *also]
    script = tree.public() / "tests/kernel/walk.py"
    own = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"]
    command = [*own, "--bounding-set=-all", "/usr/bin/python3", "-I", "-S", str(script)]
    with subprocess.Popen(
        [*command, *map(str, paths)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        found: dict[str, Any] = json.loads(process.stdout.readline())
        found = {name.replace(" ", "_"): value for name, value in found.items()}
        yield Walk(**found)
        process.stdin.close()


def state(host: Host) -> Any:
    """What the registry has."""
    shown = host.json("status")
    return [shown["generation"], shown["destinations"], host.json("rules")]


def test_a_reader_reads_maps_and_nothing_else(full: Host) -> None:
    with full.serve("web", "127.0.0.1", 8080), full.serve("other", "127.0.0.1", 8081):
        before = state(full)
        with walking(full, READER, "nogroup") as walk:
            assert state(full) == before
            for path, modes in walk.pins.items():
                name = Path(path).name
                if name in PROGRAMS:
                    assert modes == {}, path
                else:
                    assert set(modes) == {"r"}, path
                    assert set(modes["r"]) <= {*LOOKS, "mmap read"}, (path, modes)
                    assert "OBJ_GET_INFO_BY_FD" in modes["r"], path
            assert set(walk.by_id.values()) == {"EPERM"}
            assert walk.made == []
            assert walk.removed == []
            # They hold what locks they can get, and it stops nobody.
            assert walk.locks[str(full.registry)] == ["exclusive", "record read", "shared"]
            for closed in full.home, full.registry / "generations", full.registry / "lock":
                assert walk.locks[str(closed)] == []
            full.ok("apply")
            full.ok("bind", "web", "tcp", "192.0.2.8", "88")
            full.ok("load", "--sock-ops")
            full.ok("confirm")
            full.ok("unregister", "other")
            full.ok("unload")


def test_reads_what_readers_need(full: Host) -> None:
    """The walk above would find nothing if it could open nothing."""
    with (
        full.serve("web", "127.0.0.1", 8080),
        walking(full, READER, "nogroup") as walk,
    ):
        found = {
            Path(path).name: set(modes.get("r", ())) & {*LOOKS, "mmap read"}
            for path, modes in walk.pins.items()
        }
        found.pop("1", None)
        for name in PROGRAMS:
            assert found.pop(name) == set()
        assert all("OBJ_GET_INFO_BY_FD" in done for done in found.values()), found
        assert {"MAP_LOOKUP_ELEM", "MAP_GET_NEXT_KEY"} <= found["counters"]
        assert sorted(found) == [
            *("counters", "destinations", "expected", "members", "pools", "published"),
            *("rules", "sockets", "table", "units"),
        ]


@pytest.mark.parametrize(
    ("user", "group"), [(STRANGER, "daemon"), (STRANGER, "65503")], ids=["registrar", "nobody"]
)
def test_others_open_nothing(full: Host, user: str, group: str) -> None:
    """Who may connect to the receiver has no right to pins either."""
    with walking(full, user, group) as walk:
        assert all(modes == {} for modes in walk.pins.values()), walk.pins
        assert all(held == [] for held in walk.locks.values()), walk.locks
        assert walk.made == walk.removed == []
        assert set(walk.by_id.values()) == {"EPERM"}
        full.ok("apply")


@pytest.mark.parametrize("command", ["load", "upgrade", "apply"])
def test_permissions_that_an_earlier_version_gave_are_taken_away(full: Host, command: str) -> None:
    def modes() -> dict[Path, int]:
        return {path: path.stat().st_mode for path in [full.home, *full.home.rglob("*")]}

    full.ok("confirm")
    (full.registry / "lock").rmdir()
    for path in modes():
        path.chmod(0o777 if path.is_dir() else 0o666)
    full.ok(command)
    for path, mode in modes().items():
        name, closed = path.name, path.name in PROGRAMS
        usual = 0o750 if path.is_dir() else 0o600 if closed else 0o640
        most = {"sockreg": 0o710, "generations": 0o710, "lock": 0o700}.get(name, usual)
        assert mode & 0o777 & ~most == 0, path
    with walking(full, READER, "nogroup") as walk:
        assert all(set(modes) <= {"r"} for modes in walk.pins.values())


def test_two_registrars_take_turns_also_before_the_registry_has_its_lock(full: Host) -> None:
    """A unit that may not write to the bpffs locks the registry of an earlier version itself."""
    lock = full.registry / "lock"
    lock.rmdir()
    with full.namespace.serve("web", "127.0.0.1", 8080) as server:
        read_only = ["unshare", "-m", "sh", "-c"]
        remount = f"mount --bind {full.bpffs} {full.bpffs}; mount -o remount,ro,bind {full.bpffs};"
        done = full.process(
            "register", "--unit", "web.socket",
            sockets=[("web", server.sock)],
            prefix=[*read_only, f'{remount} exec "$@"', "sh"],
        )  # fmt: skip
        assert done.status == EXIT_OK, done.text
        assert not lock.exists()
        assert full.ask("192.0.2.7", 80) == "web"


def test_what_lets_readers_write_is_found(
    full: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is as the page says: with a bpffs of everybody, a reader writes. The fixes end it."""
    setting = tmp_path / "unprivileged_bpf_disabled"
    setting.write_text("2\n")
    monkeypatch.setattr(access, "UNPRIVILEGED", str(setting))

    def found() -> list[Any]:
        return [it for it in json.loads(full.run("--json", "check").out)["findings"]
                if it["check"] == "readers-can-write"]  # fmt: skip

    assert found() == []
    setting.write_text("0\n")
    (finding,) = found()
    assert finding["fix"] == "sysctl -w kernel.unprivileged_bpf_disabled=2"
    setting.write_text("2\n")
    other = Path(tempfile.mkdtemp(prefix="sockreg-open-", dir="/tmp"))
    run(["mount", "-t", "bpf", "bpf", str(other)])
    try:
        (finding,) = found()
        assert str(other) in finding["what"]
        with walking(full, READER, "nogroup", also=[other]) as walk:
            done = {name for modes in walk.pins.values() for name in modes.get("r", ())}
            assert f"OBJ_PIN in {other.name}" in done
        (other / "another").unlink()
        run(finding["fix"].split())
        assert found() == []
        with walking(full, READER, "nogroup", also=[other]) as walk:
            done = {name for modes in walk.pins.values() for name in modes.get("r", ())}
            assert f"OBJ_PIN in {other.name}" not in done
    finally:
        run(["umount", str(other)])
        other.rmdir()
