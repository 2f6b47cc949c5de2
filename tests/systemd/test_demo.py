"""The demo plays to its end, says when something is not as it should be, and tidies up."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sockreg.demo import place, script
from sockreg.errors import EXIT_FAILURE, EXIT_PERMISSION
from tests.demo.play import Action, Ask, NotShownError, Scan, Type
from tests.sandbox import Sandbox
from tests.tree import ROOT


def start(directory: Path, *options: str) -> subprocess.Popen[str]:
    """The demo, with its temporary files below ``directory``."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.demo", *options],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(directory)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def cgroups(box: str) -> list[Path]:
    """The control groups of a box, which has the name of its directory."""
    return list(Path("/sys/fs/cgroup").glob(f"**/{box}"))


def shape(picture: str) -> str:
    """A picture or text without what differs each time: cookies, tags, numbers, widths."""
    return re.sub(r" +", " ", re.sub(r"sk:[0-9a-f]+|\b[0-9a-f]{16}\b|[\d,.]+", "#", picture))


def test_every_step_shows_what_it_says(tmp_path: Path) -> None:
    picture = tmp_path / "graph.svg"
    with start(tmp_path, "--graph", str(picture)) as demo:
        output = demo.communicate(timeout=120)[0]
    assert demo.returncode == 0, output
    assert shape(picture.read_text()) == shape((ROOT / "docs/graph.svg").read_text())
    picture.unlink()
    shown = shape((ROOT / "docs/demo-output.txt").read_text())
    assert shape(output) == shown, "python -m tests.demo >docs/demo-output.txt writes it again"
    scans = [line.removeprefix("    scan    ") for line in output.splitlines() if " scan " in line]
    assert scans == [
        "127.0.0.1  22 | 127.1.1.1  -",
        "127.0.0.1  22 | 127.1.1.1  -",
        "127.0.0.1  22 | 127.1.1.1  -",
        "127.0.0.1  22 80 | 127.1.1.1  -",
        "127.0.0.1  22 80 | 127.1.1.1  -",
        "127.0.0.1  22 80 | 127.1.1.1  -",
        "127.0.0.1  all 65535 | 127.1.1.1  -",
        "127.0.0.1  22 80 | 127.1.1.1  -",
        "127.0.0.1  22 80 443 | 127.1.1.1  443",
        "127.0.0.1  22 80 443 | 127.1.1.1  80 443",
        "127.0.0.1  22 80 443 | 127.1.1.1  80 81 443 | ::1  80",
        "127.0.0.1  22 80 443 | 127.1.1.1  80 81 443",
        "127.0.0.1  22 80 443 | 127.1.1.1  80 81 443",
        "127.0.0.1  all 65535 | 127.1.1.1  all 65535",
        "127.0.0.1  22 | 127.1.1.1  -",
    ]
    assert os.listdir(tmp_path) == []
    assert "\033" not in output, "no colours in a file"
    # Socket cookies grow with the time that the kernel is up, and the heads of their tables.
    grows = re.compile(r"sk:|\bLABEL .* SOCKET ")
    assert max(len(line) for line in output.splitlines() if not grows.search(line)) <= 100


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    with start(tmp_path) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if line.startswith(" 2  "):
                break
        box = next(tmp_path.glob("sockreg-box-*")).name
        assert cgroups(box)
        demo.send_signal(number)
        output = demo.communicate(timeout=60)[0]
    assert demo.returncode == 130
    assert output.endswith("demo: interrupted; nothing of it is left\n")
    assert os.listdir(tmp_path) == []
    assert not cgroups(box)


@pytest.mark.parametrize(
    ("action", "difference"),
    [
        (Type("echo one; exit 3"), "'echo one; exit 3' ended with 3, not 0"),
        (Type("echo one", ["two"]), "the output of 'echo one' does not say 'two'"),
        (Ask("127.0.0.1", 9, "hi"), "the client of tcp 127.0.0.1 9 was told 'refused', not 'hi'"),
        (Scan({"127.0.0.1": [9]}), "open on 127.0.0.1: -, and not: 9"),
    ],
)
def test_a_difference_is_named(module_box: Sandbox, action: Action, difference: str) -> None:
    with pytest.raises(NotShownError) as failure:
        action.play(module_box)
    assert str(failure.value) == difference


def test_the_installed_demo_shows_what_it_says_and_nothing_of_it_is_left(
    module_box: Sandbox,
) -> None:
    """Beside a registry in force, which it neither sees nor changes."""
    box = module_box
    box.write("/etc/sockreg/own.conf", "[own]\nReject=tcp 127.1.0.7 *\n")
    box.systemctl("start", "sockreg.service")
    in_force = "sockreg rules --json; sockreg status --json; find /etc /var/lib /sys/fs/bpf"
    before = box.run(["sh", "-c", in_force]).stdout
    entries = len(box.journal())
    done = box.run(["sockreg", "demo"], timeout=120)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[-1] == (
        f"All {len(script.STEPS)} steps showed what they say, and nothing of them is left."
    )
    asked = [line.split(maxsplit=4) for line in lines if line.startswith("    client  ")]
    reached = [words[2:] for words in asked]
    assert ["127.1.0.7", "8443", "web, reached at 127.1.0.7 port 8443"] in reached
    assert ["127.1.5.1", "80", "api, reached at 127.1.5.1 port 80"] in reached
    assert [words[1:] for words in reached if words[0] == "127.1.0.9"] == [["80", "refused"]] * 2
    assert box.run(["sh", "-c", in_force]).stdout == before
    assert len(box.journal()) == entries
    assert box.run(["pgrep", "-f", "demo"], check=False).stdout == ""
    box.systemctl("stop", "sockreg.service")
    box.run(["sh", "-c", "sockreg unload; rm -r /etc/sockreg"])


def test_an_interrupted_installed_demo_leaves_nothing(module_box: Sandbox) -> None:
    begin = "sockreg demo >/run/said 2>&1 & until grep -q '^ 4 ' /run/said; do :; done"
    end = "kill $!; wait $!; while pgrep -f '[i]mport script|[-]-serve'; do :; done >/run/pids"
    pins = ["find", "/sys/fs/bpf"]
    before = module_box.run(pins).stdout
    module_box.run(["bash", "-c", f"{begin}\n{end}"])
    assert module_box.run(pins).stdout == before


def test_only_root_plays_the_installed_demo(module_box: Sandbox) -> None:
    done = module_box.run(["setpriv", "--reuid=65534", "sockreg", "demo"], check=False)
    assert done.returncode == EXIT_PERMISSION
    assert "takes root" in done.stderr


@pytest.mark.parametrize(
    ("action", "difference"),
    [
        (script.Type("exit 3"), "'exit 3' ended with 3, not 0"),
        (script.Ask("127.0.0.1", 9, "hi"), "tcp 127.0.0.1 9 answered 'refused', not 'hi'"),
    ],
)
def test_a_difference_ends_the_installed_demo(
    action: script.Action,
    difference: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(place, "prepare", lambda: None)
    monkeypatch.setattr(script, "STEPS", [script.Step("One", "It fails.", [action])])
    with pytest.raises(SystemExit) as end:
        script.main()
    assert end.value.code == EXIT_FAILURE
    assert capsys.readouterr().err == f"sockreg: demo: step 1, One: {difference}\n"
