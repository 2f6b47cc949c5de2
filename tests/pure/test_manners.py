"""What the command line says to those who type something wrong, or ask for help."""

from __future__ import annotations

import errno
import json

import pytest

from sockreg import errors
from sockreg.cli.main import main
from sockreg.cli.topics import TOPICS
from sockreg.cli.unforeseen import unforeseen
from sockreg.cli.verb import Group
from sockreg.cli.verbs import WHERE, verb_named
from sockreg.errors import EXIT_KEPT, EXIT_OK, EXIT_PERMISSION, EXIT_USAGE
from sockreg.model import Action, Place
from sockreg.rules.syntax import parse_rule
from sockreg.terms import CONF_DIRECTORIES
from tests.process import run
from tests.tree import ROOT

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
    assert f"usage: sockreg {words[0]} [" in text
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
    assert "there is no verb or topic 'bnd'; did you mean bind?" in said(capsys, "help", "bnd")


def test_a_condition_is_optional_and_looks_so(capsys: Captured) -> None:
    for verb, words in (
        ("bind", "LABEL PROTO PREFIX PORTS"),
        ("unbind", "LABEL PROTO PREFIX PORTS"),
        ("explain", "PROTO ADDR PORT"),
    ):
        assert main(["help", verb]) == EXIT_OK
        usage = capsys.readouterr().out.splitlines()[0]
        assert usage == f"usage: sockreg {verb} [OPTION]... {words} [CONDITION]..."


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


# The names that systemctl shows for our statuses. It has none for those from 8 to 63.
NAMED = {
    "OK": "SUCCESS",
    "FAILURE": "FAILURE",
    "USAGE": "INVALIDARGUMENT",
    "PERMISSION": "NOPERMISSION",
    "NOT_LOADED": "NOTRUNNING",
    "BUSY": "TEMPFAIL",
    "CONFIG": "CONFIG",
}


def test_systemd_names_an_exit_status_as_it_is_meant() -> None:
    listed = [line.split() for line in run(["systemd-analyze", "exit-status"]).stdout.splitlines()]
    names = {int(words[1]): words[0] for words in listed if len(words) == 3 and words[1].isdigit()}
    assert {"SUCCESS", "NOTIMPLEMENTED", "CONFIG"} <= set(names.values())
    ours = {
        name.removeprefix("EXIT_"): value
        for name, value in vars(errors).items()
        if name.startswith("EXIT_")
    }
    assert len(set(ours.values())) == len(ours)
    assert {name: names[value] for name, value in ours.items() if value in names} == NAMED


def test_the_loader_stays_active_with_the_status_of_a_failed_restart() -> None:
    assert f"\nSuccessExitStatus={EXIT_KEPT}\n" in (ROOT / "units/sockreg.service").read_text()


def explained(capsys: Captured, topic: str) -> str:
    """What ``help TOPIC`` prints."""
    assert main(["help", topic]) == EXIT_OK
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def test_help_explains_topics_on_one_screen_each(capsys: Captured) -> None:
    assert not TOPICS.keys() & WHERE.keys()
    assert main(["help"]) == EXIT_OK
    listed = " ".join(capsys.readouterr().out.split())
    assert f"what belongs to none: {', '.join(TOPICS)}." in listed
    for topic, text in TOPICS.items():
        assert explained(capsys, topic) == text
        assert len(text.splitlines()) <= 24
        assert all(len(line) <= 80 for line in text.splitlines())
    assert "no verb or topic 'fles'; did you mean files?" in said(capsys, "help", "fles")


def test_the_topics_have_every_exit_status_and_every_directory(capsys: Captured) -> None:
    known = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    lines = explained(capsys, "exit-status").splitlines()
    assert {int(line.split()[0]) for line in lines if line[:4].strip().isdigit()} == known
    assert all(directory in explained(capsys, "files") for directory in CONF_DIRECTORIES)


def test_the_topic_about_rules_is_true() -> None:
    """Each condition and each action that it shows is understood."""
    for condition in ("to 8080", "from 192.0.2.0/24", "dev lo", "missing=pass"):
        assert condition.partition(" ")[0] in TOPICS["syntax"]
        notices: list[str] = []
        text = f"tcp 198.51.100.0/24 80 {condition}"
        assert len(parse_rule(Action.BIND, text, "web", Place("x.conf", 1), notices)) == 1
        assert notices == []


def test_verbs_are_listed_in_groups(capsys: Captured) -> None:
    assert main(["help"]) == EXIT_OK
    lines = capsys.readouterr().out.splitlines()
    at = [lines.index(f"  {group.value}:") for group in Group]
    assert at == sorted(at)
    assert {verb_named(name).group for name in WHERE} == set(Group)
    in_order = [line.split()[0] for line in lines[at[0] :] if line[:4] == "    " and line[4] != " "]
    assert in_order == list(WHERE)


def test_a_normal_command_loads_no_topics() -> None:
    program = (
        "import sys\nfrom sockreg.cli import main\nmain._parse(['rules'])\n"
        "print('sockreg.cli.topics' in sys.modules)"
    )
    done = run(["/usr/bin/python3", "-P", "-c", program], env={"PYTHONPATH": str(ROOT)})
    assert done.stdout == "False\n"


def test_a_system_call_that_nobody_has_foreseen() -> None:
    told = unforeseen(OSError(errno.ENOMEM, "Cannot allocate memory"), "weight")
    assert told.message == "weight: the system refused a call: Cannot allocate memory (ENOMEM)"
    assert told.hint == "free some memory, and run it again"
    told = unforeseen(PermissionError(errno.EACCES, "Permission denied", "/x\ny"), "apply")
    assert told.message == "apply: /x\\ny: the system refused a call: Permission denied (EACCES)"
    assert told.status == EXIT_PERMISSION
    assert unforeseen(OSError("timed out"), "check").message == "check: timed out"
