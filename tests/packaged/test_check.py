"""At least 60 .socket units of Debian's packages: as files, and before and after enabling."""

from __future__ import annotations

from pathlib import Path

from tests.packaged.packages import INTO, PACKAGES, download, units_of
from tests.packaged.stages import examine
from tests.sandbox import Sandbox
from tests.systemd.conftest import LOWER


def test_units_of_packages(installed: Path, tmp_path: Path) -> None:
    download()
    tree = units_of(PACKAGES, tmp_path)
    names = sorted(path.name for path in (tree / INTO).glob("*.socket") if "@." not in path.name)
    assert len(names) >= 60
    with Sandbox(trees=[tree, installed], lower=LOWER) as box:
        led = examine(box, names)
    print(f"{len(names)} units, {led} rules led to their sockets")
    assert led >= 20
