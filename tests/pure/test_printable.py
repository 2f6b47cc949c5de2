"""Names that others choose reach the terminal as text, never as commands for it."""

from __future__ import annotations

import ast
import ctypes
import json
import os
import re
import subprocess
import threading
from xml.etree import ElementTree

import pytest

from sockreg import printable
from sockreg.cli import printing
from sockreg.errors import SockregError
from sockreg.host import links, processes
from tests.tree import ROOT

_PR_SET_NAME = 15  # linux/prctl.h
NAMES = [
    "web.socket",
    'it\'s <&> "all" $(reboot) `x` \\n',
    "\x1b[2J\x9b\x07\x7f\r\x00".replace("\0", ""),
    "\u202e\u2066\u2028\x85\x0c\n'\udcff",
    "e" + 9 * "\u0301",
    "\ufffe\uffff\U0001f600",
]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("nginx: worker", "nginx: worker"),
        ("größe", "größe"),
        ("\x1b[2J", r"\x1b[2J"),
        ("a\nb\r", r"a\nb\r"),
        ("\u202eevil", r"\u202eevil"),
        ("\udcff", r"\udcff"),
        ("\x85\u2028\x9b\x7f", r"\x85\u2028\x9b\x7f"),
        ("\u2066\u2069\u200f\ufeff", r"\u2066\u2069\u200f\ufeff"),
        ("e\u0301\u0323", "e\u0301\u0323"),  # as in Vietnamese
        ("e" + 9 * "\u0301", "e\u0301\u0301" + 7 * r"\u0301"),
        ("\u0301", r"\u0301"),
    ],
)
def test_what_cannot_be_shown_is_escaped(name: str, shown: str) -> None:
    assert printable.printable(name) == shown


@pytest.mark.parametrize("name", NAMES)
def test_each_kind_of_output_is_safe(name: str) -> None:
    """What comes out can be encoded, and says the same when it is read."""
    for function in (printable.printable, printable.xml, printable.dot, printable.shell):
        shown = function(name)
        assert shown.isprintable()
        shown.encode()
    shown = printable.printable(name)
    assert printable.printable(shown) == shown
    assert ElementTree.fromstring(f"<a>{printable.xml(name)}</a>").text == shown
    assert re.fullmatch(r'([^"\\]|\\.)*', printable.dot(name))
    word = subprocess.run(
        ["/bin/bash", "-c", f"printf %s {printable.shell(name)}"], capture_output=True, check=True
    )
    assert word.stdout == os.fsencode(name)


def test_lines_that_were_put_together_stay_lines() -> None:
    assert printable.printable_lines("a\n\x1bb\n") == "a\n\\x1bb\n"
    assert SockregError(["a\nb", "c"], "d\ne").lines == [r"a\nb", "c"]
    assert SockregError("a\nb", "d\ne").entry == [r"a\nb (d\ne)"]


def test_a_message_has_an_end() -> None:
    shown = printable.message(f"begin {'x' * 10**7} end")
    assert len(shown) < 10_000
    assert shown.startswith("begin ")
    assert shown.endswith(" end")


def test_json_is_utf8_whatever_the_name() -> None:
    for name in (*NAMES, "\\udcff", "\U0001f600\ud83d"):
        text = printing._encode({"name": name})
        read = json.loads(text)["name"]
        read.encode()  # no surrogates
        assert read == "".join(
            f"\\u{ord(one):04x}" if "\ud800" <= one <= "\udfff" else one for one in name
        )


def test_everything_is_printed_in_one_place() -> None:
    """Elsewhere, nobody would think of it each time."""
    found = [
        f"{path.relative_to(ROOT)}: {ast.unparse(node)}"
        for path in sorted((ROOT / "sockreg").rglob("*.py"))
        if path.name != "streams.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if _prints(node)
    ]
    assert not found, "print with sockreg/streams.py"


def test_a_line_is_one_line() -> None:
    """What ends a line inside of a text is escaped, as nobody knows whose it is."""
    found = [
        f"{path.relative_to(ROOT)}: {ast.unparse(call)}"
        for path in sorted((ROOT / "sockreg").rglob("*.py"))
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call)
        and ast.unparse(call.func).rpartition(".")[2] in {"out", "err", "say", "warn"}
        for part in ast.walk(call)
        if isinstance(part, ast.Constant) and "\n" in str(part.value)
    ]
    assert not found, "say each line"


def _prints(node: ast.AST) -> bool:
    """Whether this is print(), or calls a method of a standard stream that writes."""
    if isinstance(node, ast.Name):
        return node.id == "print"
    if isinstance(node, ast.Attribute):
        writes = node.attr in {"write", "writelines", "flush", "buffer", "fileno"}
        return writes and ast.unparse(node.value) in {"sys.stdout", "sys.stderr"}
    return False


def test_the_name_of_a_process() -> None:
    """Anybody may give a process a name that is a command for the terminal of root."""
    seen: list[str] = []

    def look() -> None:
        ctypes.CDLL(None).prctl(_PR_SET_NAME, b"\x1b[2J\nroot\xff", 0, 0, 0)
        seen.append(processes.named(threading.get_native_id()).name)

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [r"\x1b[2J\nroot\xff"]
    assert processes.named(os.getpid()).name.isprintable()


def test_the_name_of_an_interface() -> None:
    assert links._text(b"br\x1b0\xff\0") == r"br\x1b0\udcff"
