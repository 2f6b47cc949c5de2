"""The Debian package, installed by dpkg into a running system: it serves, and leaves nothing."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sockreg import __version__
from sockreg.errors import EXIT_REFUSED
from tests.asking import asking
from tests.process import run
from tests.sandbox import Sandbox
from tests.systemd.conftest import LOWER
from tests.systemd.units import UNITS, web
from tests.tree import ROOT

ANSWER = "web 127.0.0.1:80"
PACKAGE = "/root/sockreg.deb"
MODULES = "/usr/lib/python3/dist-packages/sockreg"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree with the package of this source tree at /root/sockreg.deb."""
    built = tmp_path_factory.mktemp("built") / "with a space"
    run([str(ROOT / "units/debian/build.sh"), str(built)], timeout=120)
    (deb,) = built.glob("*.deb")
    tree = tmp_path_factory.mktemp("packages")
    (tree / "root").mkdir()
    deb.rename(tree / "root/sockreg.deb")
    return tree


def bare_box(packages: Path) -> Sandbox:
    """A box without sockreg, but with its package in /root, and web.socket with its server."""
    # Where images of containers are made of this system, it may forbid to stop services.
    files = web() | {"/usr/sbin/policy-rc.d": ""}
    return Sandbox(trees=[packages], lower=LOWER, files=files)


@pytest.fixture(scope="module")
def box(packages: Path) -> Iterator[Sandbox]:
    """One box with the package, in which web.socket is enabled, for tests that leave it so."""
    with bare_box(packages) as box:
        dpkg(box, "-i", PACKAGE)
        box.run(["sockreg", "enable", "--mode", "companion", "web.socket"])
        yield box


def dpkg(box: Sandbox, *arguments: str) -> str:
    """What dpkg(1) prints, errors as well; it asks nothing."""
    noninteractive = {"DEBIAN_FRONTEND": "noninteractive"}
    return box.run(
        ["sh", "-c", 'exec dpkg "$@" 2>&1', "dpkg", *arguments], timeout=120, env=noninteractive
    ).stdout


def files(box: Sandbox) -> dict[str, str]:
    """What the box has changed in the system it runs over, and outlives a boot.

    That system is in use: what changes there itself is not the box's.
    """
    # The tools of packages and systemd keep books, and logs.
    books = ("/var/lib/dpkg", "/var/lib/systemd", "/var/lib/private", "/var/log", "/var/cache",
             "/root", "/etc/.pwd.lock")  # fmt: skip
    own = box.directory / "state/upper"
    found = {}
    for path in own.rglob("*"):
        place = f"/{path.relative_to(own)}"
        beneath = Path(f"{LOWER}/{place}")
        if place.startswith(books) or _is_same(path, beneath):
            continue
        about = path.lstat()
        found[place] = f"{about.st_mode:o} {0 if path.is_dir() else about.st_size}"
    return found


def _is_same(path: Path, beneath: Path) -> bool:
    """Whether a file of the box is as it was, or a directory there for its entries alone."""
    if path.is_symlink() or beneath.is_symlink():
        return path.is_symlink() and beneath.is_symlink() and path.readlink() == beneath.readlink()
    if path.is_dir() or not path.is_file():
        return path.is_dir() and beneath.is_dir()
    return beneath.is_file() and path.read_bytes() == beneath.read_bytes()


def differences(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}


def test_a_connection_lands(box: Sandbox) -> None:
    assert box.ask("127.0.0.1", 80) == ANSWER
    assert dpkg(box, "--verify", "sockreg") == ""


# Prints the links between the documents below a directory that lead nowhere.
LINKS = r"""
import pathlib, re, sys
pages = list(pathlib.Path(sys.argv[1]).rglob("*.md"))
assert len(pages) > 20
for page in pages:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path = target.partition("#")[0]
        if path and ":" not in path and not (page.parent / path).exists():
            print(page, target)
"""


def test_what_belongs_to_a_package_is_there(box: Sandbox) -> None:
    assert box.run(["sockreg", "--version"]).stdout == f"sockreg {__version__}\n"
    # Compiled, since the companion is started for every socket at boot.
    for compiled in ("registry/__pycache__/registration", "receive/__pycache__/connection"):
        box.run(["sh", "-c", f"ls {MODULES}/{compiled}.cpython-3*"])
    assert box.run(["getent", "group", "sockreg"]).stdout.startswith("sockreg:")
    assert "A socket has been registered as" in box.run(["journalctl", "--dump-catalog"]).stdout
    listed = box.run(["sh", "-c", "ls /usr/lib/systemd/system/*sockreg*"]).stdout
    units = [name for path in listed.split() if "@" not in (name := path.rpartition("/")[2])]
    done = box.run(["systemd-analyze", "verify", "--man=no", *units])
    said = (done.stdout + done.stderr).splitlines()
    # Before systemd 255 that limit is not known, and does no harm.
    assert [line for line in said if "Unknown key 'PollLimit" not in line] == []
    page = box.run(["gzip", "-dc", "/usr/share/man/man8/sockreg.8.gz"]).stdout
    assert page == (ROOT / "docs/man/sockreg.8").read_text()
    for place in ("copyright", "changelog.gz", "README.md", "docs/rules.md", "docs/steering.svg"):
        box.run(["test", "-s", f"/usr/share/doc/sockreg/{place}"])
    box.write("/root/links.py", LINKS)
    assert box.run(["python3", "/root/links.py", "/usr/share/doc/sockreg"]).stdout == ""


def test_modules_are_those_of_the_source_tree(box: Sandbox) -> None:
    sums = "find . -name '*.py' -o -name '*.o' | sort | xargs sha256sum"
    inside = box.run(["sh", "-c", f"cd {MODULES} && {sums}"]).stdout
    # The objects lie beside the modules in the tree, and below them in a package.
    places = {"sockreg": "./", "bpf": "./data/bpf/"}
    tree = "".join(
        run(["sh", "-c", f"cd {shlex.quote(str(ROOT / name))} && {sums}"]).stdout.replace(
            " ./", f" {place}"
        )
        for name, place in places.items()
    )
    assert set(inside.splitlines()) == set(tree.splitlines())


@pytest.mark.parametrize(
    ("typed", "completed"),
    [("inspect ", "web"), ("drain web ", "web.socket"), ("disable web.", "web.socket")],
)
def test_completion_knows_what_there_is(box: Sandbox, typed: str, completed: str) -> None:
    line = f"sockreg {typed}"
    script = f"""
        source /usr/share/bash-completion/completions/sockreg
        COMP_LINE='{line}' COMP_POINT={len(line)}
        _sockreg sockreg '' ''
        echo "${{COMPREPLY[@]}}"
    """
    assert box.run(["bash", "-c", script]).stdout == f"{completed}\n"


def test_the_demo_plays_from_the_package(box: Sandbox) -> None:
    done = box.run(["sockreg", "demo"], timeout=120)
    assert done.stdout.endswith(" showed what they say, and nothing of them is left.\n")
    assert box.ask("127.0.0.1", 80) == ANSWER


def test_install_units_has_nothing_to_do(box: Sandbox) -> None:
    done = box.run(["sockreg", "install-units"], check=False)
    assert done.returncode == EXIT_REFUSED
    assert "a package of this system has already installed the units" in done.stderr
    unit = "/usr/local/lib/systemd/system/sockreg.service"
    assert box.run(["test", "-e", unit], check=False).returncode == 1


def test_units_of_another_installation_are_named(box: Sandbox) -> None:
    """Those below /usr/local come first, so they would start the other sockreg."""
    left = "/usr/local/lib/systemd/system/sockreg.service"
    box.write(left, "[Service]\nExecStart=/bin/true\n")
    done = box.run(["sh", "-c", "/var/lib/dpkg/info/sockreg.postinst configure 2>&1"])
    box.run(["rm", left])
    box.systemctl("daemon-reload")
    assert (
        "the units of another sockreg in /usr/local/lib/systemd/system come before" in done.stdout
    )


def in_force(box: Sandbox) -> int:
    status = json.loads(box.run(["sockreg", "--json", "status"]).stdout)
    return int(status["status"]["generation"])


def test_an_upgrade_refuses_nobody(box: Sandbox) -> None:
    with asking(lambda: box.ask("127.0.0.1", 80)) as answers:
        said = dpkg(box, "--no-triggers", "-i", PACKAGE)  # the same version will do
    assert set(answers) == {ANSWER}
    assert "in force: 1 rule (0 added, 0 removed)" in said


def test_an_upgrade_beside_a_wrong_file(box: Sandbox) -> None:
    """It costs its own rules, and not the new program."""
    wrong = "/etc/sockreg/wrong.conf"
    box.write(wrong, "[web]\nBind=tcp nonsense 80\n")
    before = in_force(box)
    said = dpkg(box, "--no-triggers", "-i", PACKAGE)
    box.run(["rm", wrong])
    assert f"{wrong}:2" in said
    assert in_force(box) > before
    assert box.ask("127.0.0.1", 80) == ANSWER


def test_an_upgrade_that_fails(box: Sandbox) -> None:
    """As on a host that ran out of what the new program takes."""
    before = in_force(box)
    command = "ulimit -l 0; exec setpriv --bounding-set=-bpf,-sys_admin dpkg --no-triggers -i"
    said = box.run(["sh", "-c", f"{command} {PACKAGE} 2>&1"]).stdout
    assert "the program of the version before is still in force" in said
    assert in_force(box) == before
    assert box.ask("127.0.0.1", 80) == ANSWER


def fail_units(box: Sandbox) -> None:
    """Let units of each kind fail, which systemd remembers, whatever becomes of their files."""
    broken = "[Service]\nExecStart=\nExecStart=/bin/false\n"
    names = ("sockreg-metrics.service", "sockreg-sockops.service")
    for name in names:
        box.write(f"/run/systemd/system/{name}.d/broken.conf", broken)
    box.systemctl("daemon-reload")
    for name in names:
        box.systemctl("restart", name, check=False)
        box.wait(lambda name=name: box.show(name, "ActiveState") == "failed", name)  # type: ignore[misc]
    box.run(["rm", "-r", *(f"/run/systemd/system/{name}.d" for name in names)])
    box.systemctl("daemon-reload")


def runtime(box: Sandbox) -> str:
    """What sockreg has in the kernel, and below /run."""
    places = "find /sys/fs/bpf -name 'sockreg*'; find /run -maxdepth 1 -name 'sockreg*'"
    return box.run(["sh", "-c", places]).stdout


def timers(box: Sandbox) -> str:
    return box.systemctl("list-units", "--plain", "--no-legend", "--all", "sockreg*.timer").stdout


def test_from_installation_to_purge(packages: Path) -> None:
    with bare_box(packages) as box:
        before = files(box)
        assert "warning" not in dpkg(box, "-i", PACKAGE)
        assert "/usr/bin/sockreg" in files(box)
        # Nothing is started or enabled by itself.
        active = box.systemctl("list-units", "--plain", "--no-legend", "*sockreg*").stdout
        assert active == ""
        box.run(["sockreg", "enable", "web.socket"])
        box.systemctl("enable", "sockreg.service", "sockreg-sockops.service")
        box.systemctl("enable", "sockreg-receive.socket", "sockreg-metrics.socket")
        box.run(["sockreg", "bind", "web", "tcp", "127.0.0.1", "81"])
        box.reboot()
        box.run(["sockreg", "bind", "--runtime", "web", "tcp", "127.0.0.1", "82"])
        box.run(["sockreg", "bind", "--for", "1 week", "web", "tcp", "127.0.0.1", "83"])
        assert [box.ask("127.0.0.1", port) for port in (80, 81, 82)] == [
            f"web 127.0.0.1:{port}" for port in (80, 81, 82)
        ]
        assert box.systemctl("is-system-running").stdout == "running\n"

        fail_units(box)
        assert "warning" not in dpkg(box, "-r", "sockreg")
        assert box.systemctl("--failed", "--no-legend", "--plain").stdout == ""
        assert timers(box) == ""
        assert box.ask("127.0.0.1", 80) == "refused"
        assert box.ask("127.0.0.1", 8080) == "web 127.0.0.1:8080"
        box.run(["rm", "/run/sockreg/91-bind-runtime.conf"])  # the operator's, until a purge
        box.run(["rmdir", "/run/sockreg"])
        assert runtime(box) == ""
        assert "Bind=tcp 127.0.0.1 81" in box.read("/etc/sockreg/90-bind.conf")
        box.reboot()
        assert box.systemctl("is-system-running").stdout == "running\n"

        dpkg(box, "-P", "sockreg")
        assert box.run(["find", "/run", "-maxdepth", "1", "-name", "sockreg*"]).stdout == ""
        # A group stays, as its number must not become somebody else's.
        groups = {"/etc/group", "/etc/group-", "/etc/gshadow", "/etc/gshadow-"}
        # That the operator's own socket starts at boot is the operator's.
        enabled = {f"{UNITS}/sockets.target.wants/web.socket"}
        assert differences(before, files(box)) <= groups | enabled
        box.reboot()
        assert box.systemctl("is-system-running").stdout == "running\n"


def test_a_package_that_may_not_stop_its_loader_stays(packages: Path) -> None:
    """Removed, it would leave a program in the kernel that nobody can detach."""
    with bare_box(packages) as box:
        dpkg(box, "--no-triggers", "-i", PACKAGE)
        box.systemctl("start", "sockreg.service")
        box.write("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n")
        box.run(["chmod", "+x", "/usr/sbin/policy-rc.d"])
        done = box.run(["sh", "-c", "dpkg -r sockreg 2>&1"], check=False)
        assert done.returncode != 0
        assert "policy-rc.d does not let the package stop sockreg.service" in done.stdout
        assert box.run(["sockreg", "status"]).stdout.startswith("registry ")


def test_from_install_units_to_uninstall_units(tmp_path: Path) -> None:
    """In a virtual environment, as the README installs it, with a unit that fails meanwhile."""
    (tmp_path / "root").mkdir()
    options = ["--no-deps", "--no-build-isolation", "--no-index", "-w", str(tmp_path / "root")]
    run([sys.executable, "-m", "pip", "wheel", "-q", *options, str(ROOT)], timeout=120)
    with bare_box(tmp_path) as box:
        before = files(box)
        box.run(["python3", "-m", "venv", "--system-site-packages", "/opt/sockreg"], timeout=120)
        pip = "/opt/sockreg/bin/pip install --no-index --no-deps /root/sockreg-*.whl"
        box.run(["sh", "-c", pip], timeout=120)
        box.run(["ln", "-s", "/opt/sockreg/bin/sockreg", "/usr/local/bin/"])
        installed = box.run(["sockreg", "install-units"]).stdout
        box.run(["sockreg", "enable", "--mode", "companion", "web.socket"])
        box.systemctl("enable", "--now", "sockreg-metrics.socket", "sockreg-receive.socket")
        assert box.ask("127.0.0.1", 80) == ANSWER
        box.run(["sockreg", "bind", "--for", "1 week", "web", "tcp", "127.0.0.1", "83"])
        assert timers(box) != ""
        fail_units(box)
        done = box.run(["sockreg", "uninstall-units"])
        removed = {line for line in done.stdout.splitlines() if line.startswith("removed ")}
        assert {line.replace("wrote", "removed") for line in installed.splitlines()[:-1]} == removed
        assert box.ask("127.0.0.1", 80) == "refused"
        assert box.ask("127.0.0.1", 8080) == "web 127.0.0.1:8080"
        assert box.systemctl("--failed", "--no-legend", "--plain").stdout == ""
        assert timers(box) == ""
        assert runtime(box) == ""
        again = box.run(["sockreg", "uninstall-units"])
        assert "removed" not in again.stdout
        box.run(["rm", "-r", "/opt/sockreg", "/usr/local/bin/sockreg", "/etc/sockreg"])
        left = {path for path in files(box).keys() - before.keys() if "sockreg" in path}
        left = {path for path in left if ".wants/sockreg" not in path}
        assert left == {"/var/lib/sockreg", "/var/lib/sockreg/rules"}, "those of the last boot"
        box.reboot()
        assert box.systemctl("is-system-running").stdout == "running\n"
