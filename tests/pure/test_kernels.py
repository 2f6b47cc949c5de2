"""The tests that `make test-kernels` names are there, for kernels of every age."""

from __future__ import annotations

import sys

from tests.kernels import chosen
from tests.process import run
from tests.tree import ROOT


def test_they_are_found() -> None:
    named = {name for minor in range(20) for name in chosen.arguments((5, minor), has_vrf=False)}
    named |= {name for minor in range(20) for name in chosen.arguments((6, minor), has_vrf=True)}
    collect = [sys.executable, "-m", "pytest", "--collect-only", "-q", *sorted(named)]
    run(collect, cwd=ROOT, timeout=120)
