"""The same as ``make test-packages``, with the units of the system in the box.

Some packages are added, if they have been downloaded.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.packaged.packages import INTO, units_of
from tests.packaged.stages import examine
from tests.sandbox import Sandbox
from tests.systemd.conftest import LOWER

FEW = ("atftpd", "openssh-server", "rpcbind", "sane-utils")


@pytest.mark.long
def test_units_of_this_system(installed: Path, tmp_path: Path) -> None:
    tree = units_of(FEW, tmp_path)
    with Sandbox(trees=[tree, installed], lower=LOWER) as box:
        names = [
            name
            for name in box.run(["ls", f"/{INTO}"]).stdout.split()
            if name.endswith(".socket") and "@." not in name and not name.startswith("sockreg")
        ]
        assert names
        examine(box, names)
