"""``make test-bare``: the commands of the README in a bare Debian, as root typed them there.

In a Debian 12 those that try sockreg in a clone; in a Debian 13 and sid the demo, and then the
package, with the demo in it. debootstrap(8) makes each Debian, once. A copy of it, with a clone of
this tree in /root/sockreg, runs in namespaces of its own, on this machine's kernel and network; all
of it goes at the end. What pip installs there it takes from this machine's index, beforehand.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.docs import DOCUMENTS, scenes
from tests.linux import private_mounts
from tests.sandbox.host import HostPlace
from tests.tree import ROOT

_SUITES = ("bookworm", "trixie", "sid")
# Where pip looks inside.
_WHEELS = "/root/wheels"

# The first process: mounts as on a host, then one command after the other.
_INIT = """
set -euo pipefail
mkdir before
pivot_root . before
cd /
mount -t proc proc /proc
umount -l before
rmdir before
mount -t sysfs sysfs /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf -o mode=0700
mount -t tmpfs tmpfs /run -o mode=0755
mount -t tmpfs tmpfs /dev/shm -o mode=1777
mount -t devpts devpts /dev/pts -o newinstance,ptmxmode=0666
cd /root/sockreg
exec "$@"
"""


def main(suites: Sequence[str]) -> int:
    """Play the README's first commands in these suites of Debian.

    Returns the exit status of the one that failed, or 0.
    """
    if os.geteuid() != 0:
        print("test-bare: it takes root", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    private_mounts()
    for suite in suites or _SUITES:
        status = _play(suite, _commands(suite))
        if status != 0:
            return status
    return 0


def _play(suite: str, commands: list[str]) -> int:
    made = subprocess.run(
        [ROOT / "tests/debian-root", suite],
        env=os.environ | {"NAME": f"{suite}-bare"},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        return made.returncode
    with _bare_root(Path(made.stdout.strip())) as (root, cgroup):
        for command in commands:
            print(f"test-bare: {suite} # {command}", flush=True)
            began = time.monotonic()
            status = _run(root, cgroup, command)
            minutes = (time.monotonic() - began) / 60
            print(f"test-bare: ended with {status} after {minutes:.0f} min", flush=True)
            if status != 0:
                return status
    return 0


def _commands(suite: str) -> list[str]:
    """Those of the README's section "Try it", or the first of it and of the package."""
    (readme,) = (path for path in DOCUMENTS if path.name == "README.md")
    titled = {scene.title: scene for scene in scenes(readme)}
    tried = [command.line for command in titled["README.md: Try it"].commands()]
    if suite == "bookworm":
        return tried
    installed = [command.line for command in titled["README.md: Install"].commands()]
    package = [line for line in installed if "setup FOR=deb" in line or "make deb" in line]
    package += [f"{line} -y" for line in installed if line.startswith("apt install ./dist/")]
    assert len(package) == 3, installed
    return [tried[0], *package, "sockreg demo"]


@contextmanager
def _bare_root(debian: Path) -> Iterator[tuple[Path, Path]]:
    """A copy of the Debian with a clone of the tree in it, and a cgroup for its processes."""
    place = HostPlace()
    try:
        root = place.directory / "root"
        subprocess.run(["cp", "-a", "--reflink=auto", debian, root], check=True)
        # Not safe.directory of the user: the tree may be somebody else's.
        subprocess.run(
            ["git", "-c", "safe.directory=*", "clone", "-q", "--no-hardlinks", ROOT,
             root / "root/sockreg"],
            check=True,
        )  # fmt: skip
        _fetch_wheels(Path(f"{root}{_WHEELS}"))
        shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
        yield root, place.cgroup
    finally:
        place.remove()


def _fetch_wheels(directory: Path) -> None:
    """What tests/prepare installs, as the same files."""
    fetch = [sys.executable, "-m", "pip", "download", "-qq", "--disable-pip-version-check"]
    exactly = ["--no-deps", "--require-hashes", "--only-binary=:all:", "-d", str(directory)]
    subprocess.run([*fetch, *exactly, "-r", ROOT / "tests/requirements/test.txt"], check=True)


def _run(root: Path, cgroup: Path, command: str) -> int:
    """Run a command line of root's in namespaces of its own; returns its exit status."""
    script = f"""
        set -e
        echo 0 >{shlex.quote(str(cgroup))}/cgroup.procs
        mount --bind {shlex.quote(str(root))} {shlex.quote(str(root))}
        cd {shlex.quote(str(root))}
        for device in null zero full random urandom tty; do
            touch dev/$device
            mount --bind /dev/$device dev/$device
        done
        mkdir -p dev/pts dev/shm
        ln -sfn pts/ptmx dev/ptmx
        ln -sfn /proc/self/fd dev/fd
        for number in 0 1 2; do
            ln -sfn fd/$number dev/$(echo stdin stdout stderr | cut -d' ' -f$((number + 1)))
        done
        exec unshare --cgroup --fork --pid --kill-child \\
            /bin/bash -c {shlex.quote(_INIT)} bash /bin/bash -c {shlex.quote(command)}
    """
    environment = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "TERM": os.environ.get("TERM", "dumb"),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": _WHEELS,
        **{name: value for name, value in os.environ.items() if name.endswith("_proxy")},
    }
    own = ["unshare", "--mount", "--uts", "--ipc", "--propagation", "private"]
    with subprocess.Popen([*own, "/bin/bash", "-c", script], env=environment) as process:
        try:
            return process.wait()
        except BaseException:
            process.kill()
            raise


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
