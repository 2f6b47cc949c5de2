"""Namespaces of the demo's own: network, processes, mounts.

They hide the connections, rules, units, journal and registry of the host. They end with the demo,
and so does what it has made there.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys
from pathlib import Path

from sockreg import shipped
from sockreg.errors import EXIT_INTERRUPTED, AccessError, MissingError, SockregError

_NEW = ("--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "--mount-proc")
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1  # linux/sockios.h, linux/if.h
_IFREQ = struct.Struct("=16sH14x")
_OWN_COMMAND = "/run/bin/sockreg"  # the one that plays the demo, whichever comes first in PATH


def play() -> int:
    """Play the demo there. Returns its exit status."""
    if os.geteuid() != 0:
        raise AccessError(
            "the demo makes namespaces of its own, which takes root", "run it as root"
        )
    script = f"{_importing()}from sockreg.demo import script; script.main()"
    # If this process dies, the namespaces do.
    command = ["setpriv", "--pdeathsig", "KILL", "unshare", *_NEW, "--propagation", "private"]
    try:
        done = subprocess.run([*command, sys.executable, "-I", "-c", script], check=False)
    except FileNotFoundError as error:
        raise MissingError(f"{error.filename}(1) is missing", "it is in util-linux") from None
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return done.returncode


def _importing() -> str:
    """The start of a script that imports this sockreg."""
    return f"import sys; sys.path.insert(0, {str(shipped.PACKAGE.parent)!r}); "


def prepare() -> None:
    """Make these namespaces a host of their own. Raises SockregError if that is not possible."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        flags = _IFREQ.unpack(fcntl.ioctl(any_socket, _SIOCGIFFLAGS, _IFREQ.pack(b"lo", 0)))[1]
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, _IFREQ.pack(b"lo", flags | _IFF_UP))
    _mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", "/run")
    _mount("-t", "bpf", "-o", "mode=0700", "bpf", "/sys/fs/bpf")
    for place in ("/etc", "/var/lib"):
        upper, work = Path(f"/run/over{place}/upper"), Path(f"/run/over{place}/work")
        upper.mkdir(parents=True)
        work.mkdir()
        _mount(
            "-t", "overlay", "-o", f"lowerdir={place},upperdir={upper},workdir={work}", "overlay",
            place,
        )  # fmt: skip
    for hidden in ("/etc/sockreg", "/etc/systemd/system", "/var/lib/sockreg"):
        shutil.rmtree(hidden, ignore_errors=True)
    command = Path(_OWN_COMMAND)
    command.parent.mkdir()
    start = f"{_importing()}from sockreg.cli.main import command; command()"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -c "{start}" "$@"\n')
    command.chmod(0o755)
    os.environ["PATH"] = f"{command.parent}:{os.environ.get('PATH', os.defpath)}"


def _mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SockregError(
            f"cannot mount {arguments[-1]} in namespaces of the demo's own: {done.stderr.strip()}",
            "in a container, run the demo on the host or in a virtual machine",
        )
