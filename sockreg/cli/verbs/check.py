"""``sockreg check``: the lint."""

from __future__ import annotations

import argparse
import shutil
import textwrap
from collections import Counter
from typing import TYPE_CHECKING

from sockreg.api import Registry
from sockreg.check.finding import Finding, Severity
from sockreg.cli.printing import print_json
from sockreg.cli.verb import Group, Verb
from sockreg.errors import ConfigError
from sockreg.plural import plural
from sockreg.printable import printable
from sockreg.streams import out, out_lines

if TYPE_CHECKING:
    from sockreg.streams import Tone

_EACH = 10  # limit on the findings of one kind that are shown
_NARROW = 80
_TONES: dict[Severity, Tone] = {
    Severity.ERROR: "bad",
    Severity.WARNING: "doubtful",
    Severity.NOTE: "",
}


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--files", action="store_true", help="check only files, not this kernel")
    how.add_argument(
        "--probe",
        action="store_true",
        help="also try each label: send it a datagram, or connect from a namespace of its own",
    )
    parser.add_argument(
        "--all", action="store_true", help=f"show more than {_EACH} findings of a kind"
    )


def _run(registry: Registry, options: argparse.Namespace) -> None:
    found = registry.check(files_only=options.files, probe=options.probe)
    if options.json:
        print_json("findings", found)
    else:
        _show(found, everything=options.all)
    errors = sum(finding.severity is Severity.ERROR for finding in found)
    if errors:
        raise ConfigError(f"check: {plural(errors, 'error')}", "")


def _show(found: list[Finding], *, everything: bool) -> None:
    width = max(shutil.get_terminal_size((_NARROW, 0)).columns, _NARROW)
    shown: Counter[tuple[Severity, str]] = Counter()
    for finding in found:
        kind = finding.severity, finding.check
        shown[kind] += 1
        if everything or shown[kind] <= _EACH:
            head = f"{finding.severity} ({finding.check})"
            out(f"{head}: {finding.where}" if finding.where else head, _TONES[finding.severity])
            for name, sentence in (
                ("what", finding.what),
                ("why", finding.why),
                ("fix", finding.fix),
            ):
                _line(name, sentence, width)
    for (severity, check), count in shown.items():
        if count > _EACH and not everything:
            out(f"{severity} ({check}): {count - _EACH} more, shown with --all", _TONES[severity])
    if not found:
        out("nothing found", "good")


def _line(name: str, sentence: str, width: int) -> None:
    wrapped = textwrap.wrap(
        printable(sentence),
        width,
        initial_indent=f"  {name:5}",
        subsequent_indent="       ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    out_lines(wrapped)


VERB = Verb(
    name="check",
    group=Group.LOOK,
    summary="look for traps in units, rules and sockets",
    description=(
        "Look for problems, present and future: in files, and in the rules in force. Each "
        "finding says what is wrong and where, why it matters, and how to fix it. Exits with "
        "status 78 if there is an error."
    ),
    add_arguments=_add_arguments,
    run=_run,
)
