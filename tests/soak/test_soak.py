"""Some seconds of what ``make test-soak`` does for ten minutes."""

from __future__ import annotations

from pathlib import Path

from tests.soak.soak import run


def test_changes_under_traffic_mislead_nobody_and_leave_nothing(tmp_path: Path) -> None:
    outcome = run(6.0, 7, tmp_path)
    assert outcome.misdirected == []
    assert outcome.counted == outcome.asked
    assert outcome.pins[0] == outcome.pins[1]
    assert outcome.changes["apply"] > 0
    assert outcome.asked > 100
