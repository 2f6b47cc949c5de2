"""Spelling and style of all texts: documents, units, messages, docstrings and comments."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from tests.docs import DOCUMENTS
from tests.process import run
from tests.prose import prose
from tests.pure.test_lint import files, text_lines
from tests.tree import ROOT

UNITS = {".service", ".socket", ".path", ".mount", ".sysusers", ".catalog"}
TEXTS = [
    *DOCUMENTS,
    *sorted(path for path in (ROOT / "units").iterdir() if path.suffix in UNITS),
    *sorted((ROOT / "sockreg").rglob("*.py")),
    *sorted((ROOT / "bpf").glob("*.[ch]")),
]

# Phrases that are seldom right, and what is said instead.
PHRASES = {
    r"whoever|whomever|whosoever": "name the person or the program",
    r"of whom|to whom": "which, or name the person",
    r"(?<!left )(?<!leave )alone": "only",
    r"(is|are|was|were) to be": "must be, or the imperative",
    r"that is to say": "nothing",
    r"(was|were|is|are|been) asked": "used, called, queried",
    r"anew": "again",
    r"of before": "previous",
    r"puts? (\w+ )?right": "fix, correct, repair",
    r"lead there": "point to ...",
    r"(is|are|was|were) told": "reported, printed",
    r"one (needs|sees|has|enables|wants|does)": "the imperative, or you",
    r"otherwise than": "differently from",
    r"goes by": "applies, follows",
    r"for ever": "forever",
    r"stands? in (the|a|its|it|section)|stands (there|here|elsewhere|beside)": "is in",
    r"as (it has|they have) it": "as described in",
    r"what there is": "name it",
    r"tells? (of|about)": "describe, report",
    r"or the like": "name it",
}

# What proselint knows about typography is meant for print, not for terminals.
PROSELINT = {
    "checks": {
        "typography": False,
        "lexical_illusions": False,  # code is left out, and what remains touches
        "industrial_language.chatspeak": False,  # rows of a table: B4
        "misc.phrasal_adjectives.ly": False,  # a check is called partly-local
        "dates_times.dates.dash_and_from": False,  # takes ports for years
    }
}


def tool(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def test_spelling(monkeypatch: pytest.MonkeyPatch) -> None:
    """codespell with the words that pyproject.toml allows."""
    monkeypatch.chdir(ROOT)
    run([tool("codespell"), *(str(path) for path in files() if text_lines(path))], timeout=120)


def test_style(tmp_path: Path) -> None:
    """proselint on the English of each file."""
    config = tmp_path / "proselint.json"
    config.write_text(json.dumps(PROSELINT))
    folder = tmp_path / "texts"
    for path in TEXTS:
        copy = folder / f"{path.relative_to(ROOT)}.txt"
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text("\n".join(prose(path)) + "\n")
    # After the verb, whose parser would set --config back to nothing.
    options = ["--config", str(config), "--output-format", "compact"]
    run([tool("proselint"), "check", *options, str(folder)], timeout=120)


@pytest.mark.parametrize("phrase", PHRASES)
def test_phrases(phrase: str) -> None:
    """No text uses a phrase that sounds translated."""
    pattern = re.compile(rf"\b({phrase})\b", re.IGNORECASE)
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in TEXTS
        for number, line in enumerate(prose(path), 1)
        if pattern.search(line)
    ]
    assert not found, f"say instead: {PHRASES[phrase]}"
