"""The process that becomes PID 1 of a sandbox: lays out its world and executes systemd.

Run as ``python -m tests.sandbox.boot FILE`` with a Plan as JSON in the file. Prints the
host's number of PID 1, ends when it ends, and takes it along when it is killed.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import sys
from pathlib import Path

from tests import linux
from tests.linux import MS_BIND, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_RDONLY, MS_REMOUNT, mount
from tests.sandbox import lacking
from tests.sandbox.plan import Plan
from tests.tree import IN_BOX

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_NO_PROGRAMS = MS_NOSUID | MS_NODEV | MS_NOEXEC

# What systemd's own packages pull into every boot and a box needs.
_WANTED = {
    "systemd-journald.service",
    "systemd-journald.socket",
    "systemd-journald-dev-log.socket",
}
_ADMINISTRATOR = Path("/etc/systemd/system")
_UNIT_DIRECTORIES = ("/usr/local/lib/systemd/system", "/usr/lib/systemd/system")
_GENERATOR_DIRECTORIES = (
    "/usr/local/lib/systemd/system-generators",
    "/usr/lib/systemd/system-generators",
)
_FRESH_FILES = {
    "/etc/fstab": "",
    "/etc/machine-id": "0123456789abcdef0123456789abcdef\n",
    "/etc/systemd/journald.conf.d/sandbox.conf": (
        "[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\nAudit=no\nReadKMsg=no\n"
    ),
    "/etc/systemd/system/sandbox.target": (
        "[Unit]\nDescription=Everything a sandbox boots\n"
        "Requires=basic.target\nAfter=basic.target sockets.target\nAllowIsolate=yes\n"
    ),
}


def main() -> None:
    read = json.loads(Path(sys.argv[1]).read_text())
    plan = Plan(**read | {"lack": lacking.from_json(read["lack"])})
    _die_with_parent()
    linux.unshare(
        linux.CLONE_NEWPID
        | linux.CLONE_NEWNS
        | linux.CLONE_NEWNET
        | linux.CLONE_NEWUTS
        | linux.CLONE_NEWIPC
    )
    pid = os.fork()
    if pid == 0:
        _die_with_parent()
        _become_systemd(plan)
    print(pid, flush=True)
    os.waitpid(pid, 0)


def _die_with_parent() -> None:
    if ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError("prctl(PR_SET_PDEATHSIG) failed")


def _become_systemd(plan: Plan) -> None:
    # The cgroup namespace's root is the cgroup its first process is in (cgroup_namespaces(7)).
    Path(plan.cgroup, "cgroup.procs").write_text("0")
    linux.unshare(linux.CLONE_NEWCGROUP)
    mount("none", "/", flags=linux.MS_REC | linux.MS_PRIVATE)

    root = Path(plan.directory, "root")
    _mount_root(plan, root)
    _mount_kernel_filesystems(root, plan.bpffs, plan.lack.proc)
    _make_devices(root / "dev")
    _show(plan.source, f"{root}{IN_BOX}")
    trees = [os.open(tree, os.O_PATH | os.O_DIRECTORY) for tree in plan.trees]

    # pivot_root(2), "pivot_root(".", ".")": the old root ends up over the new one.
    os.chdir(root)
    linux.pivot_root(".", ".")
    linux.umount(".", linux.MNT_DETACH)
    os.chdir("/")

    # Only now are paths written to: a link such as /var/run -> /run leads into the box.
    if plan.fresh:
        _clear()
        for path, text in _FRESH_FILES.items():
            _write(path, text)
        _write("/etc/hostname", plan.name + "\n")
    for tree in trees:
        shutil.copytree(f"/proc/self/fd/{tree}", "/", symlinks=True, dirs_exist_ok=True)
        os.close(tree)
    os.chmod("/", 0o755)  # copytree() gave it the mode of the tree, which may be private
    for path, text in plan.files.items():
        _write(path, text)
    Path("/proc/sys/kernel/hostname").write_text(plan.name)
    _protect_kernel_settings()
    for path, flags in plan.lack.flags:
        if not os.path.ismount(path):
            mount(path, path, flags=MS_BIND)
        mount("none", path, flags=MS_BIND | MS_REMOUNT | MS_NOSUID | MS_NODEV | flags)
    lacking.give_up(plan.lack)

    systemd = next(
        path
        for path in ("/usr/lib/systemd/systemd", "/lib/systemd/systemd")
        if os.path.exists(path)
    )
    os.execve(
        systemd,
        [
            systemd,
            "--log-target=journal-or-kmsg",
            "--show-status=0",
            f"--unit={plan.target}",
        ],
        # $container keeps systemd away from what is the host's (container interface).
        {"container": "sandbox", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )


def _mount_root(plan: Plan, root: Path) -> None:
    state = Path(plan.directory, "state")
    for directory in (state / "upper", state / "work", root):
        directory.mkdir(exist_ok=True)
    # index=off: the overlay of the boot before may still be on its way out.
    options = f"lowerdir={plan.lower},upperdir={state}/upper,workdir={state}/work,index=off"
    mount("overlay", str(root), "overlay", data=options)


def _mount_kernel_filesystems(root: Path, bpffs: bool, proc: str) -> None:
    for name in ("proc", "sys", "run", "tmp", "dev"):
        (root / name).mkdir(exist_ok=True)
    mount("proc", f"{root}/proc", "proc", _NO_PROGRAMS, proc)
    mount("sysfs", f"{root}/sys", "sysfs", _NO_PROGRAMS)
    mount("tmpfs", f"{root}/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755")
    mount("tmpfs", f"{root}/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    mount("tmpfs", f"{root}/dev", "tmpfs", MS_NOSUID, "mode=0755")
    mount("cgroup2", f"{root}/sys/fs/cgroup", "cgroup2", _NO_PROGRAMS, "nsdelegate")
    if bpffs:
        # As systemd mounts it on a host (mount-setup.c).
        mount("bpf", f"{root}/sys/fs/bpf", "bpf", _NO_PROGRAMS, "mode=0700")


def _protect_kernel_settings() -> None:
    """Leave writable only the settings that belong to the box's network namespace."""
    mount("/proc/sys", "/proc/sys", flags=MS_BIND)
    mount("/proc/sys/net", "/proc/sys/net", flags=MS_BIND)
    for path in ("/proc/sys", "/sys"):
        mount("none", path, flags=MS_BIND | MS_REMOUNT | MS_RDONLY | _NO_PROGRAMS)


def _make_devices(dev: Path) -> None:
    for name in ("null", "zero", "full", "random", "urandom", "tty"):
        (dev / name).touch()
        mount(f"/dev/{name}", f"{dev}/{name}", flags=MS_BIND)
    for name in ("pts", "shm"):
        (dev / name).mkdir()
    mount("devpts", f"{dev}/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666")
    mount("tmpfs", f"{dev}/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    (dev / "ptmx").symlink_to("pts/ptmx")
    (dev / "fd").symlink_to("/proc/self/fd")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        (dev / name).symlink_to(f"fd/{number}")
    (dev / "console").touch()


def _show(path: str, target: str) -> None:
    """Make a directory of the host visible at another place, read-only."""
    os.makedirs(target)
    mount(path, target, flags=MS_BIND)
    mount("none", target, flags=MS_BIND | MS_REMOUNT | MS_RDONLY)


def _clear() -> None:
    """Take out what the host enables and what a boot does for real hardware."""
    for pattern in ("*.wants", "*.requires"):
        for directory in _ADMINISTRATOR.glob(pattern):
            shutil.rmtree(directory)
    for units in _UNIT_DIRECTORIES:
        for wanted in Path(units).glob("*.wants/*"):
            if wanted.name not in _WANTED:
                # A dependency is masked in the directory of the same name with higher
                # priority; the unit can still be started (load-dropin.c, process_deps()).
                _mask(_ADMINISTRATOR / wanted.parent.name / wanted.name)
    for generators in _GENERATOR_DIRECTORIES:
        for generator in Path(generators).glob("*"):
            _mask(Path("/etc/systemd/system-generators", generator.name))
    # Rules and records of the host's own.
    for host_data in ("/etc/sockreg", "/var/log/journal"):
        shutil.rmtree(host_data, ignore_errors=True)


def _mask(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to("/dev/null")


def _write(path: str, text: str) -> None:
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # In place of a masking link, not through it.
    target.unlink(missing_ok=True)
    target.write_text(text)


if __name__ == "__main__":
    main()
