"""Draw conf files with rules by sets, ranges, lists, files of prefixes and names of services."""

from __future__ import annotations

import datetime
from ipaddress import ip_address
from random import Random

from sockreg.model import FAMILY_BITS, INET, INET6
from tests.oracle.reading import read
from tests.rulesets import INTERFACES, LABELS

DIRECTORY = "/etc/sockreg"
SERVICES = {"tcp": ("http", "https", "www", "domain"), "udp": ("https", "domain", "ntp")}
LISTENER = 8443  # rules say 'to PORT' with it

# No address near these is one that no packet can have.
_CENTRES = {
    INET: ("10.1.2.3", "192.0.2.129", "198.51.100.64"),
    INET6: ("2001:db8::1", "2001:db8:0:1::", "fd00:1:2:3:ffff:ffff:ffff:ffff"),
}
_NAMES = ("a", "anycast", "of-office", "r_1", "x.y")


class Drawn:
    """Files below a root, which another draw may change: ``files`` is what each path says."""

    def __init__(self, rng: Random, *, conditions: bool) -> None:
        self._rng = rng
        self._conditions = conditions
        self._lists: dict[str, str] = {}  # files with a prefix in each line
        self._sets: list[tuple[str, str]] = []
        self._rules: list[tuple[str, str]] = []
        self.files: dict[str, str] = {}
        for name in _NAMES:
            self._draw_set(name)
        for _ in range(rng.choice((1, 3, 10, 30))):
            self._draw_rule()
        self._write()

    def change(self) -> None:
        """Other members of some sets, and some other rules."""
        rng = self._rng
        for name in rng.sample(_NAMES, rng.choice((0, 1, 2))):
            kept = [it for it in self._sets if it[0] != name or rng.random() < 0.3]
            self._sets = [it for it in kept if it[0] != name or it[1]]
            self._draw_set(name)
        self._rules = [it for it in self._rules if rng.random() < 0.9]
        for _ in range(rng.choice((0, 1, 3))):
            self._draw_rule()
        self._write()

    def _draw_set(self, name: str) -> None:
        """Lines of a set. It names only sets that come before it, so that none is in itself."""
        rng = self._rng
        if rng.random() < 0.2:
            self._sets.append((name, self._items(name)))
            self._sets.append((name, ""))
        for _ in range(rng.choice((1, 1, 2))):
            self._sets.append((name, self._items(name)))

    def _items(self, name: str) -> str:
        rng = self._rng
        earlier = _NAMES[: _NAMES.index(name)]
        words = []
        for _ in range(rng.randrange(1, 5)):
            kind = rng.random()
            if kind < 0.2 and earlier:
                words.append(f"@{rng.choice(earlier)}")
            elif kind < 0.3:
                path = f"{DIRECTORY}/{len(self._lists)}.txt"
                lines = ["# prefixes", *(f"{self._item()}  # one" for _ in range(3)), ""]
                self._lists[path] = "\n".join(lines)
                words.append(f"file:{path}")
            elif kind < 0.4:
                words.append(",".join([self._item(), self._item()]))
            else:
                words.append(self._item())
        return " ".join(words)

    def _item(self, family: int = 0) -> str:
        """A host, a prefix with or without host bits, or a range."""
        rng = self._rng
        family = family or rng.choice((INET, INET6))
        bits = FAMILY_BITS[family]
        # The upper quarter stays, so that all are near their centre.
        centre = ip_address(rng.choice(_CENTRES[family]))
        address = int(centre) ^ rng.getrandbits(bits) >> rng.randrange(bits // 4, bits + 1)
        kind = rng.random()
        if kind < 0.3:
            return str(_same(centre, address))
        if kind < 0.6:
            return f"{_same(centre, address)}/{rng.randrange(bits // 4, bits + 1)}"
        last = address + rng.getrandbits(rng.randrange(1, bits // 2))
        return f"{_same(centre, address)}-{_same(centre, last)}"

    def _draw_rule(self) -> None:
        rng = self._rng
        kind = rng.random()
        family = rng.choice((INET, INET6))
        one_family = kind >= 0.4
        if kind < 0.3:
            prefix = f"@{rng.choice(_NAMES)}"
        elif kind < 0.4:
            prefix = ",".join((f"@{rng.choice(_NAMES)}", self._item(), f"@{rng.choice(_NAMES)}"))
        elif kind < 0.6:
            prefix = ",".join(self._item(family) for _ in range(rng.randrange(2, 5)))
        elif kind < 0.65:
            prefix = {INET: "0.0.0.0/0", INET6: "::/0"}[family]
        else:
            prefix = self._item(family)
        protocol = rng.choice(("tcp", "udp"))
        key = rng.choice((*["Bind"] * 5, "Reject", "Pass"))
        words = [protocol, prefix, self._ports(protocol)]
        if key == "Bind" and rng.random() < 0.2:
            words += ["to", str(LISTENER)]
        if key == "Bind" and rng.random() < 0.2:
            words.append("missing=pass")
        if self._conditions and one_family and rng.random() < 0.2:
            words += ["from", self._item(family).partition("-")[0]]
        if self._conditions and rng.random() < 0.1:
            words += ["dev", rng.choice(list(INTERFACES))]
        if rng.random() < 0.2:
            words.append(f"until={_time(rng)}")
        self._rules.append((rng.choice(LABELS), f"{key}={' '.join(words)}"))

    def _ports(self, protocol: str) -> str:
        rng = self._rng
        if rng.random() < 0.2:
            return "*"
        items = []
        for _ in range(rng.choice((1, 1, 2, 4))):
            kind = rng.random()
            first = rng.choice((80, 443, rng.randrange(1, 60000)))
            if kind < 0.4:
                items.append(rng.choice(SERVICES[protocol]))
            elif kind < 0.7:
                items.append(str(first))
            else:
                items.append(f"{first}-{first + rng.randrange(1, 3000)}")
        return ",".join(items)

    def _write(self) -> None:
        """Put the lines into files, without rules that would tie with others."""
        rng = self._rng
        names = [f"{DIRECTORY}/{number}0.conf" for number in range(3)]
        self._rules = self._apart()
        texts: dict[str, list[str]] = {name: [] for name in names}
        at = 0
        for name, value in self._sets:
            # Lines of one set stay in their order, and files are read in the order of their names.
            at = min(2, at + (rng.random() < 0.2))
            texts[names[at]] += ["[:prefixes]", f"{name}={value}"]
        for label, line in self._rules:
            texts[rng.choice(names)] += [f"[{label}]", line]
        if rng.random() < 0.3:
            label, line = rng.choice(self._rules)
            texts[rng.choice(names)] += [f"[{label}]", f"{line.partition('=')[0]}="]
        conf = {name: "\n".join([*lines, ""]) for name, lines in texts.items()}
        self.files = conf | self._lists

    def _apart(self) -> list[tuple[str, str]]:
        """The rules of which no part is for exactly the packets of a part of another rule.

        At least one is left, and may have no part.
        """
        sets = "\n".join(["[:prefixes]", *(f"{name}={value}" for name, value in self._sets), ""])
        taken: set[tuple[object, ...]] = set()
        kept = []
        for label, line in self._rules:
            files = {"/sets.conf": sets, "/rule.conf": f"[{label}]\n{line}\n"} | self._lists
            parts = {rule.matched for rule in read(files, 0)}
            if not parts & taken:
                taken |= parts
                kept.append((label, line))
        return kept or [("label0", "Bind=tcp 10.0.0.1 80")]


def _same(centre: object, address: int) -> object:
    """An address of the same family."""
    return type(centre)(address)  # type: ignore[call-arg]


def _time(rng: Random) -> str:
    year = rng.choice((2001, 2199))
    when = datetime.datetime(year, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")
