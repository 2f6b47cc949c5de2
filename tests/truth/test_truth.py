"""What sockreg says is what happens: a few seeds of what ``make test-truth`` does at length."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.truth.trial import Count, run_seed


@pytest.mark.parametrize("seed", range(4))
def test_what_is_said_is_what_happens(tmp_path: Path, seed: int) -> None:
    count = Count()
    run_seed(str(seed), tmp_path, count)
    assert not count.differences, "\n\n".join(count.differences)
