"""Write the completions for bash, zsh and fish into a directory: generate.py DIRECTORY

shtab takes verbs, options and choices from the parser. Here stands what else an argument can
be: which function of names.sh and names.fish prints what there is.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import shtab

from sockreg.cli.main import parser

_HERE = Path(__file__).parent
_FILES = {"bash": "sockreg.bash-completion", "zsh": "sockreg.zsh", "fish": "sockreg.fish"}

# By the word that stands for an argument in the help. What is not here has to be added, be it
# only to the last line: for these nothing can be offered.
_OFFERED = {
    "CONDITION": "rule_conditions",
    "DIR": "directories",
    "DIRECTORY": "directories",
    "FILE": "files",
    "LABEL": "labels",
    "NETNS": "netns",
    "PATH": "files",
    "PID": "pids",
    "PROTO": "protocols",
    "SOURCE": "files",
    "UNIT": "socket_units",
    **dict.fromkeys(("ADDR", "ADDRESS", "COOKIE", "LINES", "N", "NAME", "PORT", "PORTS", "PREFIX",
                     "S", "SECONDS", "SPAN", "TIME", "TOKEN", "WEIGHT"), ""),
}  # fmt: skip
# Where the same word stands for something narrower: (verb, argument).
_NARROWER = {
    ("explain", "conditions"): "packet_conditions",
    ("register", "of_unit"): "running_services",
    **dict.fromkeys(
        (("unregister", "unit"), ("weight", "unit"), ("drain", "unit")), "registered_units"
    ),
}
_SHTABS_OWN = {"files": shtab.FILE, "directories": shtab.DIRECTORY}


def completion(shell: str) -> str:
    """The text of the completion for ``bash``, ``zsh`` or ``fish``."""
    top = parser()
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, verb in action.choices.items():
                _mark(name, verb)
            for listed in action._get_subactions():
                action.choices[listed.dest].description = listed.help  # one line beside the verb
    _mark("", top)
    names = (_HERE / ("names.fish" if shell == "fish" else "names.sh")).read_text()
    names = names.replace("@COLUMN@", (_HERE / "column.awk").read_text().rstrip("\n"))
    if shell == "fish":
        return shtab.complete(top, "fish", preamble=names)
    if shell == "zsh":
        generated = shtab.complete(top, "zsh", preamble=names + (_HERE / "zsh.sh").read_text())
        # The value may stand behind '=' as well: "optspecs" of _arguments in zshcompsys(1).
        return re.sub(r'^( *"--[\w-]+)(\[.*\]:)', r"\1=\2", generated, flags=re.MULTILINE)
    generated = shtab.complete(top, "bash", preamble=names)
    before, _, _ = generated.rpartition("\ncomplete ")  # that of bash.sh stands in its place
    return before + "\n" + (_HERE / "bash.sh").read_text()


def _mark(verb: str, target: argparse.ArgumentParser) -> None:
    """Tell shtab of each argument what there is to offer."""
    for action in target._actions:
        takes_value = action.nargs != 0 and not isinstance(action, argparse._SubParsersAction)
        if not takes_value or action.choices:
            continue
        named = action.metavar or action.dest.upper()
        word = named if isinstance(named, str) else named[0]
        offered = _NARROWER.get((verb, action.dest), _OFFERED[word])
        if offered in _SHTABS_OWN:
            action.complete = _SHTABS_OWN[offered]  # type: ignore[attr-defined]
        elif offered:
            function = f"_sockreg_{offered}"
            action.complete = {  # type: ignore[attr-defined]
                "bash": function,
                "zsh": f"_sockreg_offer {function}",
                "fish": f"({function})",
            }


def main() -> None:
    for shell, name in _FILES.items():
        Path(sys.argv[1], name).write_text(completion(shell).rstrip("\n") + "\n")


if __name__ == "__main__":
    main()
