"""Conf files read a second time, by what docs/rules.md says and nothing else.

No code of ``sockreg.config`` and none of its parsers: addresses are those of ``ipaddress``, and
names of services are looked up in the file itself. Only correct lines are read.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path, PurePosixPath

from sockreg.model import INET, INET6, TCP, UDP, Action, Binding, Place

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Files = Mapping[str, str]  # what each path says

_PROTOCOLS = {"tcp": TCP, "udp": UDP}
_FAMILIES = {4: INET, 6: INET6}
_ACTIONS = {"Bind": Action.BIND, "Reject": Action.REJECT, "Pass": Action.PASS}


def read(files: Files, now: float) -> list[Binding]:
    """The rules of all files ``*.conf`` at a time, in s since the epoch."""
    conf = sorted((path for path in files if path.endswith(".conf")), key=_name)
    sets: dict[str, list[str]] = {}
    for _, section, key, value in _lines(files, conf):
        if section == ":prefixes":
            sets[key] = [*sets.get(key, []), *value.split()] if value else []
    lists: dict[tuple[str, str], list[Binding]] = {}
    for place, section, key, value in _lines(files, conf):
        if section == ":prefixes":
            continue
        of_key = lists.setdefault((section, key), [])
        if value:
            of_key += _rules(section, key, value.split(), place, Sets(files, sets), now)
        else:
            of_key.clear()
    return [binding for of_key in lists.values() for binding in of_key]


def _name(path: str) -> str:
    return PurePosixPath(path).name


def _lines(files: Files, conf: list[str]) -> Iterator[tuple[Place, str, str, str]]:
    """Each ``KEY=VALUE`` with its place and section."""
    for path in conf:
        section = ""
        for number, line in enumerate(files[path].splitlines(), 1):
            if line.startswith("["):
                section = line.strip("[]")
            elif line and line[0] not in "#;":
                key, _, value = line.partition("=")
                yield Place(path, number), section, key, value


class Sets:
    """The sets of prefixes, and the files that they name."""

    def __init__(self, files: Files, words: Mapping[str, list[str]]) -> None:
        self._files = files
        self._words = words

    def networks(self, text: str) -> Iterator[Network]:
        """What a word stands for. A range is made of the fewest networks."""
        if text.startswith("file:"):
            for line in self._files[text.removeprefix("file:")].splitlines():
                if prefix := line.partition("#")[0].strip():
                    yield from self.networks(prefix)
            return
        for item in text.split(","):
            if item.startswith("@"):
                for word in self._words[item.removeprefix("@")]:
                    yield from self.networks(word)
            elif "-" in item:
                first, last = map(ipaddress.ip_address, item.split("-"))
                yield from ipaddress.summarize_address_range(first, last)
            else:
                yield ipaddress.ip_network(item, strict=False)


def _rules(
    section: str, key: str, words: list[str], place: Place, sets: Sets, now: float
) -> Iterator[Binding]:
    protocol, prefixes, ports, *more = words
    conditions = dict(word.split("=") for word in more if "=" in word)
    plain = [word for word in more if "=" not in word]
    conditions |= dict(zip(plain[::2], plain[1::2], strict=True))
    if "until" in conditions:
        end = datetime.datetime.fromisoformat(conditions["until"]).timestamp()
        if end <= now:
            return
    source = None
    if "from" in conditions:
        network = ipaddress.ip_network(conditions["from"], strict=False)
        source = (int(network.network_address), network.prefixlen) if network.prefixlen else None
    for network in dict.fromkeys(sets.networks(prefixes)):
        for first, last in dict.fromkeys(_ports(it, protocol) for it in ports.split(",")):
            yield Binding(
                section,
                _ACTIONS[key],
                _PROTOCOLS[protocol],
                _FAMILIES[network.version],
                int(network.network_address),
                network.prefixlen,
                first,
                last,
                source,
                conditions.get("dev"),
                conditions.get("missing") == "pass",
                place,
                int(conditions.get("to", 0)),
            )


def _ports(item: str, protocol: str) -> tuple[int, int]:
    if item == "*":
        return 0, 65535
    if item in _services():
        port = _services()[item][protocol]
        return port, port
    first, _, last = item.partition("-")
    return int(first), int(last or first)


@cache
def _services() -> dict[str, dict[str, int]]:
    """The ports of each name in services(5), by protocol."""
    found: dict[str, dict[str, int]] = {}
    for line in Path("/etc/services").read_text().splitlines():
        words = line.partition("#")[0].split()
        if words:
            port, _, protocol = words[1].partition("/")
            for name in (words[0], *words[2:]):
                found.setdefault(name, {}).setdefault(protocol, int(port))
    return found
