"""One scenario with a fault at each changing call, and what must hold after each."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sockreg.errors import EXIT_INTERRUPTED, EXIT_NOT_LOADED, EXIT_OK
from tests.faults import engine
from tests.faults.engine import Fault
from tests.faults.scenarios import Scenario
from tests.kernel.cgroups import Cgroups, own_cgroups
from tests.kernel.host import Host
from tests.netns import Namespace, Server, bpffs

PROBES = (("192.0.2.7", 80), ("192.0.2.9", 80), ("192.0.2.7", 443), ("192.0.2.7", 444))
_LEAST = 1  # changing calls of a command


@dataclass(frozen=True)
class State:
    """``answers`` are those that each probe may get; ``rules`` are in force, with their labels."""

    answers: tuple[frozenset[str], ...]
    rules: tuple[str, ...] | None
    members: tuple[str, ...]
    trial: bool
    pins: tuple[str, ...]
    files: tuple[str, ...]


class Stage:
    """A host on which scenarios run one after another."""

    def __init__(self, host: Host, servers: dict[str, Server]) -> None:
        self.host = host
        self.servers = servers

    def reset(self, scenario: Scenario) -> None:
        self.host.run("unload")
        _empty(self.host.root)
        left = [path for path in self.host.bpffs.rglob("*") if path.parent != self.host.bpffs]
        assert not left, f"unload leaves {left}"
        scenario.before(self.host, self.servers)

    def state(self, scenario: Scenario) -> State:
        status = self._json("status", "-n0")
        rules = self._json("rules")
        return State(
            answers=tuple(
                frozenset(self.host.ask(*probe) for _ in range(scenario.asked)) for probe in PROBES
            ),
            rules=None if rules is None else tuple(sorted(_rule(it) for it in rules)),
            members=()
            if status is None
            else tuple(
                sorted(
                    f"{it['label']} {member['unit']} {member['weight']} {member['cookie']}"
                    for it in status["destinations"]
                    for member in it["members"]
                )
            ),
            trial=status is not None and status["trial"] is not None,
            pins=tuple(sorted(_pin(path, self.host.bpffs) for path in _below(self.host.bpffs))),
            files=tuple(sorted(map(str, _files(self.host.root)))),
        )

    def _json(self, *arguments: str) -> Any:
        done = self.host.run("--json", *arguments)
        assert done.status in (EXIT_OK, EXIT_NOT_LOADED), done.text
        assert "Traceback" not in done.text
        if done.status != EXIT_OK:
            return None
        content = json.loads(done.out)
        return content[content["schema"].removeprefix("sockreg.")]


def _rule(it: dict[str, Any]) -> str:
    return f"{it['action']} {it['label']} {it['rule']}"


def _below(directory: Path) -> Iterator[Path]:
    return (path for path in directory.rglob("*"))


def _pin(path: Path, bpffs: Path) -> str:
    """A pin without the numbers that differ from time to time."""
    name = re.sub(r"^sockreg/\d+", "sockreg/N", str(path.relative_to(bpffs)))
    name = re.sub(r"generations/\d+", "generations/N", name)
    name = re.sub(r"/end-\d+", "/end-N", name)
    return re.sub(r"unconfirmed-\d+-\d+", "unconfirmed-N", name)


def _files(root: Path) -> Iterator[Path]:
    return (path.relative_to(root) for path in root.rglob("*") if not path.is_dir())


def _empty(root: Path) -> None:
    for path in sorted(root.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink()


@contextmanager
def stage(directory: Path) -> Iterator[Stage]:
    """A host of its own below ``directory``, with servers that are not registered yet."""
    patch = pytest.MonkeyPatch()
    with own_cgroups() as cgroups, Namespace() as namespace, bpffs() as pins, ExitStack() as stack:
        namespace.add_local("192.0.2.0/24")
        # A process that ends need not close what it has open.
        patch.setattr("tests.kernel.host._leaving_nothing_open", nullcontext)
        host = Host(namespace, pins, directory, patch)
        stack.callback(patch.undo)
        stack.callback(host.close)
        servers = {}
        for port, name in enumerate(("old", "new", "old2", "new2"), 8081):
            servers[name] = stack.enter_context(namespace.serve(name, "127.0.0.1", port))
        stack.enter_context(namespace.serve("ordinary", "0.0.0.0", 80))
        yield Stage(host, servers)
        host.run("unload")
        _wait_for_guards(cgroups)


def _wait_for_guards(cgroups: Cgroups) -> None:
    """Processes that would end a trial, or a trace, see that there is none any more."""
    end = time.monotonic() + 30
    while len((cgroups.path / "cgroup.procs").read_text().split()) > 1:
        assert time.monotonic() < end, "a process is left"
        time.sleep(0.05)


def try_all(
    there: Stage,
    scenario: Scenario,
    only: Fault | None = None,
    around: str | None = None,
) -> Iterator[list[str]]:
    """Try each fault at each call; yields what is wrong in each case: nothing, if all is well.

    ``around`` leaves only the calls of this name, and those beside them.
    """
    there.reset(scenario)
    old = there.state(scenario)
    whole = engine.run(lambda: scenario.run(there.host, there.servers))
    assert whole.status == EXIT_OK, whole.text
    assert len(whole.calls) >= _LEAST, scenario.name
    new = there.state(scenario)
    for number, call in enumerate(whole.calls, 1):
        if around is not None and around not in whole.calls[max(0, number - 2) : number + 1]:
            continue
        for what in engine.kinds(call):
            fault = Fault(number, what)
            if scenario.entry is not None and what == "SIGINT":
                continue
            if only is not None and fault != only:
                continue
            there.reset(scenario)
            try:
                wrong = _case(there, scenario, fault, old, new)
            except (AssertionError, OSError, ValueError) as error:
                wrong = [f"{error!r:.1500}"]
                _clear(there)
            name = f"{scenario.name} {number} {what} ({call})"
            yield [f"{name}: {one}" for one in wrong]


def _clear(there: Stage) -> None:
    """Remove what no command removes, so that the next case begins with nothing."""
    there.host.run("unload")
    for path in sorted(there.host.home.rglob("*"), reverse=True):
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink()


def _case(there: Stage, scenario: Scenario, fault: Fault, old: State, new: State) -> list[str]:
    ran = engine.run(lambda: scenario.run(there.host, there.servers), fault)
    if not ran.reached:
        return []  # it went another way this time
    wrong = []
    if "Traceback" in ran.text:
        wrong.append(f"traceback: {ran.text}")
    after = there.state(scenario)
    wrong += _whole(after, old, new, in_parts=len(scenario.passes) > 1)
    # A load leaves out what does not fit, and says so.
    partly = "none of its rules is in force" in ran.text
    if ran.status == EXIT_OK and not _same(after, new) and not partly:
        wrong.append(f"it says that it is done, but it is not: {ran.text}")
    if ran.status not in (None, EXIT_OK) and _differs(old, new) and _same(after, new):
        if "in force" not in ran.text and ran.status != EXIT_INTERRUPTED:
            wrong.append(f"it says that it failed, but it is done: {ran.text}")
        if ran.status == EXIT_INTERRUPTED:
            wrong.append("it ends as interrupted, but it is done")
    if scenario.repeat is None and _same(after, new):
        return wrong
    status, text = scenario.run(there.host, there.servers)
    allowed = scenario.repeat if _same(after, new) and scenario.repeat else (EXIT_OK,)
    if status not in allowed:
        wrong.append(f"it cannot be run again: {status} {text}")
        return wrong
    healed = there.state(scenario)
    wrong += [f"after the same command again, {one}" for one in _unlike(healed, new)]
    if scenario.repeat is not None:
        status, text = scenario.run(there.host, there.servers)
        if status not in scenario.repeat:
            wrong.append(f"it cannot be run a third time: {status} {text}")
        wrong += [f"after a third time, {one}" for one in _unlike(there.state(scenario), new)]
    return wrong


def _same(state: State, other: State) -> bool:
    return (state.answers, state.rules, state.members, state.trial) == (
        other.answers,
        other.rules,
        other.members,
        other.trial,
    )


def _differs(old: State, new: State) -> bool:
    return not _same(old, new)


def _whole(after: State, old: State, new: State, *, in_parts: bool) -> list[str]:
    """Traffic goes by the old or the new state, and what is said is what happens."""
    fits = [state for state in (old, new) if state.answers == after.answers]
    if in_parts:  # each label on its own
        each = zip(old.answers, new.answers, after.answers, strict=True)
        return [] if all(now in (one, other) for one, other, now in each) else ["mixed traffic"]
    if not fits:
        return [f"traffic is neither old nor new: {after.answers}"]
    known = [state.rules or () for state in fits]
    if (after.rules or ()) not in known:
        return [f"rules are not those of the traffic: {after.rules}"]
    return []


def _unlike(found: State, wanted: State) -> list[str]:
    return [
        f"{name} are {getattr(found, name)} and not {getattr(wanted, name)}"
        for name in ("answers", "rules", "members", "trial", "files")
        if getattr(found, name) != getattr(wanted, name)
    ] + [
        f"these pins are too many: {extra}"
        for extra in [set(found.pins) - set(wanted.pins) - {"sockreg/N/lock"}]
        if extra
    ]
