"""The sandbox as tests and the demo use it."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self, TypeVar

from tests import tree
from tests.closing import Closing
from tests.linux import MNT_DETACH, mount, private_mounts, umount
from tests.netns import TCP, Namespace
from tests.process import run
from tests.sandbox.host import HostPlace
from tests.sandbox.plan import NOTHING_LACKS, Lack, Plan

_T = TypeVar("_T")

_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "COLUMNS": "200",
    "SYSTEMD_PAGER": "cat",
    "SYSTEMD_COLORS": "0",
    "SYSTEMD_URLIFY": "0",
}
_BOOT_DEADLINE = 60.0
_BOOT_LOG = "boot.log"
# systemd(1), "SIGNALS": start poweroff.target.
_SIGNAL_POWEROFF = signal.SIGRTMIN + 4


class Sandbox(Closing):
    """A machine of its own with systemd as PID 1, up while the ``with`` block lasts.

    ``trees`` are directories copied over the root before the first boot, then ``files``
    (absolute path -> text) are written. ``target`` is what it boots; the default stands
    for basic.target and sockets.target. ``bpffs=False`` leaves /sys/fs/bpf unmounted, as
    a container manager does. ``lower`` is the read-only root beneath: the host's own, or
    any directory with a system in it. Nothing that the host enables is started, and
    nothing listens. ``lack`` is what hosts have and this one does not.
    """

    def __init__(
        self,
        name: str = "box",
        *,
        trees: Sequence[Path] = (),
        files: Mapping[str, str] | None = None,
        target: str = "sandbox.target",
        bpffs: bool = True,
        lower: str = "/",
        lack: Lack = NOTHING_LACKS,
    ) -> None:
        self.name = name
        self._trees = list(trees)
        self._files = dict(files or {})
        self._target = target
        self._bpffs = bpffs
        self._lower = lower
        self._lack = lack
        self._place: HostPlace | None = None
        self._fresh = True
        self._booter: subprocess.Popen[str] | None = None
        self._pid = 0
        self._pidfd = -1
        self._network: Namespace | None = None

    def __enter__(self) -> Self:
        private_mounts()
        self._place = HostPlace()
        try:
            state = self.directory / "state"
            state.mkdir()
            mount("tmpfs", str(state), "tmpfs", data="mode=0755")
            self.boot()
        except BaseException:
            self.close()
            raise
        return self

    @property
    def directory(self) -> Path:
        """Its directory on the host; its cgroup there has the same name. Both end with it."""
        return self._in_place().directory

    @property
    def cgroup(self) -> Path:
        """Its cgroup on the host, the same for all its boots."""
        return self._in_place().cgroup

    @property
    def pid(self) -> int:
        """Its first process, as the host sees it."""
        return self._pid

    # Power

    def boot(self) -> None:
        """Boot and wait until the target is reached. Failed units are no failure of this."""
        assert self._booter is None, f"{self.name} is up"
        place = self._in_place()
        plan = Plan(
            name=self.name,
            directory=str(place.directory),
            lower=self._lower,
            cgroup=str(place.cgroup),
            target=self._target,
            bpffs=self._bpffs,
            fresh=self._fresh,
            source=str(tree.public()),
            trees=[str(tree) for tree in self._trees],
            files=self._files,
            lack=self._lack,
        )
        order = place.directory / "plan.json"
        order.write_text(json.dumps(plan._asdict()))
        with (place.directory / _BOOT_LOG).open("w") as log:
            self._booter = subprocess.Popen(
                [sys.executable, "-m", "tests.sandbox.boot", str(order)],
                cwd=tree.ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._booter.stdout is not None
        with self._booter.stdout as stdout:
            first = stdout.readline()
        if not first:
            raise AssertionError(f"{self.name} did not start:\n{self._boot_log()}")
        self._pid = int(first)
        self._pidfd = os.pidfd_open(self._pid)
        self._fresh = False
        self._trees, self._files = [], {}
        self._wait_for_boot()
        self._network = Namespace.of_process(self._pid)

    def power_off(self) -> None:
        """Shut down in good order, as ``systemctl poweroff`` does. The files stay."""
        signal.pidfd_send_signal(self._pidfd, _SIGNAL_POWEROFF)
        if not select.select([self._pidfd], [], [], 30)[0]:
            raise AssertionError(f"{self.name} does not shut down:\n{self._log()}")
        self._gone()

    def reboot(self) -> None:
        """Shut down and boot again on the same files; /run and the bpffs start afresh."""
        self.power_off()
        self.boot()

    def crash(self) -> None:
        """Cut the power: every process is killed at once. The files stay."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        self._gone()

    def close(self) -> None:
        """End it and remove everything it left on the host."""
        if self._place is None:
            return
        if self._pidfd >= 0:
            self.crash()
        elif self._booter is not None:
            self._booter.kill()
            self._booter.wait()
        if os.path.ismount(self.directory / "state"):
            umount(str(self.directory / "state"), MNT_DETACH)
        self._place.remove()
        self._place = None

    # Commands and files

    def run(
        self,
        command: Sequence[str],
        *,
        check: bool = True,
        timeout: float = 30,
        text: str = "",
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside, as root, in a clean environment to which ``env`` is added.

        With ``check`` a failing command raises AssertionError that shows its output.
        """
        return run(
            self._inside(command),
            check=check,
            timeout=timeout,
            text=text,
            env=_ENVIRONMENT | dict(env or {}),
        )

    @contextmanager
    def spawn(
        self, command: Sequence[str], *, env: Mapping[str, str] | None = None
    ) -> Iterator[subprocess.Popen[str]]:
        """Have a command run inside beside the test; its output is a pipe.

        The end of the block waits for the command, which also ends with the box; kill()
        on what is yielded kills it. A block that fails kills it.
        """
        with subprocess.Popen(
            self._inside(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=_ENVIRONMENT | dict(env or {}),
            process_group=0,
        ) as process:
            try:
                yield process
            except BaseException:
                # nsenter's child may not have asked yet to die with it.
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                raise

    def write(self, path: str, text: str) -> None:
        """Write a file inside; when the box is off, before it boots again."""
        if self._pidfd < 0:
            self._files[path] = text
            return
        self.run(["/bin/sh", "-ec", 'mkdir -p "${1%/*}"; cat >"$1"', "write", path], text=text)

    def read(self, path: str) -> str:
        """The text of a file inside."""
        return self.run(["cat", path]).stdout

    # systemd

    def systemctl(
        self, *arguments: str, check: bool = True, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """``systemctl ARGUMENTS``; a failure shows the last lines of the journal as well."""
        done = self.run(["systemctl", *arguments], check=False, timeout=timeout)
        if check and done.returncode != 0:
            raise AssertionError(
                f"systemctl {' '.join(arguments)} ended with {done.returncode}\n"
                f"{done.stdout}{done.stderr}{self._log()}"
            )
        return done

    def show(self, unit: str, name: str) -> str:
        """One property of a unit, such as ``ActiveState``, ``SubState`` or ``MainPID``."""
        return self.systemctl("show", "--value", "-p", name, "--", unit).stdout.rstrip("\n")

    def journal(self, *arguments: str) -> list[dict[str, Any]]:
        """Journal entries in order; ``arguments`` are journalctl's (``-u``, matches, ...)."""
        self.run(["journalctl", "--sync"])
        # journalctl ends with 1 when nothing matches.
        done = self.run(["journalctl", "-q", "--all", "-o", "json", *arguments], check=False)
        if done.stderr:
            raise AssertionError(f"journalctl {' '.join(arguments)}: {done.stderr}")
        return [json.loads(line) for line in done.stdout.splitlines()]

    def wait(self, predicate: Callable[[], _T], what: str = "", deadline: float = 15.0) -> _T:
        """Return the first true answer of ``predicate``; fail after ``deadline`` seconds.

        ``what`` says in the failure what was waited for.
        """
        end = time.monotonic() + deadline
        while not (answer := predicate()):
            if time.monotonic() > end:
                raise AssertionError(
                    f"{what or predicate} did not happen within {deadline:g} s\n{self._log()}"
                )
            time.sleep(0.02)
        return answer

    # Network

    @property
    def network(self) -> Namespace:
        """The box's network, to add addresses to, connect others with and talk to."""
        assert self._network is not None, f"{self.name} is off"
        return self._network

    def ask(
        self,
        address: str,
        port: int,
        protocol: int = TCP,
        *,
        source: str | None = None,
        request: bytes = b"",
        timeout: float = 5.0,
    ) -> str:
        """What a server inside answers, or one word for what happened; see Namespace.ask()."""
        return self.network.ask(
            address, port, protocol, source=source, request=request, timeout=timeout
        )

    def scan(self, address: str, ports: Iterable[int] = range(1, 65536)) -> list[int]:
        """The TCP ports that are open on an address inside; see Namespace.scan()."""
        return self.network.scan(address, ports)

    def _inside(self, command: Sequence[str]) -> list[str]:
        assert self._pidfd >= 0, f"{self.name} is off"
        enter = ["nsenter", "-t", str(self._pid), "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w"]
        # nsenter passes no signal on: the command dies when nsenter does.
        return [*enter, "--", "setpriv", "--pdeathsig", "KILL", *command]

    def _wait_for_boot(self) -> None:
        end = time.monotonic() + _BOOT_DEADLINE
        listening = Path(f"/proc/{self._pid}/root/run/systemd/private")
        while not listening.exists():
            if select.select([self._pidfd], [], [], 0.01)[0] or time.monotonic() > end:
                raise AssertionError(f"{self.name} did not boot:\n{self._boot_log()}")
        state = self.run(["systemctl", "is-system-running", "--wait"], check=False, timeout=60)
        if state.stdout.strip() not in ("running", "degraded"):
            raise AssertionError(
                f"{self.name} is {state.stdout.strip()} {state.stderr}\n{self._log()}"
            )

    def _in_place(self) -> HostPlace:
        assert self._place is not None, "the sandbox is used outside its `with` block"
        return self._place

    def _boot_log(self) -> str:
        return (self.directory / _BOOT_LOG).read_text()

    def _gone(self) -> None:
        """Wait until the last process has ended, and forget them."""
        assert self._booter is not None
        self._booter.wait(timeout=30)
        os.close(self._pidfd)
        self._booter, self._pid, self._pidfd = None, 0, -1
        if self._network is not None:
            self._network.close()
            self._network = None

    def _log(self) -> str:
        """The journal's last lines and the waiting jobs, for a failure to show."""
        journal = self.run(["journalctl", "-q", "-n", "40", "-o", "short-precise"], check=False)
        jobs = self.run(["systemctl", "list-jobs"], check=False)
        return f"--- journal\n{journal.stdout}--- jobs\n{jobs.stdout}"
