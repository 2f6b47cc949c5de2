"""Files and directories that decide are root's own, and files; others are refused or left out."""

from __future__ import annotations

import os
import stat
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from sockreg import shipped, trust
from sockreg.errors import EXIT_CONFIG, EXIT_FAILURE, EXIT_OK, EXIT_PARTLY, EXIT_REFUSED
from tests import tree
from tests.kernel.host import Host
from tests.process import run

WEB = ["[web]", "Bind=tcp 192.0.2.0/24 80"]
BOB = 65501
SECRET = "root:$y$j9T$very-secret:20000:0:99999:7:::"  # it must not be shown

Spoil = Callable[[Path], None]


def owned(path: Path) -> None:
    os.chown(path, BOB, -1)


def writable(path: Path) -> None:
    path.chmod(0o666)


def by_a_group(path: Path) -> None:
    os.chown(path, -1, BOB)
    path.chmod(0o664)


def by_a_list(path: Path) -> None:
    """An access list: the bits of the group are then its mask (acl(5))."""
    entries = [(1, 6, -1), (2, 6, BOB), (4, 4, -1), (16, 6, -1), (32, 4, -1)]
    packed = [struct.pack("<HHi", *entry) for entry in entries]
    os.setxattr(path, "system.posix_acl_access", struct.pack("<I", 2) + b"".join(packed))


def in_a_directory_of_others(path: Path) -> None:
    os.chown(path.parent, BOB, -1)


def in_a_writable_directory(path: Path) -> None:
    path.parent.chmod(0o1777)


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    path.unlink()
    os.mknod(path, stat.S_IFSOCK | 0o644)


def device(path: Path) -> None:
    path.unlink()
    os.mknod(path, stat.S_IFCHR | 0o644, os.makedev(1, 5))


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def to_nowhere(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def to_a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path.parent / "fifo")
    path.symlink_to("fifo")


def to_a_secret(path: Path) -> None:
    path.unlink()
    secret = path.parent / "shadow"
    secret.write_text(f"{SECRET}\n")
    secret.chmod(0o640)
    path.symlink_to("shadow")


def through_a_directory_of_others(path: Path) -> None:
    home = path.parent / "home"
    home.mkdir()
    path.rename(home / "rules.conf")
    os.chown(home, BOB, -1)
    path.symlink_to("home/rules.conf")


def link_of_others(path: Path) -> None:
    path.rename(path.parent / "mine")
    path.symlink_to("mine")
    os.chown(path, BOB, -1, follow_symlinks=False)


SPOILS: dict[Spoil, str] = {
    owned: f"belongs to user {BOB}: 'chown root ",
    writable: "can be written by everybody: 'chmod go-w ",
    by_a_group: f"can be written by group {BOB}: 'chmod go-w ",
    by_a_list: "can be written by group 0: 'chmod go-w ",
    in_a_directory_of_others: f"belongs to user {BOB}: 'chown root ",
    in_a_writable_directory: "can be written by everybody: 'chmod go-w ",
    fifo: "is a FIFO, not a file",
    unix_socket: "is a socket, not a file",
    device: "is a device, not a file",
    directory: "cannot be read: Is a directory",
    to_nowhere: "cannot be read: No such file or directory",
    to_a_fifo: "which is a FIFO, not a file",
    to_a_secret: "which not everybody may read",
    through_a_directory_of_others: f"belongs to user {BOB}: 'chown root ",
    link_of_others: f"belongs to user {BOB}: 'chown root ",
}


@pytest.mark.parametrize("spoil", SPOILS, ids=lambda it: it.__name__)
def test_a_wrong_file_costs_its_own_rules(host: Host, spoil: Spoil) -> None:
    """It is refused where it is new, said where it was, and leaves the others in force."""
    host.conf("[other]", "Bind=tcp 192.0.2.0/24 81", name="a.conf")
    wrong = host.conf(*WEB)
    host.load(*WEB)
    with host.serve("web", "127.0.0.1", 8080):
        spoil(wrong)
        done = host.run("apply")
        assert done.status in (EXIT_CONFIG, EXIT_PARTLY), done.text
        assert SPOILS[spoil] in done.err, done.err
        assert SECRET not in done.text
        assert "very-secret" not in str(host.entries())
        assert host.ask("192.0.2.7", 80) == "web"
        assert SPOILS[spoil].partition(":")[0] in host.run("check").text
        host.ok("unload")
        booted = host.run("load")
        assert booted.status in (EXIT_OK, EXIT_PARTLY, EXIT_CONFIG), booted.text
        assert SPOILS[spoil] in booted.text, booted.text
        assert "very-secret" not in booted.text + str(host.entries())
        rules = [rule["label"] for rule in host.json("rules")]
        assert "web" not in rules


@pytest.mark.parametrize("mode", [0o1777, 0o777, 0o770])
def test_a_bpffs_that_others_may_write_is_refused(host: Host, mode: int) -> None:
    host.conf(*WEB)
    host.bpffs.chmod(mode)
    os.chown(host.bpffs, 0, BOB)
    said = host.fails(EXIT_REFUSED, "load")
    assert f"'chmod go-w {host.bpffs}'" in said
    assert not host.home.exists()
    run(["chmod", "go-w", str(host.bpffs)])
    host.ok("load")


def test_a_directory_that_others_made_is_refused(host: Host) -> None:
    host.conf(*WEB)
    host.bpffs.chmod(0o1777)
    host.home.mkdir()
    os.chown(host.home, BOB, BOB)
    host.bpffs.chmod(0o755)
    said = host.fails(EXIT_REFUSED, "load")
    assert f"{host.home} belongs to user {BOB}" in said
    host.home.rmdir()
    host.ok("load")
    os.chown(host.registry, BOB, BOB)
    for command in (["apply"], ["status"], ["unregister", "web"]):
        assert f"belongs to user {BOB}" in host.fails(EXIT_REFUSED, *command)


def test_the_mount_that_is_hinted_is_taken(host: Host) -> None:
    """The mode of the hint; without one, everybody may make directories."""
    host.conf(*WEB)
    other = host.root / "other"
    other.mkdir()
    said = host.fails(EXIT_FAILURE, "--bpffs", str(other), "load")
    command = said.partition("'")[2].partition("'")[0]
    assert command.startswith("mount -t bpf -o mode=0700 ")
    run(command.split())
    try:
        assert other.stat().st_mode & 0o777 == 0o700
        host.ok("--bpffs", str(other), "load")
        host.ok("--bpffs", str(other), "unload")
    finally:
        run(["umount", str(other)])


def test_an_object_that_others_may_write_is_refused(host: Host, tmp_path: Path) -> None:
    if os.stat(shipped.PACKAGE).st_uid != 0:
        pytest.skip("the tree is not root's: its owner could write the code, too")
    host.conf(*WEB)
    path = tmp_path / "sockreg.bpf.o"
    path.write_bytes(shipped.object_path().read_bytes())
    path.chmod(0o666)
    said = host.fails(EXIT_FAILURE, "--object", str(path), "load")
    assert "can be written by everybody" in said
    path.chmod(0o644)
    host.ok("--object", str(path), "load")


@pytest.mark.parametrize("spoil", [owned, writable, fifo, to_a_secret], ids=lambda it: it.__name__)
def test_a_wrong_file_of_the_state_is_said_and_not_read(host: Host, spoil: Spoil) -> None:
    state = host.root / "state"
    state.mkdir(mode=0o700)
    host.conf(*WEB)
    host.ok("load", "--state", str(state))
    host.ok("unload")
    spoil(state / "rules")
    host.conf("[web]", "Bind=tcp nonsense 80")
    booted = host.run("load", "--state", str(state))
    assert "the rules that were last in force are not known" in booted.text, booted.text
    assert SPOILS[spoil] in booted.text, booted.text
    assert host.json("rules") == []


def test_masks_and_links_of_root_are_taken(host: Host) -> None:
    host.conf(*WEB, name="a.conf")
    host.conf("[other]", "Bind=tcp 192.0.2.0/24 81", name="b.conf")
    etc = host.root / "etc/sockreg"
    shared = host.root / "usr/share/rules"
    shared.mkdir(parents=True)
    (etc / "a.conf").rename(shared / "a")
    (etc / "a.conf").symlink_to("/usr/share/rules/a")  # below --root
    (host.root / "usr/lib/sockreg").mkdir(parents=True)
    (host.root / "usr/lib/sockreg/c.conf").write_text("[third]\nBind=tcp 192.0.2.0/24 82\n")
    (etc / "c.conf").symlink_to("/dev/null")
    host.ok("load")
    assert {rule["label"] for rule in host.json("rules")} == {"web", "other"}


def test_a_user_trusts_his_own_files(tmp_path: Path) -> None:
    (tmp_path / "mine.conf").write_text("mine")
    for path in (tmp_path, tmp_path / "mine.conf"):
        os.chown(path, BOB, BOB)
    script = "import sys; sys.path.insert(0, sys.argv[1]); from sockreg import trust; "
    script += "print(trust.read(sys.argv[2], sys.argv[2] + '/mine.conf').decode())"
    tmp_path.parent.chmod(0o755)
    command = ["/usr/bin/python3", "-c", script, str(tree.public()), "/proc/self/cwd"]
    done = subprocess.run(
        command, cwd=tmp_path, user=BOB, group=BOB, extra_groups=[], capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.stdout == "mine\n", done.stderr
    with pytest.raises(trust.UntrustedError):
        trust.read(str(tmp_path), str(tmp_path / "mine.conf"))


@pytest.mark.parametrize(
    "spoil", [owned, writable, fifo, device, to_a_fifo], ids=lambda it: it.__name__
)
def test_a_wrong_dropin_costs_the_rules_of_its_unit(host: Host, spoil: Spoil) -> None:
    """Nothing waits for a FIFO, and a device is no mask that nobody hears of."""
    units = host.root / "etc/systemd/system"
    dropin = units / "web.socket.d/rules.conf"
    dropin.parent.mkdir(parents=True)
    (units / "web.socket").write_text("[Socket]\nListenStream=8080\nFileDescriptorName=web\n")
    dropin.write_text("[X-Sockreg]\nBind=tcp 192.0.2.0/24 80\n")
    wants = units / "sockets.target.wants"
    wants.mkdir()
    (wants / "sockreg@web.service").symlink_to("/lib/systemd/system/sockreg@.service")
    host.load("[other]", "Bind=tcp 192.0.2.0/24 81")
    with host.serve("web", "127.0.0.1", 8080, unit="web.socket"):
        spoil(dropin)
        said = "is a FIFO, not a file" if spoil is to_a_fifo else SPOILS[spoil]
        for _ in range(2):
            done = host.run("apply")
            assert done.status in (EXIT_CONFIG, EXIT_PARTLY), done.text
            assert said in done.err, done.err
            assert host.ask("192.0.2.7", 80) == "web"
        host.ok("unload")
        booted = host.run("load")
        assert said in booted.text, booted.text
        assert [rule["label"] for rule in host.json("rules")] == ["other"]
