"""What it takes to look, and to change one rule, beside what is there already.

Commands run as Debian's package installs them. The measure is a bare interpreter that starts and
ends, in the same minute: CPU times of machines differ, these ratios hardly do. ``ss`` and ``nft``
run on the same namespace, which has no sockets and no packet filter of its own.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

import systemd

from sockreg.errors import EXIT_CONFIG, EXIT_OK
from tests import large_rulesets
from tests.bench.ground import Cost, Ground, cost, ground
from tests.bench.report import Aim, Part, Table, at_most
from tests.sandbox import stage

_BARE = ["/usr/bin/python3", "-I", "-S", "-c", "pass"]
_FEW, _MANY, _MOST = 10, 100_000, 1_000_000
_QUICK = 10_000  # in place of both
_ROUNDS = {_FEW: 9, _QUICK: 3, _MANY: 3, _MOST: 1}
_PEERS = {"ss": ["ss", "-Hlntu"], "nft": ["nft", "list", "ruleset"]}
_EXPLAIN = ["explain", "tcp", "10.1.2.3", "80"]
_LOOKS = {"status": ["status"], "rules": ["rules"], "explain": _EXPLAIN, "listeners": ["listeners"]}
# Bare interpreters: of looks at few rules, and of a change of one rule among so many.
_LOOK_AIM = 6
_CHANGE_AIMS = {_FEW: 8, _MANY: 12, _MOST: 40}
_SECONDS_AIMS = {"rules": 1.0, "listeners": 1.0, "check": 1.0, "explain": 0.1}  # 100,000 rules
_MOST_SECONDS, _MOST_MEMORY = 3.0, 300.0  # of looks at a million, in seconds and MiB


class Found(NamedTuple):
    """The median of a command: CPU seconds, the same in bare interpreters, and MiB."""

    command: str
    rules: int
    cpu: float
    interpreters: float
    memory: float


class _Installed(NamedTuple):
    here: Ground
    modules: Path

    def command(self, *arguments: str) -> list[str]:
        start = (
            f"import sys; sys.path += [{str(self.modules)!r}, '/usr/lib/python3/dist-packages']; "
            "from sockreg.cli.main import command; command()"
        )
        place = ["--netns", self.here.namespace.path, "--bpffs", str(self.here.bpffs)]
        root = ["--root", str(self.here.root)]
        return ["/usr/bin/python3", "-I", "-S", "-c", start, *place, *root, *arguments]


def measure(quick: bool) -> Part:
    found: list[Found] = []
    with _installed() as installed:
        for prefix in large_rulesets.PREFIXES:
            installed.here.namespace.add_local(prefix)
        installed.here.run("load")
        for rules in (_FEW, _QUICK) if quick else (_FEW, _MANY, _MOST):
            found += _of_size(installed, rules)
    return Part("commands", [_table(found)], [it._asdict() for it in found], _aims(found))


@contextmanager
def _installed() -> Iterator[_Installed]:
    with ground() as here, tempfile.TemporaryDirectory(prefix="sockreg-bench-") as directory:
        modules = stage(Path(directory, "installed")) / "usr/lib/python3/dist-packages"
        # Where packages of Debian have it: beside sockreg.
        (modules / "systemd").symlink_to(Path(systemd.__file__).parent)
        yield _Installed(here, modules)


def _of_size(installed: _Installed, rules: int) -> Iterator[Found]:
    here, rounds = installed.here, _ROUNDS[rules]
    here.configure(large_rulesets.mixed(rules))
    here.run("apply")
    bare = median(cost(_BARE).cpu for _ in range(15))

    def found(name: str, costs: list[Cost]) -> Found:
        cpu = median(it.cpu for it in costs)
        return Found(name, rules, cpu, cpu / bare, max(it.memory for it in costs))

    if rules == _FEW:
        for peer, command in _PEERS.items():
            if shutil.which(command[0], path="/usr/sbin:/usr/bin:/sbin:/bin"):
                with here.namespace.entered():
                    yield found(peer, [cost(command) for _ in range(rounds)])
    looks = _LOOKS if rules == _FEW else {**_LOOKS, "check": ["check"]}
    for name, words in looks.items():
        # Nothing is registered, which check calls an error.
        statuses = (EXIT_OK, EXIT_CONFIG)
        yield found(name, [cost(installed.command(*words), statuses) for _ in range(rounds)])
    changes = [("new", "tcp", f"192.0.2.{number}", "80") for number in range(rounds)]
    yield found("bind", [cost(installed.command("bind", *rule)) for rule in changes])
    yield found("unbind", [cost(installed.command("unbind", *rule)) for rule in changes])
    yield found("apply", [cost(installed.command("apply")) for _ in range(rounds)])


def _table(found: list[Found]) -> Table:
    return Table(
        "Commands, as the package installs them",
        ("RULES", "COMMAND", "CPU s", "BARE INTERPRETERS", "MiB"),
        [
            [
                f"{it.rules:,}",
                it.command,
                f"{it.cpu:.3f}",
                f"{it.interpreters:.1f}",
                f"{it.memory:.0f}",
            ]
            for it in found
        ],
        (
            (
                "apply: nothing has changed since the one before. MiB are never less than what the "
                "measuring process has."
            ),
        ),
    )


def _aims(found: list[Found]) -> list[Aim]:
    aims = []
    for it in found:
        what = f"{it.command} on {it.rules:,} rules"
        if it.command in ("bind", "unbind") and it.rules in _CHANGE_AIMS:
            limit = _CHANGE_AIMS[it.rules]
            aims.append(at_most(f"{what}, in bare interpreters", it.interpreters, limit, "{:.1f}"))
        elif it.command in _LOOKS and it.rules == _FEW:
            aims.append(
                at_most(f"{what}, in bare interpreters", it.interpreters, _LOOK_AIM, "{:.1f}")
            )
        elif it.command in _SECONDS_AIMS and it.rules == _MANY:
            aims.append(at_most(what, it.cpu, _SECONDS_AIMS[it.command], "{:.2f} s"))
        elif it.command in (*_LOOKS, "check") and it.rules == _MOST:
            aims.append(at_most(what, it.cpu, _MOST_SECONDS, "{:.1f} s"))
            aims.append(at_most(f"{what}, memory", it.memory, _MOST_MEMORY, "{:.0f} MiB"))
    return aims
