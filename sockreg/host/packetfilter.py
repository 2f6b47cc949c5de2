"""The rules of the packet filter, read with nft(8) and iptables-save(8). Changes nothing."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_NFT = ("nft", "--json", "list", "ruleset")
# The older iptables keep their rules where nft does not see them. Their kernel modules say so.
_LEGACY = {
    "ip": (Path("/proc/net/ip_tables_names"), "iptables-legacy-save"),
    "ip6": (Path("/proc/net/ip6_tables_names"), "ip6tables-legacy-save"),
}
_PATIENCE = 20  # s


@dataclass
class Ruleset:
    """What the commands said. ``nft`` are the objects of libnftables-json(5).

    ``iptables`` are lines of iptables-save after the name of their table, by the command that shows
    and changes them, such as ``ip6tables-legacy``. Rules of iptables-nft are in ``nft``, too, but
    not all that they say. ``unread`` says what could not be read and why.
    """

    nft: list[dict[str, Any]] = field(default_factory=list)
    iptables: dict[str, list[str]] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)


def read() -> Ruleset:
    """The rules of the calling thread's network namespace. No failure of a command is raised."""
    found = Ruleset()
    text = _output(found, _NFT, "nftables")
    if text:
        try:
            found.nft = [dict(item) for item in json.loads(text)["nftables"]]
        except (ValueError, KeyError, TypeError, RecursionError):
            found.unread.append("nftables: the answer of nft is not understood")
    for family, save in (("ip", "iptables-save"), ("ip6", "ip6tables-save")):
        if _has_compatible(found.nft, family):
            _save(found, save)
        names, legacy = _LEGACY[family]
        if _lists(names):
            _save(found, legacy)
    return found


def _has_compatible(nft: list[dict[str, Any]], family: str) -> bool:
    """Whether rules have expressions that only iptables understands."""
    return any(
        "xt" in expression
        for item in nft
        if isinstance(rule := item.get("rule"), dict) and rule.get("family") == family
        for expression in rule.get("expr") or ()
        if isinstance(expression, dict)
    )


def _lists(names: Path) -> bool:
    try:
        return bool(names.read_bytes().strip())
    except OSError:
        return False  # no such module


def _save(found: Ruleset, save: str) -> None:
    command = save.removesuffix("-save")
    table = ""
    for line in (_output(found, (save,), command) or "").split("\n"):
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(("-A", ":")):
            found.iptables.setdefault(command, []).append(f"{table} {line}")


def _output(found: Ruleset, command: tuple[str, ...], what: str) -> str | None:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            check=False,
            timeout=_PATIENCE,
        )
    except FileNotFoundError:
        found.unread.append(f"{what}: there is no command {command[0]}")
        return None
    except (OSError, subprocess.TimeoutExpired) as error:
        found.unread.append(f"{what}: {error}")
        return None
    if done.returncode:
        last = (
            done.stderr.strip().split("\n")
            if done.stderr.strip()
            else [f"status {done.returncode}"]
        )[-1]
        found.unread.append(f"{what}: {last}")
        return None
    return done.stdout
