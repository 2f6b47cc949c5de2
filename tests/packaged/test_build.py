"""The Debian package is built from source, checked and used with the tools of each suite.

Each suite has another clang, which compiles the BPF objects of its package.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from sockreg import __version__
from tests.packaged.roots import build_root
from tests.sandbox import Sandbox
from tests.systemd.units import web

BUILT = "/root/built"


@pytest.fixture(params=["bookworm", "trixie", "sid"], scope="module")
def box(request: pytest.FixtureRequest, source: Path) -> Iterator[Sandbox]:
    """A Debian with the tools of packagers, in which the packages have been built."""
    lower = str(build_root(request.param))
    units = web() | {"/usr/sbin/policy-rc.d": ""}
    with Sandbox(lower=lower, trees=[source], files=units) as box:
        box.run(["/root/source/units/debian/build.sh", BUILT], timeout=300)
        yield box


def test_the_source_package_builds_by_itself_and_twice(box: Sandbox) -> None:
    """With what it says it is built with, and without what the first time left."""
    script = f"""
        set -e
        mkdir /root/again
        cd /root/again
        dpkg-source -x {BUILT}/sockreg_*.dsc tree
        cd tree
        ! ls bpf/*.bpf.o
        dpkg-buildpackage --no-sign
        dpkg-buildpackage --no-sign
        cmp ../sockreg_*.deb {BUILT}/sockreg_*.deb
    """
    box.run(["sh", "-c", script], timeout=300)


# What the lintian of one suite recommends, below warnings, and that of another does not know.
BY_AGE = (
    "newer-standards-version", "older-debian-watch-file-standard", "out-of-date-standards-version",
    "package-supports-alternative-init-but-no-init.d-script",
    "package-uses-old-debhelper-compat-version", "redundant-priority-optional-field",
    "redundant-rules-requires-root-no-field", "unused-override",
)  # fmt: skip


def test_lintian_is_content(box: Sandbox) -> None:
    command = f"lintian --allow-root --display-info --pedantic {BUILT}/*.changes 2>&1"
    said = box.run(["sh", "-c", command], check=False, timeout=300).stdout
    for_all = re.compile(rf"(?!N: )(?![IP]: [^:]+: ({'|'.join(BY_AGE)})\b)")
    assert [line for line in said.splitlines() if for_all.match(line)] == []


def test_autopkgtest_is_content(box: Sandbox) -> None:
    """On the machine itself, with the package that was built; a box is no machine to isolate."""
    command = f"autopkgtest --ignore-restrictions isolation-machine {BUILT}/*.changes -- null 2>&1"
    done = box.run(["sh", "-c", f"dpkg -i {BUILT}/*.deb && {command}"], check=False, timeout=300)
    assert done.returncode == 0, done.stdout
    assert "demo                 PASS" in done.stdout, done.stdout
    box.run(["dpkg", "-P", "sockreg"])


def test_rpmbuild_and_rpmlint_are_content(box: Sandbox) -> None:
    """With those of Debian."""
    box.run(["/root/source/units/rpm/build.sh", BUILT], timeout=300)
    files = f"{BUILT}/*.rpm /root/source/units/rpm/sockreg.spec"
    config = "/root/source/units/rpm/rpmlint.toml"
    said = box.run(["sh", "-c", f"rpmlint --config {config} {files}"], timeout=300).stdout
    assert ": W: " not in said, said
    assert " 0 errors, 0 warnings" in said, said


def test_the_rpm_serves_and_leaves_nothing(box: Sandbox) -> None:
    """Upgraded in between. Debian's Python does not look where that of RPM systems does."""
    script = """
        set -e
        rpm -i --nodeps /root/built/sockreg-*.noarch.rpm
        rpm -ql sockreg | sed -n 's,/sockreg$,,p' | grep site-packages \\
            >/usr/lib/python3/dist-packages/of-rpm.pth
        sockreg enable --mode companion web.socket
        rpm -U --nodeps --replacepkgs /root/built/sockreg-*.noarch.rpm
    """
    box.run(["sh", "-c", script], timeout=120)
    assert box.ask("127.0.0.1", 80) == "web 127.0.0.1:80"
    assert "generation 3, " in box.run(["sockreg", "status"]).stdout, "after the upgrade"
    box.systemctl("start", "sockreg-metrics.socket")
    box.run(["rpm", "-e", "sockreg"], timeout=120)
    assert box.ask("127.0.0.1", 80) == "refused"
    assert box.ask("127.0.0.1", 8080) == "web 127.0.0.1:8080"
    assert box.systemctl("--failed", "--no-legend").stdout == ""
    left = "find /run -maxdepth 1 -name 'sockreg*'; find /sys/fs/bpf /usr -name '*sockreg*'"
    assert box.run(["sh", "-c", left]).stdout == ""
    box.run(["sh", "-c", "rm -r /etc/systemd/system/*/sockreg@web.service /var/lib/sockreg"])
    box.systemctl("daemon-reload")


def test_the_package_serves(box: Sandbox) -> None:
    box.run(["sh", "-c", f"dpkg -i {BUILT}/sockreg_*.deb"], timeout=120)
    box.run(["sockreg", "enable", "--mode", "companion", "web.socket"])
    assert box.ask("127.0.0.1", 80) == "web 127.0.0.1:80"
    assert f"sockreg {__version__}" in box.run(["sockreg", "status"]).stdout
