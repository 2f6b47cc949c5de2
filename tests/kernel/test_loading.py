"""What load needs, whom it makes way for, and the sentence when it cannot."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sockreg import shipped
from sockreg.errors import (
    EXIT_BUSY,
    EXIT_FAILURE,
    EXIT_INTERRUPTED,
    EXIT_NOT_LOADED,
    EXIT_OK,
    EXIT_PERMISSION,
    EXIT_REFUSED,
)
from sockreg.host import cgroup
from sockreg.kernel import libbpf
from sockreg.kernel.object_source import SOURCES
from tests import tree
from tests.kernel.host import Host
from tests.linux import mount, umount
from tests.netns import bpffs
from tests.process import run
from tests.tree import ROOT

WEB = ["[web]", "Bind=tcp 192.0.2.0/24 80"]


def nothing_there(host: Host) -> bool:
    """Neither attached nor pinned."""
    return not libbpf.attached_programs(host.namespace.fd) and not list(host.home.glob("*"))


# The object


@pytest.fixture
def shipped_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the object in the place of the shipped one, to be damaged."""
    copy = tmp_path / "shipped.bpf.o"
    copy.write_bytes(shipped.object_path().read_bytes())
    monkeypatch.setattr(shipped, "object_path", lambda: copy)
    return copy


def test_an_object_damaged_in_any_byte_is_refused(host: Host, shipped_object: Path) -> None:
    good = shipped_object.read_bytes()
    random_source = random.Random(1)
    for _ in range(200):
        damaged = bytearray(good)
        damaged[random_source.randrange(len(good))] ^= 1 << random_source.randrange(8)
        shipped_object.write_bytes(damaged)
        said = host.fails(EXIT_FAILURE, "load")
        assert said.startswith(f"sockreg: {shipped_object} ")
        assert "reinstall sockreg" in said
        assert len(said.splitlines()) == 2
    assert nothing_there(host)
    shipped_object.write_bytes(good)
    host.ok("load")


def test_a_truncated_object_is_refused(host: Host, shipped_object: Path) -> None:
    good = shipped_object.read_bytes()
    for length in (0, 1, 63, 64, 4096, len(good) // 2, len(good) - 1):
        shipped_object.write_bytes(good[:length])
        assert f"{shipped_object} is not an object of sockreg: " in host.fails(EXIT_FAILURE, "load")
    assert nothing_there(host)


def test_a_damaged_object_does_not_hurt_what_is_in_force(host: Host, shipped_object: Path) -> None:
    good = shipped_object.read_bytes()
    host.load(*WEB)
    middle = len(good) // 2
    shipped_object.write_bytes(good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :])
    with host.serve("web", "127.0.0.1", 8080):
        host.conf("[web]", "Bind=tcp 192.0.2.0/24 81")
        for verb in ("load", "apply", "upgrade"):
            assert f"{shipped_object} is damaged" in host.fails(EXIT_FAILURE, verb)
        assert host.ask("192.0.2.7", 80) == "web"


def replaced(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert content.count(old) == 1
    assert len(old) == len(new)
    path.write_bytes(content.replace(old, new))


def test_an_object_of_another_version(host: Host, shipped_object: Path) -> None:
    source = SOURCES["sockreg.bpf.o"]
    replaced(shipped_object, source.encode(), b"0" * 64)
    said = host.fails(EXIT_FAILURE, "load")
    assert f"was built from other sources (hash 000000000000, not {source[:12]})" in said


def test_an_object_of_another_licence(host: Host, shipped_object: Path) -> None:
    replaced(shipped_object, b"Dual MIT/GPL\0", b"Proprietary!\0")
    said = host.fails(EXIT_FAILURE, "load")
    assert "has licence 'Proprietary!', not 'Dual MIT/GPL'" in said


def test_not_an_object_at_all(host: Host) -> None:
    assert "is missing" in host.fails(EXIT_FAILURE, "--object", "/nowhere.o", "load")
    for path, reason in ((sys.executable, "it is for machine"), ("/etc/passwd", "Magic number")):
        said = host.fails(EXIT_FAILURE, "--object", path, "load")
        assert f"{path} is not an object of sockreg: {reason}" in said
    assert nothing_there(host)


def test_an_own_build_may_be_given(host: Host, tmp_path: Path) -> None:
    """Built by another compiler the bytes differ; a byte behind the end stands for that."""
    own = tmp_path / "own.o"
    own.write_bytes(shipped.object_path().read_bytes() + b"\0")
    host.conf(*WEB)
    host.ok("--object", str(own), "load")
    assert host.ask("192.0.2.7", 80) == "refused"


# Others in the same network namespace


def test_counters_of_another_version_are_refused(host: Host) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    pin = host.registry / "counters"
    pin.unlink()
    layout_of_tomorrow = ("type", "percpu_array", "key", "4", "value", "24", "entries", "1024")
    run(["bpftool", "map", "create", str(pin), *layout_of_tomorrow, "name", "counters"])
    host.conf("[web]", "Bind=tcp 192.0.2.0/24 81")
    for arguments in (["status"], ["apply"]):
        said = host.fails(EXIT_REFUSED, *arguments)
        assert f"{pin} is not a map of this version of sockreg" in said
    host.ok("unload")
    host.ok("load")


def test_a_registry_of_another_version_is_refused_and_can_be_started_anew(host: Host) -> None:
    """Its records have another size: reading them would show nonsense, writing would harm."""
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    pin = host.registry / "members"
    pin.unlink()
    layout_of_tomorrow = ("type", "hash", "key", "16", "value", "296", "entries", "9")
    run(["bpftool", "map", "create", str(pin), *layout_of_tomorrow, "name", "members"])
    with host.namespace.listen("127.0.0.1", 8080) as listener:
        for arguments in (["status"], ["apply"], ["explain", "tcp", "192.0.2.7", "80"]):
            said = host.fails(EXIT_REFUSED, *arguments)
            assert f"{pin} is not a map of this version of sockreg" in said
        refused = host.register([("web", listener)])
        assert refused.status == EXIT_REFUSED
        assert "another version" in refused.err
        host.ok("unload")
        host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
        assert host.register([("web", listener)]).status == EXIT_OK


def test_a_second_registry_in_one_namespace_is_refused(host: Host) -> None:
    host.load(*WEB)
    before = libbpf.attached_programs(host.namespace.fd)
    with bpffs() as elsewhere:
        said = host.fails(EXIT_REFUSED, "--bpffs", str(elsewhere), "load")
        assert f"program {before[0]} of another registry is attached" in said
        assert "unload it with the --bpffs it was loaded with" in said
        assert not list((elsewhere / "sockreg").iterdir())
    assert libbpf.attached_programs(host.namespace.fd) == before


def test_a_registry_that_lost_its_link_makes_way_for_another(host: Host) -> None:
    """As a crash of load leaves it: loading would attach a second program of ours."""
    host.load(*WEB)
    (host.registry / "link").unlink()
    assert "nothing: no program of this registry is attached" in host.ok("status")
    with bpffs() as elsewhere:
        host.ok("--bpffs", str(elsewhere), "load")
        assert "of another registry is attached" in host.fails(EXIT_REFUSED, "load")
        host.ok("--bpffs", str(elsewhere), "unload")
    host.ok("load")
    assert len(libbpf.attached_programs(host.namespace.fd)) == 1


# The bpffs


def test_no_bpffs(host: Host, tmp_path: Path) -> None:
    said = host.fails(EXIT_FAILURE, "--bpffs", "/nowhere", "load")
    assert "/nowhere does not exist" in said
    assert "mount -t bpf -o mode=0700 bpf /nowhere" in said
    said = host.fails(EXIT_FAILURE, "--bpffs", str(tmp_path), "load")
    assert f"{tmp_path} is not a bpffs" in said
    assert "mount -t bpf" in said
    said = host.fails(EXIT_FAILURE, "--bpffs", "/etc/passwd", "load")
    assert "/etc/passwd" in said


def test_a_directory_inside_a_bpffs_will_do(host: Host) -> None:
    inside = host.bpffs / "inside"
    inside.mkdir()
    host.conf(*WEB)
    host.ok("--bpffs", str(inside), "load")
    assert host.ask("192.0.2.7", 80) == "refused"
    host.ok("--bpffs", str(inside), "unload")


def test_a_mount_whose_name_is_not_utf_8(host: Host, tmp_path: Path) -> None:
    other = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    Path(other).mkdir()
    with bpffs():  # in a mount namespace of this process
        mount("none", other, "tmpfs")
        try:
            assert os.path.isdir(cgroup.root())
            host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
        finally:
            umount(other)


def test_pins_are_for_the_owner_and_the_group(host: Host) -> None:
    host.load(*WEB)
    host.apply()
    for path in host.home.rglob("*"):
        private = path.name in ("copy_socket", "link", "program")
        usual = 0o750 if path.is_dir() else 0o600 if private else 0o640
        mode = {"generations": 0o710, "lock": 0o700}.get(path.name, usual)
        assert path.stat().st_mode & 0o777 == mode, path


def test_a_kernel_without_the_hook(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before Linux 5.9 the query for the hook's programs is an invalid argument."""
    number = errno.EINVAL

    def attached_programs(netns_fd: int) -> list[int]:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(libbpf, "attached_programs", attached_programs)
    host.conf(*WEB)
    said = host.fails(EXIT_FAILURE, "load")
    assert "this kernel has no sk_lookup hook: Invalid argument" in said
    assert "it needs Linux 5.9" in said
    number = errno.ENOMEM
    said = host.fails(EXIT_FAILURE, "load")
    assert "cannot list the attached programs: Cannot allocate memory" in said
    assert "Linux 5.9" not in said
    assert not list(host.home.iterdir())


# Privileges

NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all"]


def as_nobody(host: Host, *arguments: str) -> tuple[int, str]:
    """Run a command as nobody, with an interpreter and modules that nobody may read."""
    script = (
        "import sys; sys.path[:0] = sys.argv.pop(1).split(':'); "
        "from sockreg.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    options = ["--bpffs", str(host.bpffs), "--root", str(host.root)]
    with host.namespace.entered():
        done = subprocess.run(
            [*NOBODY, "/usr/bin/python3", "-c", script, str(tree.public()), *options, *arguments],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stderr


def test_without_privileges(host: Host) -> None:
    host.conf(*WEB)
    host.bpffs.chmod(0o755)
    for part in (host.root, *host.root.parents):
        if part.is_relative_to("/tmp") and part != Path("/tmp"):
            part.chmod(part.stat().st_mode | 0o055)
    status, said = as_nobody(host, "load")
    assert status == EXIT_PERMISSION, said
    assert "this process has no CAP_BPF and no CAP_NET_ADMIN and no CAP_PERFMON" in said
    host.ok("load")
    for arguments in (["load"], ["apply"], ["status"], ["rules"], ["unload"],
                      ["unregister", "web"]):  # fmt: skip
        status, said = as_nobody(host, *arguments)
        assert status == EXIT_PERMISSION, (arguments, said)
        assert "root" in said
    host.bpffs.chmod(0o700)  # as systemd mounts it
    for arguments in (["load"], ["status"], ["unload"]):
        status, said = as_nobody(host, *arguments)
        assert status == EXIT_PERMISSION, (arguments, said)
    status, said = as_nobody(host, "--netns", "/proc/1/ns/net", "status")
    assert status == EXIT_PERMISSION, said
    assert host.ask("192.0.2.7", 80) == "refused"


# The lock


def test_a_lock_that_is_held_is_told_with_its_holder(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.load(*WEB)
    monkeypatch.setattr("sockreg.registry.locks.PATIENCE", 0.05)
    monkeypatch.setattr("sockreg.commands.unregister.REGISTRATION_PATIENCE", 0.05)
    busy = "echo held; read line"
    for locked, arguments in (
        (host.registry / "generations", ["apply"]),
        (host.registry / "generations", ["unload"]),
        (host.registry / "lock", ["unregister", "web"]),
        (host.home, ["unload"]),
    ):
        with subprocess.Popen(
            ["flock", str(locked), "sh", "-c", busy],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        ) as holder:  # fmt: skip
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            said = host.fails(EXIT_BUSY, *arguments)
            assert (
                f"{str(locked).removesuffix('/lock')} has been locked by flock (pid {holder.pid}) "
                "for more than 0.05 s" in said
            )
            assert "wait for it to end and try again" in said
            assert host.run("status").status == EXIT_OK
            assert host.run("rules").status == EXIT_OK
            holder.communicate("\n")
    host.ok("apply")


def test_an_interrupted_wait_ends_quietly(host: Host) -> None:
    host.load(*WEB)
    generations = host.registry / "generations"
    with (
        subprocess.Popen(
            ["flock", str(generations), "sh", "-c", "echo held; read line"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        ) as holder,
        subprocess.Popen(
            host.command("apply"), stderr=subprocess.PIPE, text=True, cwd=ROOT
        ) as waiting,
    ):  # fmt: skip
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        wait_until(lambda: has_open(waiting.pid, generations))
        waiting.send_signal(signal.SIGINT)
        assert waiting.communicate(timeout=30)[1] == ""
        assert waiting.returncode == EXIT_INTERRUPTED
        holder.communicate("\n")
    assert host.json("status")["generation"] == 1


def has_open(pid: int, path: Path) -> bool:
    fds = Path(f"/proc/{pid}/fd")
    with contextlib.suppress(FileNotFoundError):
        return str(path) in [os.readlink(fd) for fd in fds.iterdir()]
    return False


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# Out of force for a time


def test_unload_keep_is_undone_by_load_alone(host: Host) -> None:
    """Sockets come and go meanwhile, and the counters go on."""
    host.load(*WEB, "Bind=tcp 192.0.2.0/24 81", "[more]", "Bind=tcp 192.0.2.0/24 82")
    with host.serve("web", "127.0.0.1", 8080), host.serve("more", "127.0.0.1", 8082) as more:
        assert host.ask("192.0.2.7", 80) == "web"
        before = host.counters("web")
        assert "keeps the registered sockets" in host.ok("unload", "--keep")
        assert "was detached before" in host.ok("unload", "--keep")
        assert [host.ask("192.0.2.7", port) for port in (80, 82)] == ["refused"] * 2
        for command in (
            ["apply"],
            ["upgrade"],
            ["rollback"],
            ["apply", "--confirm", "60"],
            ["bind", "web", "tcp", "192.0.2.0/24", "83"],
        ):
            assert "nothing is in force" in host.fails(EXIT_NOT_LOADED, *command)
        assert "in force    nothing" in host.ok("status")
        assert host.ask("192.0.2.7", 80) == "refused"
        more.close()
        with host.serve("more", "127.0.0.1", 8083):
            host.ok("load")
            assert [host.ask("192.0.2.7", port) for port in (80, 81, 82, 83)] == [
                "web",
                "web",
                "more",
                "refused",
            ]
        assert host.counters("web")[0] == before[0] + 2
    host.ok("unload", "--keep")
    host.ok("unload")
    assert nothing_there(host)
