"""What the packet filter does to packets ahead of the rules: NAT, and filters of input. Pure.

This follows the rule set of nftables and, for what iptables has written, that of iptables. Each
rule matches a packet, does not, or may: what is not understood here is never taken for granted.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, NamedTuple

from sockreg.host.packetfilter import Ruleset
from sockreg.model import ANY_PORT, FAMILY_BITS, INET, INET6, PROTOCOL_NAMES
from sockreg.printable import shell, shell_words
from sockreg.rules.syntax import format_ports

_FAMILIES = {INET: ("ip", "inet"), INET6: ("ip6", "inet")}
_HOOKS = ("prerouting", "input")
# A packet of this host meets NAT when it leaves, and not again when it comes back.
_HOOKS_OF_LOOPBACK = ("output", "prerouting", "input")
_ENDS = {"drop": "drops it", "reject": "refuses it", "queue": "leaves it to a program"}
_MOVES = ("dnat", "redirect", "tproxy")
# Of iptables: the tables in the order in which each hook has them, as numbers of nftables.
_PRIORITIES = {"raw": -300, "mangle": -150, "nat": -100, "filter": 0, "security": 50}
_BUILT_IN = {"PREROUTING": "prerouting", "INPUT": "input", "OUTPUT": "output"}
_IGNORED = ("counter", "log", "comment", "mangle", "notrack")
_LEGACY = " (legacy)"  # after the name of a table that nft does not see
_DEPTH = 16  # of jumps; nftables allows as many
_RULES = 100_000  # that one packet meets: chains that jump to each other multiply


class Match(Enum):
    """Whether a rule matches all such packets, none, or perhaps some."""

    YES = 2
    PERHAPS = 1
    NO = 0


class Flow(NamedTuple):
    """New connections, or datagrams, to these addresses and ports. ``interface`` is the name of the
    one by which they arrive, None for any but the loopback. ``source`` is a number or None.
    """

    family: int
    protocol: int
    addresses: tuple[int, int]
    ports: tuple[int, int]
    source: int | None = None
    interface: str | None = None


@dataclass(frozen=True)
class Effect:
    """What happens ahead of the rules: a sentence. ``surely``: to all such packets.

    ``base`` is the chain where they come in: the command that changes it, family, table and name.
    ``hook`` is the hook of this chain.
    """

    surely: bool
    text: str
    base: tuple[str, str, str, str] | None = None
    hook: str = ""

    @property
    def is_before_routes(self) -> bool:
        """Whether this comes before the kernel looks whether an address is local."""
        return self.hook != "input"


@dataclass
class _Chain:
    """A chain of nftables; ``where`` names it, and ``command`` lists it."""

    where: str
    command: str
    hook: str = ""
    priority: int = 0
    policy: str = "accept"
    nat: bool = False
    rules: list[_Rule] = field(default_factory=list)


@dataclass
class _Rule:
    """``test`` says whether it matches. ``verdict`` is empty if it only counts or marks."""

    test: Any
    verdict: str
    argument: str = ""


Key = tuple[str, str, str]  # family, table, chain

# What reading a value raises that is not of the kind that its place is for.
_MALFORMED = (AttributeError, LookupError, RuntimeError, TypeError, ValueError)
Chains = Mapping[Key, _Chain]


class Filter:
    """The rule set of the packet filter, ready for questions."""

    def __init__(self, ruleset: Ruleset) -> None:
        self.unread = [*ruleset.unread, *_ingress(ruleset.nft)]
        self._chains: dict[Key, _Chain] = {}
        for command, lines in ruleset.iptables.items():
            try:
                self._chains |= _iptables(command, lines)
            except _MALFORMED:
                self.unread.append(f"{command}: the answer of {command}-save is not understood")
        self._place: dict[Key, int] = {}
        try:
            self._place = _places(ruleset.nft)
            self._chains = {**_nft(ruleset.nft, set(self._chains)), **self._chains}
        except _MALFORMED:
            self.unread.append("nftables: the answer of nft is not understood")

    @property
    def is_empty(self) -> bool:
        return not any(chain.hook for chain in self._chains.values())

    def effects(self, flow: Flow) -> list[Effect]:
        """What keeps such packets from the rules, in order. Nothing comes after what is sure."""
        hooks = _HOOKS_OF_LOOPBACK if flow.interface == "lo" else _HOOKS
        bases = sorted(
            (
                # Of chains of one priority, the latest comes first: nf_hook_entries_grow() in
                # net/netfilter/core.c.
                (hooks.index(chain.hook), chain.priority, -self._place.get(key, 0), key)
                for key, chain in self._chains.items()
                if chain.hook in hooks and key[0] in _FAMILIES[flow.family]
            ),
        )
        found: list[Effect] = []
        for *_, key in bases:
            chain = self._chains[key]
            if chain.nat and (
                chain.hook == "input" or (hooks[0], chain.hook) == ("output", _HOOKS[0])
            ):
                continue
            walk = _Walk(self._chains, flow)
            ended = walk.through(key, surely=True, depth=0)
            if not ended and chain.policy == "drop":
                walk.effects.append(Effect(walk.sure, f"{chain.where}: the policy drops it"))
            base = (chain.command, key[0], key[1].removesuffix(_LEGACY), key[2])
            found += [replace(effect, base=base, hook=chain.hook) for effect in walk.effects]
            if any(effect.surely for effect in found):
                break
        return list(dict.fromkeys(found))


class _Walk:
    """One packet in one base chain. ``sure`` is whether it gets as far as here surely."""

    def __init__(self, chains: Chains, flow: Flow) -> None:
        self._chains, self._flow = chains, flow
        self.effects: list[Effect] = []
        self.sure = True
        self._left = _RULES  # rules to look at

    def _match(self, rule: _Rule) -> Match:
        try:
            found: Match = rule.test(self._flow)
        except _MALFORMED:
            return Match.PERHAPS  # of a newer version, or a mistake of the one that wrote it
        return found

    def through(self, key: Key, *, surely: bool, depth: int) -> bool:
        """Follow the rules of a chain. Returns whether all packets have met their fate there."""
        chain = self._chains.get(key)
        if chain is None or depth > _DEPTH or self._left < 0:
            self.effects.append(Effect(False, f"a chain {key[2]} that sockreg does not read"))
            return False
        for rule in chain.rules:
            self._left -= 1
            match = self._match(rule)
            if match is Match.NO or not rule.verdict:
                continue
            certain = surely and self.sure and match is Match.YES
            if rule.verdict in ("jump", "goto"):
                ended = self.through(
                    (key[0], key[1], rule.argument),
                    surely=surely and match is Match.YES,
                    depth=depth + 1,
                )
                if ended and match is Match.YES:
                    return True
                if ended:
                    self.sure = False
                if rule.verdict == "goto" and match is Match.YES:
                    return False
                continue
            if rule.verdict == "return":
                if match is Match.YES:
                    return False
                self.sure = False
                continue
            if rule.verdict != "accept":
                what = _ENDS.get(rule.verdict) or rule.argument
                self.effects.append(Effect(certain, f"{chain.where}: a rule {what}"))
            if match is Match.YES:
                return True
            self.sure = False
        return False


def sentence(effect: Effect) -> str:
    """``before this, nft table ip nat, chain pre: a rule redirects it to port 8080``."""
    return f"{'' if effect.surely else 'perhaps '}before this, {effect.text}"


def let_through(effect: Effect, protocol: int, prefix: str, ports: tuple[int, int]) -> str:
    """The command that has the filter leave such packets as they are, until it is loaded again."""
    if effect.base is None:
        return ""
    command, family, table, chain = effect.base
    name = PROTOCOL_NAMES[protocol]
    numbers = "" if ports == ANY_PORT else format_ports(*ports)
    if command == "nft":
        of = "ip6" if ":" in prefix else "ip"
        port = f"{name} dport {numbers}" if numbers else f"meta l4proto {name}"
        where = shell_words(family, table, chain)
        return f"nft insert rule {where} {of} daddr {prefix} {port} accept"
    port = f" --dport {numbers.replace('-', ':')}" if numbers else ""
    return f"{command} -t {shell(table)} -I {shell(chain)} -d {prefix} -p {name}{port} -j ACCEPT"


# nftables


def _ingress(objects: Sequence[Mapping[str, Any]]) -> list[str]:
    """The chains that meet frames before any of those that are read here."""
    return [
        f"nft table {chain.get('family')} {chain.get('table')}, chain {chain.get('name')} has "
        "rules that sockreg does not read"
        for item in objects
        if isinstance(chain := item.get("chain"), dict) and chain.get("hook") == "ingress"
    ]


def _places(objects: Sequence[Mapping[str, Any]]) -> dict[Key, int]:
    """Where each chain is in the list, which is in the order in which they were made."""
    return {
        (chain["family"], chain["table"], chain["name"]): place
        for place, item in enumerate(objects)
        if (chain := item.get("chain"))
    }


def _nft(objects: Sequence[Mapping[str, Any]], known: set[Key]) -> dict[Key, _Chain]:
    """The chains, without those that iptables has told better."""
    chains: dict[Key, _Chain] = {}
    sets: dict[tuple[str, str, str], Any] = {}
    for item in objects:
        for kind in ("set", "map"):
            if kind in item:
                each = item[kind]
                sets[each["family"], each["table"], each["name"]] = each.get("elem", [])
        if "chain" in item:
            each = item["chain"]
            key = (each["family"], each["table"], each["name"])
            if key not in known:
                chains[key] = _Chain(
                    f"nft table {each['family']} {each['table']}, chain {each['name']}",
                    "nft",
                    each.get("hook", ""),
                    int(each.get("prio", 0)),
                    each.get("policy", "accept"),
                    each.get("type") == "nat",
                )
    for item in objects:
        rule = item.get("rule")
        if rule is None or (key := (rule["family"], rule["table"], rule["chain"])) not in chains:
            continue
        chains[key].rules.extend(_nft_rules(rule.get("expr", []), key, sets))
    return chains


def _nft_rules(expressions: Sequence[Any], key: Key, sets: Mapping[Any, Any]) -> list[_Rule]:
    """The rule, or one for each element of its verdict map."""
    matches: list[Any] = []
    verdict, argument = "", ""
    for expression in expressions:
        ((name, content),) = expression.items()
        if name == "match":
            matches.append(content)
        elif name == "vmap":
            elements = _elements(content.get("data"), key, sets)
            if elements is not None:
                return [
                    _nft_rule(
                        [*matches, {"op": "==", "left": content.get("key"), "right": value}],
                        *_verdict(outcome),
                        key,
                        sets,
                    )
                    for value, outcome in elements
                ]
            matches.append(None)
            verdict, argument = "other", "decides in a way that sockreg does not read"
        elif name in _IGNORED:
            continue
        elif (known := _verdict(expression))[0]:
            verdict, argument = known
            if isinstance(content, dict) and any(
                isinstance(each, dict) for each in content.values()
            ):
                matches.append(None)  # a map, which may have no element for the packet
        elif not (name == "xt" and content.get("type") == "target"):
            matches.append(None)  # not understood, such as a limit, or a match of iptables
    return [_nft_rule(matches, verdict, argument, key, sets)]


def _verdict(statement: Mapping[str, Any]) -> tuple[str, str]:
    ((name, content),) = statement.items()
    if name in ("jump", "goto"):
        return name, content["target"]
    if name in ("accept", "return", *_ENDS):
        return name, ""
    if name in _MOVES:
        return name, _moved(name, content or {})
    if name == "xt" and content.get("type") == "target":
        return _target(content.get("name", ""), "")
    return "", ""


def _elements(data: Any, key: Key, sets: Mapping[Any, Any]) -> list[tuple[Any, Any]] | None:
    if isinstance(data, str):
        data = {"set": sets.get((key[0], key[1], data[1:]), [])}
    if not isinstance(data, dict) or not isinstance(data.get("set"), list):
        return None
    if any(not isinstance(each, list) or not isinstance(each[1], dict) for each in data["set"]):
        return None
    return [(each[0], each[1]) for each in data["set"]]


def _nft_rule(
    matches: Sequence[Any], verdict: str, argument: str, key: Key, sets: Mapping[Any, Any]
) -> _Rule:
    def test(flow: Flow) -> Match:
        return _all(_nft_match(match, flow, key, sets) for match in matches)

    return _Rule(test, verdict, argument)


def _moved(name: str, content: Mapping[str, Any]) -> str:
    to = ", ".join(
        f"{word} {content[word]}" if isinstance(content[word], str | int) else f"another {word}"
        for word in ("addr", "port")
        if word in content
    )
    to = to.replace("addr ", "address ")
    verb = {"dnat": "sends it", "redirect": "redirects it", "tproxy": "gives it"}[name]
    return f"{verb} to {to}" if to else f"{verb} elsewhere"


def _nft_match(
    match: Mapping[str, Any] | None, flow: Flow, key: Key, sets: Mapping[Any, Any]
) -> Match:
    if match is None:
        return Match.PERHAPS
    left, right, operator = match.get("left", {}), match.get("right"), match.get("op")
    if isinstance(right, str) and right.startswith("@"):
        right = {"set": sets.get((key[0], key[1], right[1:]), None)}
    if "payload" in left and _is_of_others(left["payload"].get("protocol"), flow):
        return Match.NO  # whatever the operator is: "tcp dport != 80" matches no UDP
    found = _field(left, right, flow)
    if operator == "!=":
        return Match(2 - found.value)
    return found if operator in ("==", "in") else Match.PERHAPS


def _field(left: Any, right: Any, flow: Flow) -> Match:
    values = _listed(right)
    if not isinstance(left, dict) or values is None:
        return Match.PERHAPS
    if "payload" in left:
        return _payload(left["payload"], values, flow)
    if "meta" in left:
        return _meta(left["meta"].get("key"), values, flow)
    if left.get("ct", {}).get("key") == "state":
        return _either("new" in values)
    fib = left.get("fib", {})
    if fib.get("result") == "type" and fib.get("flags") in ("daddr", ["daddr"]):
        return _either("local" in values)
    return Match.PERHAPS


def _is_of_others(protocol: Any, flow: Flow) -> bool:
    """Whether only other packets than these have such a header."""
    family = "ip" if flow.family == INET else "ip6"
    known = ("tcp", "udp", "ip", "ip6", "icmp", "icmpv6")
    return protocol in known and protocol not in (PROTOCOL_NAMES[flow.protocol], family)


def _payload(left: Mapping[str, Any], values: Sequence[Any], flow: Flow) -> Match:
    protocol, which = left.get("protocol"), left.get("field")
    name = PROTOCOL_NAMES[flow.protocol]
    family = "ip" if flow.family == INET else "ip6"
    if protocol not in (name, "th", family):
        return Match.PERHAPS
    if which == "dport":
        return _within(flow.ports, [_numbers(each) for each in values])
    if which == "daddr":
        return _within(flow.addresses, [_network(each, flow.family) for each in values])
    if which == "saddr" and flow.source is not None:
        return _within((flow.source,) * 2, [_network(each, flow.family) for each in values])
    if which in ("protocol", "nexthdr"):
        return _either(name in values)
    return Match.PERHAPS


def _meta(of: Any, values: Sequence[Any], flow: Flow) -> Match:
    if of == "l4proto":
        return _either(PROTOCOL_NAMES[flow.protocol] in values)
    if of == "nfproto":
        return _either(("ipv4" if flow.family == INET else "ipv6") in values)
    if of in ("iif", "iifname"):
        return _interface(values, flow)
    return Match.PERHAPS


def _listed(right: Any) -> list[Any] | None:
    if isinstance(right, dict) and "set" in right:
        content = right["set"]
        return content if isinstance(content, list) else None if content is None else [content]
    return right if isinstance(right, list) else [right]


def _numbers(value: Any) -> tuple[int, int] | None:
    if isinstance(value, dict) and "elem" in value:
        value = value["elem"].get("val")
    if isinstance(value, int):
        return value, value
    if isinstance(value, dict) and all(
        isinstance(each, int) for each in value.get("range", [None])
    ):
        return value["range"][0], value["range"][1]
    return None


def _network(value: Any, family: int) -> tuple[int, int] | None:
    if isinstance(value, dict) and "elem" in value:
        value = value["elem"].get("val")
    from ipaddress import ip_network

    try:
        if isinstance(value, dict) and "prefix" in value:
            value = f"{value['prefix']['addr']}/{value['prefix']['len']}"
        if isinstance(value, dict) and "range" in value:
            first, last = (ip_network(each) for each in value["range"])
            return int(first[0]), int(last[0])
        network = ip_network(value, strict=False)
    except (ValueError, TypeError, KeyError):
        return None
    if (network.version == 4) != (family == INET):
        return (-1, -1)
    return int(network[0]), int(network[-1])


def _interface(values: Sequence[Any], flow: Flow) -> Match:
    if flow.interface is None:
        # From another host: not by the loopback, and nobody knows by which other one.
        return Match.NO if set(map(str, values)) == {"lo"} else Match.PERHAPS
    for value in map(str, values):
        if value == flow.interface or (
            value.endswith("*") and flow.interface.startswith(value[:-1])
        ):
            return Match.YES
    return Match.NO


def _within(wanted: tuple[int, int], ranges: Sequence[tuple[int, int] | None]) -> Match:
    known = [each for each in ranges if each is not None]
    if any(first <= wanted[0] and wanted[1] <= last for first, last in known):
        return Match.YES
    touched = any(first <= wanted[1] and wanted[0] <= last for first, last in known)
    return Match.PERHAPS if touched or len(known) < len(ranges) else Match.NO


def _either(found: bool) -> Match:
    return Match.YES if found else Match.NO


def _all(matches: Iterator[Match]) -> Match:
    return min(matches, key=lambda match: match.value, default=Match.YES)


# iptables


def _iptables(command: str, lines: Sequence[str]) -> dict[Key, _Chain]:
    family = "ip6" if command.startswith("ip6") else "ip"
    chains: dict[Key, _Chain] = {}
    for line in lines:
        table, _, rest = line.partition(" ")
        of = table + _LEGACY if command.endswith("-legacy") else table
        if rest.startswith(":"):
            name, policy = rest[1:].split()[:2]
            chains[family, of, name] = _Chain(
                f"{command} -t {table}, chain {name}",
                command,
                _BUILT_IN.get(name, ""),
                _PRIORITIES.get(table, 0),
                policy.lower(),
                table == "nat",
            )
            continue
        words = shlex.split(rest)
        chain = chains.get((family, of, words[1]))
        if chain is not None:
            chain.rules.append(_iptables_rule(words[2:], family, of, chains))
    return chains


def _iptables_rule(words: list[str], family: str, table: str, chains: Chains) -> _Rule:
    """Read the options that iptables-save writes: each ``[!] -x VALUE``."""
    tests: list[Any] = []
    target, to = "", ""
    negated = False
    rest = iter(words)
    for word in rest:
        if word == "!":
            negated = True
            continue
        if word in ("-j", "-g"):
            target = next(rest, "")
        elif word in ("--to-ports", "--to-destination", "--on-port"):
            to = next(rest, "")
        elif word in (
            "-m",
            "--comment",
            "--reject-with",
            "--random",
            "--persistent",
            "--log-prefix",
        ):
            next(rest, "")
        elif word in _OPTIONS:
            tests.append((_OPTIONS[word], next(rest, ""), negated))
        elif word.startswith("-") and not target:
            tests.append((None, "", negated))
        negated = False
    if (family, table, target) in chains:
        verdict, argument = "jump", target
    else:
        verdict, argument = _target(target, to)

    def test(flow: Flow) -> Match:
        return _all(
            Match.PERHAPS
            if how is None
            else Match(2 - how(value, flow).value)
            if turned
            else how(value, flow)
            for how, value, turned in tests
        )

    return _Rule(test, verdict, argument)


def _target(target: str, to: str) -> tuple[str, str]:
    where = f" to {to}" if to else ""
    known = {
        "ACCEPT": ("accept", ""),
        "RETURN": ("return", ""),
        "DROP": ("drop", ""),
        "REJECT": ("reject", ""),
        "NFQUEUE": ("queue", ""),
        "DNAT": ("dnat", f"sends it{where or ' elsewhere'}"),
        "REDIRECT": ("redirect", f"redirects it{f' to port {to}' if to else ' elsewhere'}"),
        "TPROXY": ("tproxy", f"gives it to a socket of TPROXY{where}"),
    }
    return known.get(target, ("", ""))


def _ports_of(value: str, flow: Flow) -> Match:
    ranges = []
    for each in value.split(","):
        first, colon, last = each.partition(":")
        ranges.append((int(first or 0), int((last or 65535) if colon else first)))
    return _within(flow.ports, ranges)


def _conntrack(value: str, _: Flow) -> Match:
    return _either("NEW" in value.split(","))


_OPTIONS: dict[str, Any] = {
    "-p": lambda value, flow: _either(value in (PROTOCOL_NAMES[flow.protocol], "all")),
    "-d": lambda value, flow: _within(flow.addresses, [_network(value, flow.family)]),
    "-s": lambda value, flow: (
        Match.PERHAPS
        if flow.source is None
        else _within((flow.source,) * 2, [_network(value, flow.family)])
    ),
    "-i": lambda value, flow: _interface([value.replace("+", "*")], flow),
    "--dport": _ports_of,
    "--dports": _ports_of,
    "--ctstate": _conntrack,
    "--state": _conntrack,
    "--dst-type": lambda value, _: _either("LOCAL" in value.split(",")),
}


def flow_of(
    protocol: int, prefix: tuple[int, int, int], ports: tuple[int, int], interface: str | None
) -> Flow:
    """The packets of a rule: (family, address, length), and its ports."""
    family, address, length = prefix
    last = address | ((1 << (FAMILY_BITS[family] - length)) - 1)
    return Flow(family, protocol, (address, last), ports, interface=interface)
