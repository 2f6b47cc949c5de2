"""The demo plays to its end, says when something is not as it should be, and tidies up."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.demo.play import Action, Ask, NotShownError, Scan, Type
from tests.demo.script import STEPS
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
    """The picture without what differs from one time to the next: cookies and numbers."""
    return re.sub(r"sk:[0-9a-f]+|[\d,.]+", "#", picture)


def test_every_step_shows_what_it_says(tmp_path: Path) -> None:
    picture = tmp_path / "graph.svg"
    with start(tmp_path, "--graph", str(picture)) as demo:
        output = demo.communicate(timeout=120)[0]
    assert demo.returncode == 0, output
    assert shape(picture.read_text()) == shape((ROOT / "docs/graph.svg").read_text())
    picture.unlink()
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


def test_the_printed_demo_in_the_docs_has_the_steps_there_are() -> None:
    text = (ROOT / "docs" / "demo-output.txt").read_text()
    titles = [line[4:] for line in text.splitlines() if line[:2].strip().isdigit()]
    assert titles == [step.title for step in STEPS]
