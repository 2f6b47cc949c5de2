"""The start-up benchmark runs, registers for real and says what it found. No times are judged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench import startup


def test_it_measures_and_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert startup.main(["--rounds", "3", "--json", str(tmp_path / "figures.json")]) == 0
    *_, last = capsys.readouterr().out.splitlines()
    assert last.startswith("companion within 1.6 times the bare interpreter: ")
    content = json.loads((tmp_path / "figures.json").read_text())
    assert content["rounds"] == 3
    names = [figure["name"] for figure in content["figures"]]
    assert names[-2:] == [
        "bare interpreter: python3 -I -S -c pass",
        "companion: registers a socket",
    ]
    assert all(figure["median"] > 0 for figure in content["figures"])


def test_the_verdict_is_that_of_the_ratio() -> None:
    times = {startup.BARE: [10.0, 10.0, 10.0], startup.COMPANION: [16.0, 16.0, 16.0]}
    assert startup.verdict(startup.figures(times)) == "met (1.60)"
    times[startup.COMPANION] = [16.1, 16.1, 16.1]
    assert startup.verdict(startup.figures(times)) == "not met (1.61)"
