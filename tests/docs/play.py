"""Doing in a box what a document says, and comparing what is seen with what it shows."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from tests.docs.document import Command, File, Scene
from tests.sandbox import Sandbox

# What no box can do, and how else it is known to be true.
NOT_PLAYED = {
    "apt install": "a box has no network; a pure test looks for the packages",
    "git clone": "a box has no network",
    "make ": "would run this very test; a pure test looks for the target",
    "tests/make ": "the same",
}

# Differ from run to run: socket cookies, network namespaces, program ids and tags, ages, times.
_VARIABLE = re.compile(
    r"sk:[0-9a-f]+|(?<=namespace )\d+|(?<=bpf/sockreg/)\d+|(?<=\bid )\d+|(?<=tag )[0-9a-f]+"
    r"|\d+ (?:s|min) old|(?<=table )\d+ bytes|(?<=sockreg )\d+\.\d+\.\d+"
    r"|[A-Z][a-z][a-z] +\d+ \d\d:\d\d:\d\d|(?<=dynamic port )\d+"
)
_ANY_LINES = "..."


def play(box: Sandbox, scene: Scene, played: Callable[[Command], None] | None = None) -> None:
    """Play a scene in a box. ``played`` is called after each command.

    AssertionError names the document's line that does not hold.
    """
    for action in scene.actions:
        if isinstance(action, File):
            write(box, action)
        elif not is_left_out(action):
            run(box, action)
            if played is not None:
                played(action)


def is_left_out(command: Command) -> bool:
    """Whether this is one of NOT_PLAYED."""
    return command.line.startswith(tuple(NOT_PLAYED))


def write(box: Sandbox, file: File) -> None:
    """Write a file of the document; one that begins with #! is a program."""
    box.write(file.path, file.text)
    if file.text.startswith("#!"):
        box.run(["chmod", "+x", file.path])


def run(
    box: Sandbox,
    command: Command,
    *,
    directory: str = "/root/sockreg",
    within: Sequence[str] = (),
) -> None:
    """Run a command of root and compare what it prints, in another place ``within`` a command."""
    box.run(["journalctl", "--sync"])  # what happened before shows in the journal
    script = f"cd {directory}; exec 2>&1\n{command.line}"
    done = box.run([*within, "bash", "-c", script], check=False, timeout=120)
    seen = (
        f"{command.place}: {command.line}\nended with {done.returncode} and printed\n{done.stdout}"
    )
    if done.returncode != 0:
        journal = box.run(["journalctl", "-q", "-n", "30"], check=False).stdout
        raise AssertionError(f"{seen}--- journal\n{journal}")
    if command.shown and not matches(command.shown, done.stdout.splitlines()):
        shown = "\n".join(command.shown)
        raise AssertionError(f"{seen}where the document shows\n{shown}")


def matches(shown: Sequence[str], printed: Sequence[str]) -> bool:
    """Whether the printed lines are those shown, but for what is variable."""
    pattern = "".join(
        r"(?:.*\n)*?" if line == _ANY_LINES else re.escape(_constant(line)) + r"\n"
        for line in shown
    )
    return re.fullmatch(pattern, "".join(_constant(line) + "\n" for line in printed)) is not None


def _constant(line: str) -> str:
    """The line without what varies; the width of a column is part of that."""
    return " ".join(_VARIABLE.sub("#", line).split())
