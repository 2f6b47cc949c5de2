"""Colours: when there are some, and that they never come from outside."""

from __future__ import annotations

import pytest

from sockreg import colours, streams
from sockreg.cli.main import main
from sockreg.cli.printing import print_table
from tests.process import run
from tests.tree import ROOT

XTERM = {"TERM": "xterm-256color"}
# Environment, whether on a terminal there are colours, and whether in a pipe.
CASES: list[tuple[dict[str, str], bool, bool]] = [
    (XTERM, True, False),
    ({}, False, False),
    ({"TERM": ""}, False, False),
    ({"TERM": "dumb"}, False, False),
    ({**XTERM, "NO_COLOR": "1"}, False, False),
    ({**XTERM, "NO_COLOR": ""}, False, False),
    *(({"TERM": "dumb", "SYSTEMD_COLORS": yes, "NO_COLOR": "1"}, True, True)
      for yes in ("1", "yes", "y", "true", "t", "on", "TRUE", "16", "256", "24bit")),
    *(({**XTERM, "SYSTEMD_COLORS": no}, False, False)
      for no in ("0", "no", "n", "false", "f", "off", "No")),
    *(({**XTERM, "SYSTEMD_COLORS": auto}, True, False)
      for auto in ("auto-16", "auto-256", "auto-24bit", "mauve", "")),
    ({**XTERM, "SYSTEMD_COLORS": "auto-16", "NO_COLOR": "1"}, False, False),
]  # fmt: skip


@pytest.mark.parametrize(("environment", "terminal", "pipe"), CASES)
def test_the_environment_decides_as_for_systemctl(
    environment: dict[str, str], terminal: bool, pipe: bool
) -> None:
    assert colours.wanted(environment, on_terminal=True) is terminal
    assert colours.wanted(environment, on_terminal=False) is pipe


def test_a_failure_is_red_on_request_and_its_hint_is_not(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYSTEMD_COLORS", "1")
    main(["statsu"])
    first, second = capsys.readouterr().err.splitlines()
    what = "sockreg: there is no verb 'statsu'; did you mean status?"
    assert first == f"\033[0;1;31m{what}\033[0m"
    assert second == "sockreg: 'sockreg help' lists the verbs"


def test_a_pipe_gets_no_colours_and_json_never_does(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SYSTEMD_COLORS", raising=False)
    main(["statsu"])
    assert "\033" not in capsys.readouterr().err
    monkeypatch.setenv("SYSTEMD_COLORS", "1")
    main(["--json", "statsu"])
    assert "\033" not in capsys.readouterr().out


def test_text_from_outside_makes_no_colours(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYSTEMD_COLORS", "1")
    streams.out("\033[32mweb", "bad")
    streams.out("\033[32mweb")
    print_table(["NAME"], [["\033[1m"], ["b"]], ["doubtful", ""])
    assert capsys.readouterr().out.splitlines() == [
        "\033[0;1;31m\\x1b[32mweb\033[0m",
        "\\x1b[32mweb",
        "NAME",
        "\033[0;1;33m\\x1b[1m\033[0m",
        "b",
    ]


def test_colours_are_not_thought_of_without_need() -> None:
    program = (
        "import sys\nfrom sockreg import streams\nstreams.begin()\nstreams.out('web')\n"
        "print('sockreg.colours' in sys.modules)"
    )
    done = run(["/usr/bin/python3", "-P", "-c", program], env={"PYTHONPATH": str(ROOT)})
    assert done.stdout.splitlines() == ["web", "False"]
