"""Five services, one that things are done to, and four bystanders that must not notice.

``done`` is running. Of the others, ``stopped`` was stopped, ``masked`` was masked, ``running``
runs, and ``alone`` has an open socket that is not registered.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.sandbox import Sandbox
from tests.systemd.units import service_unit, socket_unit

_UNITS = "/usr/local/lib/systemd/system"  # where 'systemctl mask' does not want to write
TARGET = "target"
STOPPED, MASKED, RUNNING, ALONE = BYSTANDERS = ("stopped", "masked", "running", "alone")
_ALL = (TARGET, *BYSTANDERS)
# What servers answer to in a table: {s} the service's own units; the first words are systemctl's.
_OWN_VERBS = (
    "start", "stop", "start", "restart", "try-restart", "reload-or-restart",
    "try-reload-or-restart", "kill", "start",
)  # fmt: skip
_FILE_VERBS = ("disable", "enable", "reenable", "mask", "unmask", "disable --now", "mask --now",
               "unmask", "enable --now")  # fmt: skip


def own_port(name: str) -> int:
    return 8081 + _ALL.index(name)


def steered_port(name: str) -> int:
    return 81 + _ALL.index(name)


def files() -> dict[str, str]:
    """The units of all five."""
    found = {}
    for name in _ALL:
        rules = [f"Bind=tcp 127.0.0.1 {steered_port(name)}"]
        listen = f"127.0.0.1:{own_port(name)}"
        found[f"{_UNITS}/{name}.socket"] = socket_unit(listen, label=name, rules=rules)
        dependencies = [f"Requires={name}.socket", "StartLimitIntervalSec=0"]
        service = service_unit(f"event_loop {name}", dependencies=dependencies)
        found[f"{_UNITS}/{name}.service"] = service + "[Install]\nWantedBy=multi-user.target\n"
        limit = "[Unit]\nStartLimitIntervalSec=0\n[Socket]\nTriggerLimitIntervalSec=0\n"
        found[f"{_UNITS}/{name}.socket.d/limit.conf"] = limit
    return found


class State(NamedTuple):
    """What a client gets at the own port and at the steered one, and what systemd says."""

    own: str
    steered: str
    units: tuple[str, ...]


def state(box: Sandbox, name: str) -> State:
    units = (f"{name}.socket", f"{name}.service", f"sockreg@{name}.service")
    shown = box.systemctl("show", "--value", "-p", "ActiveState", "--", *units).stdout
    return State(
        own=box.ask("127.0.0.1", own_port(name)),
        steered=box.ask("127.0.0.1", steered_port(name)),
        units=tuple(shown.split()),
    )


def states(box: Sandbox) -> dict[str, State]:
    """Of the bystanders."""
    return {name: state(box, name) for name in BYSTANDERS}


def is_served(box: Sandbox, name: str = TARGET) -> bool:
    return box.ask("127.0.0.1", steered_port(name)) == f"{name} 127.0.0.1:{steered_port(name)}"


def prepare(box: Sandbox, mode: str) -> dict[str, State]:
    """Enable all five in a mode, and bring the bystanders where they shall stay."""
    for name in _ALL:
        box.run(["sockreg", "enable", name, "--mode", mode])
        assert is_served(box, name)
    box.systemctl("stop", f"{STOPPED}.socket", f"{STOPPED}.service")
    box.systemctl("mask", "--now", f"{MASKED}.socket", f"{MASKED}.service")
    if mode == "companion":
        box.systemctl("stop", f"sockreg@{ALONE}.service")
    else:
        box.run(["sockreg", "disable", ALONE])
    before = states(box)
    assert [where.own for where in before.values()] == [
        "refused",
        "refused",
        f"running 127.0.0.1:{own_port(RUNNING)}",
        f"alone 127.0.0.1:{own_port(ALONE)}",
    ]
    assert [where.steered for where in before.values()] == [
        "refused",
        "refused",
        f"running 127.0.0.1:{steered_port(RUNNING)}",
        "refused",
    ]
    return before


def commands(mode: str) -> list[list[str]]:
    """What is done to the target, to systemd and to the loader, as arguments of systemctl."""
    own = [f"{TARGET}.service", f"{TARGET}.socket"]
    if mode == "companion":
        own.append(f"sockreg@{TARGET}.service")
    found = [[*verb.split(), unit] for unit in own for verb in (*_OWN_VERBS, *_FILE_VERBS)]
    found += [[verb, f"sockreg-add@{TARGET}.service"] for verb in ("start", "restart", "stop")]
    found += [["reload", f"sockreg@{TARGET}.service"]] if mode == "companion" else []
    found += [["daemon-reload"], ["daemon-reexec"], ["reset-failed"]]
    loader = ("start", "reload", "restart", "try-restart", "reload-or-restart", "stop", "start",
              "kill")  # fmt: skip
    found += [[verb, "sockreg.service"] for verb in loader]
    found += [["start", "sockreg-needed.service"], ["restart", "sockreg-needed.service"]]
    return found


def do(box: Sandbox, command: list[str]) -> None:
    """Carry a command out, whether it succeeds or not, and wait until systemd has nothing to do."""
    box.systemctl(*command, check=False)
    box.wait(
        lambda: box.systemctl("list-jobs", "--no-legend").stdout.strip() in ("", "No jobs running.")
    )
