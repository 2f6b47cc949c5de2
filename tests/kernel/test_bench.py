"""The measurements run, everything they send arrives, and they say what they found.

No figures are judged: see make bench for these.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.bench import __main__ as bench
from tests.bench import apply, connections, contenders, fullpath, startup, swap

pytestmark = pytest.mark.bench

NAMES = {
    contenders.ORDINARY,
    contenders.WILDCARD,
    contenders.EMPTY,
    contenders.ATTACHED,
    contenders.REGISTERED,
    contenders.STEERED,
    contenders.PEER,
    contenders.TPROXY,
    contenders.REDIRECT,
}


def _measured(part: str, directory: Path) -> Any:
    """Run one part; returns its figures. Its plot must be there."""
    file = directory / "figures.json"
    options = ["--quick", "--only", part, "--json", str(file), "--plots", str(directory)]
    assert bench.main(options) == 0
    content = json.loads(file.read_text())
    assert content["quick"] is True
    assert "CPUs, Linux " in content["machine"]
    return content["parts"][part]["figures"]


def test_an_apply_and_its_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(apply, "_QUICK", (1_000,))
    (found,) = _measured("apply", tmp_path)
    assert found["rules"] == 1_000
    assert set(found["steps"]) == set(apply.STEPS)
    assert set(found["listings"]) == {"status", "rules"}
    assert "apply of 1,000 rules, best: at most 0.25 s" in capsys.readouterr().out
    assert (tmp_path / "bench-apply.svg").exists()


@pytest.mark.long
def test_swaps_under_load_go_wrong_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(swap, "_QUICK", 10)
    _, checks, swaps, crashes = _measured("swap", tmp_path)
    assert swaps["disturbances"] == 10
    assert crashes["disturbances"] == len(apply.STEPS) + 1
    for load in (checks, swaps, crashes):
        assert load["wrong"] == {"tcp": {}, "udp": {}}
        assert all(asked > 0 for asked in load["asked"].values())
    assert "2 of 2 aims met" in capsys.readouterr().out


@pytest.mark.long
def test_floods_arrive_at_every_contender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fullpath, "_QUICK", 1)
    found = _measured("fullpath", tmp_path)
    assert {it["contender"] for it in found} == NAMES
    assert {it["flood"] for it in found} == {kind.name for kind in fullpath.KINDS}
    without = {contenders.ORDINARY, contenders.WILDCARD, contenders.TPROXY, contenders.REDIRECT}
    assert {it["contender"] for it in found if it["bpf_stats_ns"] is None} == without
    assert (tmp_path / "bench-fullpath.svg").exists()


def test_connections_reach_every_contender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_QUICK", 1)
    found = _measured("connections", tmp_path)
    assert {(it["version"], it["contender"]) for it in found} == {
        (version, name) for version in (4, 6) for name in NAMES
    }
    assert (tmp_path / "bench-connections.svg").exists()


def test_the_start_up_of_a_companion(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
