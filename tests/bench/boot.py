"""What registered sockets add to a boot, and what enabling and disabling them takes.

``python -m tests.bench.boot [--sockets N] [--lower ROOT]`` (root). Boxes with a systemd of their
own (tests/sandbox) boot on the same sockets: without sockreg, with only the loader, and with all
of them registered. CPU time is that of the box's cgroup, so PID 1 and all its processes count, and
that of the command. Wall time is what systemd says: from its start until everything is started. The
measure of CPU time is a bare interpreter that starts and ends, taken in the same minute.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tests.bench.report import Aim, Part, Table, show
from tests.sandbox import Sandbox, stage

SOCKETS = 100
SOCKET_AIM = 0.5  # bare interpreters of CPU time a socket
WALL_AIM = 0.7  # seconds that all sockets add
ONE_AIM, ALL_AIM = 0.3, 3.0  # seconds of CPU time: a command about one unit, or about all
_EXEC_SINCE = 256  # systemd's version
_BARE = ["/usr/bin/python3", "-I", "-S", "-c", "pass"]
_DIRECTORY = "/etc/systemd/system"


class Spent(NamedTuple):
    """Seconds of CPU time, and of wall time."""

    cpu: float
    wall: float


class Figures(NamedTuple):
    """What one mode took. ``bare`` is the CPU time of a bare interpreter, in seconds."""

    systemd: str
    mode: str
    sockets: int
    bare: float
    plain: Spent
    loader: Spent
    registered: Spent
    enable_one: float
    disable_one: float
    enable_all: float
    disable_all: float

    @property
    def per_socket(self) -> float:
        """Bare interpreters of CPU time that a registered socket adds to a boot."""
        return (self.registered.cpu - self.plain.cpu) / self.sockets / self.bare

    @property
    def beside_loader(self) -> float:
        """The same, beside what the loader takes in any case."""
        return (self.registered.cpu - self.loader.cpu) / self.sockets / self.bare

    @property
    def wall(self) -> float:
        """Seconds that all registered sockets add to a boot."""
        return self.registered.wall - self.plain.wall


def bare_interpreter(rounds: int = 20) -> float:
    """CPU time of a bare interpreter, in seconds."""
    taken = []
    for _ in range(rounds):
        before = _of_children()
        subprocess.run(_BARE, check=True)
        taken.append(_of_children() - before)
    return median(taken)


def measure_mode(mode: str, sockets: int, lower: str, rounds: int) -> Figures:
    """Boot the boxes ``rounds`` times each. AssertionError if a socket is not registered."""
    names = [f"bench-{number}" for number in range(sockets)]
    with tempfile.TemporaryDirectory(prefix="sockreg-bench-") as directory:
        tree = stage(Path(directory, "installed"))
        with Sandbox(trees=[tree], files=_units(sockets), lower=lower) as box:
            version = _of_manager(box, "Version")
            sockets_of = [f"{name}.socket" for name in names]
            box.systemctl("enable", "--quiet", "--now", *sockets_of)
            plain = _boots(box, rounds)
            box.systemctl("enable", "--quiet", "--now", "sockreg.service")
            loader = _boots(box, rounds)
            one = [
                _command(box, partial(_sockreg, box, verb, mode, names[:1]))
                for verb in ("enable", "disable")
            ]
            all_ = _command(box, lambda: _sockreg(box, "enable", mode, names))
            registered = _boots(box, rounds, then=lambda: _check(box, sockets))
            none = _command(box, lambda: _sockreg(box, "disable", mode, names))
            bare = bare_interpreter()
    return Figures(
        version, mode, sockets, bare, plain, loader, registered, one[0], one[1], all_, none
    )


def _units(sockets: int) -> dict[str, str]:
    files = {}
    for number in range(sockets):
        path = f"{_DIRECTORY}/bench-{number}"
        files[f"{path}.socket"] = (
            f"[Socket]\nListenStream=127.0.0.1:{20000 + number}\n"
            f"[X-Sockreg]\nBind=tcp 127.0.0.1 {30000 + number}\n"
            "[Install]\nWantedBy=sockets.target\n"
        )
        files[f"{path}.service"] = "[Service]\nExecStart=/bin/sleep infinity\n"
    return files


def _boots(box: Sandbox, rounds: int, then: Callable[[], None] = lambda: None) -> Spent:
    found = []
    for _ in range(rounds):
        box.power_off()
        before = _cpu(box)
        box.boot()
        cpu = _cpu(box) - before
        begin = int(_of_manager(box, "UserspaceTimestampMonotonic"))
        end = int(_of_manager(box, "FinishTimestampMonotonic"))
        found.append(Spent(cpu, (end - begin) / 1e6))
        then()
    return Spent(median(it.cpu for it in found), median(it.wall for it in found))


def _command(box: Sandbox, command: Callable[[], object]) -> float:
    """CPU time of a command, with all that it makes systemd do."""
    before = _cpu(box) + _of_children()
    command()
    return _cpu(box) + _of_children() - before


def _of_children() -> float:
    """Commands in a box are children of ours, and not in its cgroup."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _sockreg(box: Sandbox, verb: str, mode: str, names: Sequence[str]) -> None:
    options = ["--mode", mode] if verb == "enable" else []
    box.run(["sockreg", verb, *options, *names], timeout=600)


def _check(box: Sandbox, sockets: int) -> None:
    for number in (0, sockets - 1):
        answer = box.run(["sockreg", "explain", "tcp", "127.0.0.1", str(30000 + number)]).stdout
        assert f"bench-{number}.socket" in answer, answer


def _of_manager(box: Sandbox, name: str) -> str:
    return box.systemctl("show", "--value", "-p", name).stdout.strip()


def _cpu(box: Sandbox) -> float:
    """Seconds of CPU time of everything in the box since it was made."""
    lines = Path(box.cgroup, "cpu.stat").read_text().splitlines()
    return int(dict(line.split() for line in lines)["usage_usec"]) / 1e6


def figures(quick: bool, sockets: int, lower: str) -> list[Figures]:
    """Those of each mode that the systemd of ``lower`` has."""
    rounds = 1 if quick else 3
    found = [measure_mode("companion", sockets, lower, rounds)]
    if int(found[0].systemd.split()[0].split(".")[0].split("~")[0]) >= _EXEC_SINCE:
        found.append(measure_mode("exec", sockets, lower, rounds))
    return found


def part(found: Sequence[Figures]) -> Part:
    """The figures as a table, and the aims."""
    rows = []
    aims = []
    for it in found:
        where = f"systemd {it.systemd.split()[0]}, mode {it.mode}"
        for name, spent in (
            ("without sockreg", it.plain),
            ("with the loader", it.loader),
            ("with all registered", it.registered),
        ):
            rows.append([where, f"boot, {name}", f"{spent.cpu:.2f}", f"{spent.wall:.2f}"])
        for name, cpu in (
            ("enable, one unit", it.enable_one),
            ("disable, one unit", it.disable_one),
            (f"enable, {it.sockets} units", it.enable_all),
            (f"disable, {it.sockets} units", it.disable_all),
        ):
            rows.append([where, name, f"{cpu:.2f}", ""])
        aims += [
            Aim(
                f"{where}: a registered socket adds at most {SOCKET_AIM} bare interpreters of CPU "
                "time to a boot",
                f"{it.per_socket:.2f}",
                it.per_socket <= SOCKET_AIM,
            ),
            Aim(
                f"{where}: the same, beside what the loader takes in any case",
                f"{it.beside_loader:.2f}",
                it.beside_loader <= SOCKET_AIM,
            ),
            Aim(
                f"{where}: {it.sockets} of them add at most {WALL_AIM} s",
                f"{it.wall:.2f} s",
                it.wall <= WALL_AIM,
            ),
            *(
                Aim(f"{where}: {text} in at most {aim} s of CPU time", f"{cpu:.2f} s", cpu <= aim)
                for text, cpu, aim in (
                    ("enable of one unit", it.enable_one, ONE_AIM),
                    ("disable of one unit", it.disable_one, ONE_AIM),
                    (f"enable of {it.sockets}", it.enable_all, ALL_AIM),
                    (f"disable of {it.sockets}", it.disable_all, ALL_AIM),
                )
            ),
        ]
    bare = found[0].bare * 1000
    return Part(
        "boot",
        [
            Table(
                f"Boot with {found[0].sockets} socket units, and enabling them",
                ("", "WHAT", "CPU s", "WALL s"),
                rows,
                [f"A bare interpreter takes {bare:.1f} ms of CPU time."],
            )
        ],
        [it._asdict() for it in found],
        aims,
    )


def measure(quick: bool) -> Part:
    """The part of ``make bench``: with the systemd of this machine."""
    return part(figures(quick, SOCKETS, "/"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.boot")
    parser.add_argument("--quick", action="store_true", help="boot once in each way")
    parser.add_argument("--sockets", type=int, default=SOCKETS, metavar="N")
    parser.add_argument("--lower", default=os.environ.get("SOCKREG_TEST_ROOT", "/"), metavar="ROOT",
                        help="a directory with another system to boot")  # fmt: skip
    options = parser.parse_args(arguments)
    show(part(figures(options.quick, options.sockets, options.lower)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
