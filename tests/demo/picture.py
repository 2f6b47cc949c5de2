"""The picture in the README: what ``sockreg graph`` draws before the demo unloads.

python -m tests.demo.picture >docs/graph.svg
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
from pathlib import Path

from tests.demo.__main__ import ROOT
from tests.demo.script import STEPS
from tests.sandbox import Sandbox, stage


def drawn() -> str:
    """Play all steps but the last, and draw what is in force."""
    with tempfile.TemporaryDirectory(prefix="sockreg-demo-") as directory:
        installed = stage(Path(directory, "installed"))
        with Sandbox("demo", trees=[installed, ROOT]) as box:
            with contextlib.redirect_stdout(io.StringIO()):
                for number, step in enumerate(STEPS[:-1], 1):
                    step.play(box, number)
            return box.run(["sockreg", "graph"]).stdout


if __name__ == "__main__":
    sys.stdout.write(drawn())
