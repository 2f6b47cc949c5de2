"""Commands in messages can be pasted to a shell, whatever names they have."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator

import pytest

from sockreg.printable import shell, shell_words
from tests.tree import ROOT

_COMMAND = re.compile(
    r"(?:^|')(?:\w+=\S+ )*(?:sockreg|systemctl|journalctl|ip|ss|nft|mount|umount|rm|rmdir|chmod|"
    r"chown|kill|ls|cat|lsns|nsenter|setfacl|sysctl|modprobe|bpftool|ln|mv) [^']*'?"
)
_QUOTING = {"shell", "shell_words"}

# What no shell changes: numbers, addresses, words of our own, and commands that are quoted where
# they are made.
SAFE = {
    "check/answers.py: target.address",
    "check/answers.py: target.port",
    "check/facts.py: both",
    "check/facts.py: registers",
    "check/facts.py: self.start(name)",
    "check/kernel.py: INTERFACES_SERVICE",
    "check/kernel.py: INTERFACES_SOCKET",
    "check/kernel.py: LOADER",
    "check/units.py: units",
    "cli/main.py: verb",
    "cli/verbs/bind.py: options.verb",
    "demo/script.py: self.name",
    "host/outside.py: command",
    "views/ahead.py: of",
    "views/ahead.py: port",
    "views/ahead.py: prefix",
    "views/ahead.py: where",
    "views/locality.py: bits",
    "views/locality.py: prefix",
}
# Sentences that begin with a program.
SENTENCES = (
    "nft table ",
    "sockreg on \ue000",
    "sockreg \ue000",
)

HOSTILE = (
    r"srv-foo\x2dbar.socket",
    "two words.socket",
    "it's.socket",
    "$(reboot).socket",
    "`reboot`",
    'a"b',
    "a;b|c&d>e",
    "*?[a]",
    "~root",
    "-f",
    "#x",
    "!1",
    "über.socket",
    "line\nend",
    "\x1b[31mred",
    "\udcff.socket",
    "",
)


def _interpolated() -> Iterator[tuple[str, str]]:
    """(place, expression) of what is put into commands in messages without being quoted."""
    for path in sorted((ROOT / "sockreg").rglob("*.py")):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if not isinstance(node, ast.JoinedStr):
                continue
            text = ""
            values: dict[str, ast.expr] = {}
            for part in node.values:
                if isinstance(part, ast.FormattedValue):
                    mark = chr(0xE000 + len(values))
                    values[mark] = part.value
                    text += mark
                elif isinstance(part, ast.Constant):
                    text += str(part.value)
            for command in _COMMAND.findall(text):
                if command.startswith(SENTENCES):
                    continue
                for mark in set(command) & set(values):
                    value = values[mark]
                    is_quoted = (
                        isinstance(value, ast.Call)
                        and isinstance(value.func, ast.Name)
                        and value.func.id in _QUOTING
                    )
                    if not is_quoted:
                        place = f"{path.relative_to(ROOT / 'sockreg')}: {ast.unparse(value)}"
                        yield place, command


def test_every_name_in_a_command_is_quoted() -> None:
    found = dict(_interpolated())
    assert {place: command for place, command in found.items() if place not in SAFE} == {}
    assert found.keys() >= SAFE


@pytest.mark.parametrize("name", HOSTILE)
def test_a_quoted_word_comes_out_as_it_went_in(name: str) -> None:
    word = shell(name)
    assert word.isprintable()
    # Only bash has a notation for what cannot be shown.
    for program in ("bash",) if word.startswith("$'") else ("sh", "bash"):
        script = f"printf '%s' {word}"
        done = subprocess.run([program, "-c", script], capture_output=True, check=True)
        assert done.stdout == name.encode("utf-8", "surrogateescape")


def test_words() -> None:
    assert shell_words("a.socket", r"b\x2dc.socket") == r"a.socket 'b\x2dc.socket'"
