"""Play the demo in a fresh box.

With ``--graph FILE`` it also writes what ``sockreg graph`` draws before the last step, such as
the picture in the README: ``python -m tests.demo --graph docs/graph.svg``.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from pathlib import Path

from tests.demo.play import NotShownError, strong
from tests.demo.script import STEPS
from tests.sandbox import Sandbox, stage

ROOT = Path(__file__).with_name("root")


def main() -> int:
    """Play every step; returns the exit status."""
    parser = argparse.ArgumentParser(prog="tests.demo")
    parser.add_argument("--graph", metavar="FILE", type=Path, help="where to draw the last rules")
    graph = parser.parse_args().graph
    if os.geteuid() != 0:
        print(
            "demo: it boots a systemd in namespaces of its own, which takes root", file=sys.stderr
        )
        return 1
    # The default action would end the process without undoing anything.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with tempfile.TemporaryDirectory(prefix="sockreg-demo-") as directory:
            installed = stage(Path(directory, "installed"))
            with Sandbox("demo", trees=[installed, ROOT]) as box:
                shown = _play(box, graph)
    except KeyboardInterrupt:
        sys.stdout.flush()  # what it has printed comes first
        print("\ndemo: interrupted; nothing of it is left", file=sys.stderr)
        return 130
    if not shown:
        return 1
    print()
    print(strong(f"All {len(STEPS)} steps showed what they say, and nothing of them is left."))
    return 0


def _play(box: Sandbox, graph: Path | None) -> bool:
    """Whether every step showed what it says; otherwise the first that did not is named."""
    print("A systemd of its own runs here, in namespaces that end with the demo.")
    for number, step in enumerate(STEPS, 1):
        if graph is not None and number == len(STEPS):
            graph.write_text(box.run(["sockreg", "graph"]).stdout)
        try:
            step.play(box, number)
        except NotShownError as difference:
            sys.stdout.flush()
            journal = box.run(["journalctl", "-q", "-n", "30", "--no-pager"], check=False)
            print(f"\n{journal.stdout}", file=sys.stderr)
            print(f"demo: step {number}, {step.title}: {difference}", file=sys.stderr)
            return False
    return True


if __name__ == "__main__":
    sys.exit(main())
