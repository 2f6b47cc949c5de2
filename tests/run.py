"""``make test``: all tests, in two halves at once, as most of their time is waiting.

What the first half prints is shown as it comes, that of the other afterwards. Both must
pass. Ctrl-C ends both.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile

_HALVES = (("tests/pure", "tests/kernel"), ("tests/systemd",))


def main() -> int:
    """Run both; returns the worse exit status of the two (pytest's)."""
    shown, other = _HALVES
    with tempfile.TemporaryFile() as output:
        beside = subprocess.Popen(_command(other), stdout=output, stderr=subprocess.STDOUT)
        try:
            status = subprocess.run(_command(shown), check=False).returncode
            beside.wait()
        finally:
            # As a terminal would on Ctrl-C: pytest then takes its boxes down.
            if beside.poll() is None:
                beside.terminate()
                beside.wait()
        output.seek(0)
        sys.stdout.write(output.read().decode("utf-8", "replace"))
    return max(status, beside.returncode)


def _command(folders: tuple[str, ...]) -> list[str]:
    return [sys.executable, "-m", "pytest", *folders]


if __name__ == "__main__":
    sys.exit(main())
