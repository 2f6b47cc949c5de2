"""No finding of check about the .socket units of packages is false, and none is missing.

systemd says what is right: what it reads as the addresses of a socket, whether it opened them,
which service it would start and what that requires. Connections show whether rules lead there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.netns import TCP, UDP
from tests.sandbox import Sandbox
from tests.systemd.units import UNITS

_INET = re.compile(r"(\[[0-9a-f:.]+\]|[0-9.]+):(\d+) \((Stream|Datagram)\)")
_TIED = ("Requires", "BindsTo", "PartOf")
STEERED = {4: "127.0.0.9", 6: "::1"}
FIRST_PORT = 20000


@dataclass(frozen=True)
class Rule:
    """A rule that leads to a listener of a unit: the family and port that clients use."""

    protocol: int
    family: int
    port: int
    to: int

    @property
    def line(self) -> str:
        protocol = "tcp" if self.protocol == TCP else "udp"
        return f"Bind={protocol} {STEERED[self.family]} {self.port} to {self.to}"


class Packaged:
    """A .socket unit, as systemd knows it."""

    def __init__(self, box: Sandbox, name: str, number: int) -> None:
        self.box, self.name = box, name
        self.rules: list[Rule] = []
        ports: set[tuple[int, int, int]] = set()
        for address, port, kind in _INET.findall(self._property("Listen")):
            protocol = TCP if kind == "Stream" else UDP
            families = [4] if not address.startswith("[") else [6, 4] if address == "[::]" else [6]
            for family in families:
                if (protocol, family, int(port)) not in ports:
                    ports.add((protocol, family, int(port)))
                    # Clients of UDP servers must use the server's port.
                    asked = FIRST_PORT + number * 10 + len(ports) if protocol == TCP else int(port)
                    self.rules.append(Rule(protocol, family, asked, int(port)))
        self.accepts = self._property("Accept") == "yes"
        self.triggers = self._property("Triggers")

    @property
    def is_active(self) -> bool:
        return self._property("ActiveState") == "active"

    def of_files(self) -> set[str]:
        """What its files are to be told for."""
        found = set()
        if not self.rules:
            found.add("unsteerable")
        if not self.accepts:
            state = self.box.show(self.triggers, "LoadState") if self.triggers else "not-found"
            if state != "loaded":
                found.add("no-server")
            else:
                tied = " ".join(self.box.show(self.triggers, key) for key in _TIED)
                if self.name not in tied.split():
                    found.add("no-requires")
        return found

    def of_the_machine(self) -> set[str]:
        """What is to be told in addition once it is enabled."""
        found = set()
        if not self.is_active:
            found.add("inactive-socket")
            if self.rules:
                found.add("no-socket")
        elif (
            any(rule.protocol == UDP for rule in self.rules)
            and self._property("PassPacketInfo") != "yes"
        ):
            found.add("udp-address")
        if self.triggers and self.box.show(self.triggers, "ActiveState") == "failed":
            found.add("dead-server")
        return found

    def _property(self, key: str) -> str:
        return self.box.show(self.name, key)


def examine(box: Sandbox, names: Sequence[str]) -> int:
    """Go through the three stages with these units. Returns how many rules led to a socket."""
    units = [Packaged(box, name, number) for number, name in enumerate(names)]
    assert findings(box, "--files") == findings(box) == []
    for unit in units:
        if unit.rules:
            lines = "\n".join(rule.line for rule in unit.rules)
            box.write(f"{UNITS}/{unit.name}.d/rules.conf", f"[X-Sockreg]\n{lines}\n")
    box.systemctl("daemon-reload")
    before = {unit.name: {"no-companion"} for unit in units if unit.rules}
    compare(findings(box, "--files"), names, before)
    compare(findings(box), names, before)

    companions = [f"sockreg@{name.removesuffix('.socket')}.service" for name in names]
    box.systemctl("enable", *companions)
    expected = {unit.name: told for unit in units if (told := unit.of_files())}
    compare(findings(box, "--files"), names, expected)
    box.systemctl("start", *companions, check=False, timeout=300)
    box.wait(lambda: not box.systemctl("list-jobs", "--no-legend").stdout.strip(), deadline=120)
    for unit in units:
        if told := unit.of_the_machine():
            expected[unit.name] = expected.get(unit.name, set()) | told
    compare(findings(box), names, expected)

    led = 0
    for unit in units:
        registered = members(box, unit.name)
        for rule in unit.rules:
            family = f"ipv{rule.family}"
            there = ("tcp" if rule.protocol == TCP else "udp", family) in registered
            assert there is unit.is_active, (unit.name, rule, registered)
            led += there
    for unit in units:
        if not unit.is_active:
            continue
        for rule in unit.rules:
            if rule.protocol == TCP:
                opened = box.scan(STEERED[rule.family], [rule.port])
                assert opened == [rule.port], (unit.name, rule)
    return led


def findings(box: Sandbox, *arguments: str) -> list[dict[str, Any]]:
    done = box.run(["sockreg", "--json", "check", *arguments], check=False, timeout=120)
    found: list[dict[str, Any]] = json.loads(done.stdout)["findings"]
    return found


def by_unit(found: list[dict[str, Any]], names: Sequence[str]) -> dict[str, set[str]]:
    """The kinds that are told about each unit. Every finding is about one of them."""
    kinds: dict[str, set[str]] = {}
    for finding in found:
        text = f"{finding['where']} {finding['what']} {finding['fix']}"
        about = [name for name in names if re.search(rf"(?<![\w.@-]){re.escape(name)}(?!\w)", text)]
        assert about, finding
        for name in about:
            kinds.setdefault(name, set()).add(finding["check"])
    return kinds


def compare(
    found: list[dict[str, Any]], names: Sequence[str], expected: dict[str, set[str]]
) -> None:
    kinds = by_unit(found, names)
    differ = [
        f"{name}: told {sorted(kinds.get(name, set()))}, not {sorted(expected.get(name, set()))}"
        for name in names
        if kinds.get(name, set()) != expected.get(name, set())
    ]
    assert not differ, "\n".join(differ)


def members(box: Sandbox, unit: str) -> set[tuple[str, str]]:
    """(protocol, family) of the destinations for which a unit has sockets in the registry."""
    status = json.loads(box.run(["sockreg", "--json", "status"]).stdout)["status"]
    return {
        (it["protocol"], it["family"])
        for it in status["destinations"]
        if any(member["unit"] == unit for member in it["members"])
    }
