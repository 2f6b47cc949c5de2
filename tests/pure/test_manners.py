"""What the command line says to those who type something wrong, or ask for help."""

from __future__ import annotations

import json

import pytest

from sockreg.cli.main import main
from sockreg.cli.verbs import WHERE
from sockreg.errors import EXIT_OK, EXIT_USAGE

Captured = pytest.CaptureFixture[str]


def said(capsys: Captured, *words: str) -> str:
    """What a wrong command line gets on standard error."""
    assert main(list(words)) == EXIT_USAGE
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


@pytest.mark.parametrize(
    ("word", "near"),
    [("statsu", "status"), ("bnid", "bind"), ("un-bind", "unbind"), ("listen", "listeners"),
     ("hlep", "help"), ("versions", "version")],
)  # fmt: skip
@pytest.mark.parametrize("before", [[], ["--root", "/srv"], ["--json=x"][:0], ["-v"]])
def test_a_mistyped_verb_names_the_nearest(
    capsys: Captured, word: str, near: str, before: list[str]
) -> None:
    text = said(capsys, *before, word, "more")
    assert text.startswith(f"sockreg: there is no verb '{word}'; did you mean {near}?\n")
    assert "'sockreg help' lists the verbs" in text


def test_a_word_like_no_verb_names_none(capsys: Captured) -> None:
    assert said(capsys, "xyzzy").startswith("sockreg: there is no verb 'xyzzy'\n")


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["status", "--lnes", "3"], "status: there is no option --lnes; did you mean --lines?"),
        (["rules", "--prefx=::/0"], "rules: there is no option --prefx; did you mean --prefix?"),
        (["bind", "--runtme", "a", "tcp", "::1", "1"], ("bind: there is no option --runtme; did "
         "you mean --runtime?")),
        (["status", "--zzz"], "status: there is no option --zzz\n"),
        (["status", "web"], "status: argument 'web' is too much"),
    ],
)  # fmt: skip
def test_a_mistyped_option_names_the_nearest_and_the_usage_of_its_verb(
    capsys: Captured, words: list[str], what: str
) -> None:
    text = said(capsys, *words)
    assert text.startswith(f"sockreg: {what}")
    assert f"usage: sockreg {words[0]} [-h]" in text
    assert f"'sockreg help {words[0]}' explains it" in text


def test_help_and_version(capsys: Captured) -> None:
    def printed(*words: str) -> str:
        assert main(list(words)) == EXIT_OK
        return capsys.readouterr().out

    assert printed("help") == printed("--help")
    assert printed("version") == printed("--version")
    for verb in WHERE:
        assert printed("help", verb) == printed(verb, "--help")
        assert printed("help", verb).startswith(f"usage: sockreg {verb} ")
    assert "there is no verb 'bnd'; did you mean bind?" in said(capsys, "help", "bnd")


def test_a_failure_with_json_is_json(capsys: Captured) -> None:
    assert main(["--json", "statsu"]) == EXIT_USAGE
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {
        "schema": "sockreg.error",
        "version": 1,
        "error": {
            "status": EXIT_USAGE,
            "problems": ["there is no verb 'statsu'; did you mean status?"],
            "hint": "'sockreg help' lists the verbs",
        },
    }
    assert "did you mean status?" in captured.err


def test_explain_asks_for_a_port(capsys: Captured) -> None:
    assert "PORT is missing" in said(capsys, "explain", "tcp", "192.0.2.1")
    assert "PORT is missing" in said(capsys, "explain", "tcp", "2001:db8::1")
