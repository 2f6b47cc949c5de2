"""What registering a socket costs at boot: start-up of the companion, beside bare processes.

``python -m tests.bench.startup [--rounds N] [--json FILE]`` (root). A round starts each of
the programs once, in turn, and takes the time from execve(2) to its end:
an empty C program (where there is a compiler), the bare interpreter, and the companion of
sockreg-add@.service, which registers a listening socket in a real registry. Network
namespace, bpffs and journal socket are the measurement's own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

import systemd

from tests.linux import MNT_DETACH, mount, private_mounts, umount
from tests.netns import Namespace, bpffs
from tests.process import run
from tests.sandbox import stage

AIM = 1.6  # times the bare interpreter
ROUNDS = 200
UNIT = "bench.socket"
LABEL = "bench"
BARE = "bare interpreter"
COMPANION = "companion"
PYTHON = ["/usr/bin/python3", "-I", "-S"]

_EMPTY_PROGRAM = "int main(void) { return 0; }\n"
_FIRST_FD = 3  # SD_LISTEN_FDS_START of sd_listen_fds(3)


class Program(NamedTuple):
    """A program to start. The companion is given the socket as systemd gives it."""

    name: str
    command: list[str]
    takes_socket: bool = False


class Place(NamedTuple):
    """Where the companion runs: a loaded registry, the staged sockreg, a journal socket."""

    namespace: Namespace
    bpffs: str
    package: Path
    directory: Path
    journal: socket.socket


@contextmanager
def place() -> Iterator[Place]:
    """A place of the measurement's own; nothing of it remains."""
    with (
        tempfile.TemporaryDirectory(prefix="sockreg-bench-") as directory,
        bpffs() as pins,
        Namespace() as namespace,
    ):
        package = stage(Path(directory, "installed")) / "usr/lib/python3/dist-packages/sockreg"
        # Where packages of Debian have it: beside sockreg.
        (package.parent / "systemd").symlink_to(Path(systemd.__file__).parent)
        load = ["-m", "sockreg", "--bpffs", str(pins), "--root", directory, "load"]
        with namespace.entered():
            run([sys.executable, *load])
        with _journal() as journal:
            yield Place(namespace, str(pins), package, Path(directory), journal)


@contextmanager
def _journal() -> Iterator[socket.socket]:
    """A socket in the place of the journal's; whoever uses it must read it now and then."""
    private_mounts()
    mount("none", "/run", "tmpfs", data="mode=0755")
    try:
        path = Path("/run/systemd/journal/socket")
        path.parent.mkdir(parents=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as entries:
            entries.bind(str(path))
            yield entries
    finally:
        umount("/run", MNT_DETACH)


def programs(here: Place) -> list[Program]:
    """The programs to compare. Without a C compiler the first is left out."""
    record = here.directory / "flags"
    found = [
        Program(f"{BARE}: python3 -I -S -c pass", [*PYTHON, "-c", "pass"]),
        Program(
            f"{COMPANION}: registers a socket",
            [*PYTHON, str(here.package / "companion/__main__.py"), "register", UNIT, str(record)],
            takes_socket=True,
        ),
    ]
    compiler = shutil.which("cc")
    if compiler is not None:
        source, program = here.directory / "empty.c", here.directory / "empty"
        source.write_text(_EMPTY_PROGRAM)
        run([compiler, "-O2", "-o", str(program), str(source)])
        found.insert(0, Program("empty C program", [str(program)]))
    return found


def measure(rounds: int) -> dict[str, list[float]]:
    """Name -> its times in ms, one a round. AssertionError if a program fails."""
    with place() as here:
        compared = programs(here)
        times: dict[str, list[float]] = {program.name: [] for program in compared}
        for number in range(-3, rounds):
            # Every round starts with another one: none always follows the same neighbour.
            turn = number % len(compared)
            for program in compared[turn:] + compared[:turn]:
                spent = _one_start(here, program)
                if number >= 0:  # the first rounds fill the caches
                    times[program.name].append(spent)
    return times


def _one_start(here: Place, program: Program) -> float:
    if not program.takes_socket:
        return _time(program.command, {}, None)
    stderr = os.fstat(2)
    environment = {
        "SOCKREG_BPFFS": here.bpffs,
        "LISTEN_FDS": "1",
        "LISTEN_FDNAMES": LABEL,
        "JOURNAL_STREAM": f"{stderr.st_dev}:{stderr.st_ino}",  # as for a unit, systemd.exec(5)
    }
    # A new socket each time, as at boot: nothing is registered under the label.
    with here.namespace.listen("127.0.0.1") as listener:
        _record_flags(here.directory / "flags", listener)
        with here.namespace.entered():
            spent = _time(program.command, environment, listener)
        entry = here.journal.recv(65536, socket.MSG_DONTWAIT).decode()
        assert f"label {LABEL}: registered tcp 127.0.0.1:" in entry, entry
    return spent


def _record_flags(record: Path, listener: socket.socket) -> None:
    """What ExecStartPre= of sockreg-add@.service writes of PID 1, about a hundred descriptors."""
    record.write_text(Path(f"/proc/self/fdinfo/{listener.fileno()}").read_text() * 100)


def _time(command: list[str], environment: dict[str, str], listener: socket.socket | None) -> float:
    """Milliseconds from execve(2) to the end of a process that has the listener as first fd.

    What it takes to fork depends on who forks and is left out; the clock is the system's
    own (CLOCK_MONOTONIC), the same for parent and child.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            environment["LISTEN_PID"] = str(os.getpid())
            os.write(writer, str(time.monotonic_ns()).encode())
            if listener is not None:
                os.dup2(listener.fileno(), _FIRST_FD)
                os.set_inheritable(_FIRST_FD, True)
            os.execve(command[0], command, environment)
        finally:
            os._exit(127)
    _, status = os.waitpid(pid, 0)
    end = time.monotonic_ns()
    begin = int(os.read(reader, 64))
    os.close(reader)
    os.close(writer)
    assert status == 0, f"{' '.join(command)} ended with status {status}"
    return (end - begin) / 1e6


class Figure(NamedTuple):
    """Times of one program in ms, and its median as a multiple of the bare interpreter's."""

    name: str
    median: float
    quartiles: tuple[float, float]
    ratio: float


def figures(times: dict[str, list[float]]) -> list[Figure]:
    """One figure a program, in the order in which they were started."""
    bare = median(next(values for name, values in times.items() if name.startswith(BARE)))
    found = []
    for name, values in times.items():
        low, middle, high = quantiles(values, n=4)
        found.append(Figure(name, middle, (low, high), middle / bare))
    return found


def show(found: Sequence[Figure], rounds: int) -> None:
    """Print the figures as a table, and whether the aim is met."""
    print(f"Start-up, execve() to exit: medians of {rounds} rounds that start each once, in turn")
    width = max(len(it.name) for it in found)
    print(f"{'':<{width}}  {'median':>8}  {'quartiles':>16}  {'ratio':>6}")
    for it in found:
        low, high = it.quartiles
        spread = f"{low:.2f} - {high:.2f} ms"
        print(f"{it.name:<{width}}  {it.median:5.2f} ms  {spread:>16}  {it.ratio:5.2f}x")
    print(f"companion within {AIM} times the bare interpreter: {verdict(found)}")


def verdict(found: Sequence[Figure]) -> str:
    """Whether the companion's start-up is within the aim, in words."""
    ratio = next(it.ratio for it in found if it.name.startswith(COMPANION))
    return f"{'met' if ratio <= AIM else 'not met'} ({ratio:.2f})"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write JSON if asked to."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.startup")
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    options = parser.parse_args(arguments)
    times = measure(options.rounds)
    found = figures(times)
    show(found, options.rounds)
    if options.json is not None:
        content = {
            "machine": f"{platform.release()} {platform.machine()}, {os.cpu_count()} CPUs",
            "rounds": options.rounds,
            "aim": AIM,
            "verdict": verdict(found),
            "figures": [it._asdict() for it in found],
        }
        options.json.write_text(json.dumps(content, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
