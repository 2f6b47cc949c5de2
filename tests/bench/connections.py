"""Short connections, one after the other: what steering costs beside all the rest.

Connect, accept, a byte, close, over the loopback. The hook runs once for each, when its
SYN arrives; everything after that is the established connection's own business.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from tests.bench.contenders import (
    FAMILIES,
    ORDINARY,
    PORT,
    TARGETS,
    Contender,
    contenders,
)
from tests.bench.own_cpu import last_cpu
from tests.bench.report import Part, Table, ratios, spread
from tests.netns import Namespace
from tests.process import run

ROUNDS = 60
_QUICK = 3
CONNECTIONS = 1_000  # a round: about 30 ms
_SOURCE = Path(__file__).with_name("connect.c")

Times = dict[int, dict[str, list[float]]]  # IP version, contender -> us a connection


def measure(quick: bool) -> Part:
    with (
        Namespace() as sender,
        contenders(sender) as compared,
        tempfile.TemporaryDirectory(prefix="sockreg-bench-") as directory,
    ):
        program = Path(directory, "connect")
        run(["cc", "-O2", "-o", str(program), str(_SOURCE)])
        for contender in compared:
            contender.namespace.sysctl("net.ipv4.tcp_syncookies", "1")
        times = _rounds(program, compared, _QUICK if quick else ROUNDS)
    tables = [_table(version, found) for version, found in times.items()]
    return Part("connections", tables, _figures(times))


def _rounds(program: Path, compared: list[Contender], rounds: int) -> Times:
    times: Times = {version: {it.name: [] for it in compared} for version in FAMILIES}
    for number in range(-1, rounds):
        turn = number % len(compared)
        for version, of in times.items():
            for contender in compared[turn:] + compared[:turn]:
                spent = _connect(program, contender, version)
                if number >= 0:  # the first round fills the caches
                    of[contender.name].append(spent / CONNECTIONS / 1000)
    return times


def _connect(program: Path, contender: Contender, version: int) -> int:
    """Nanoseconds for a round of connections."""
    fd = contender.listener(version).fileno()
    numbers = [str(number) for number in (PORT, fd, last_cpu(), CONNECTIONS)]
    with contender.namespace.entered():
        done = subprocess.run(
            [str(program), TARGETS[version], *numbers],
            pass_fds=[fd],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, f"{contender.name}: {done.stderr}"
    return int(done.stdout)


def _table(version: int, times: dict[str, list[float]]) -> Table:
    rows = []
    for name, values in times.items():
        it = spread(values)
        ratio = ratios(times[ORDINARY], values)
        rows.append(
            [
                name,
                f"{it.median:.1f}",
                f"{1e6 / it.median:,.0f}",
                f"{ratio.median:.3f}x ({ratio.low:.3f} to {ratio.high:.3f})",
            ]
        )
    return Table(
        f"Short TCP connections over IPv{version}, client and server on one core",
        ("", "us/connection", "connections/s", "against none (quartiles)"),
        rows,
    )


def _figures(times: Times) -> list[dict[str, object]]:
    return [
        {
            "version": version,
            "contender": name,
            "us_per_connection": spread(values)._asdict(),
            "ratio": ratios(of[ORDINARY], values)._asdict(),
        }
        for version, of in times.items()
        for name, values in of.items()
    ]
