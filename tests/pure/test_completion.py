"""Completion in bash offers what the command takes, and nothing that the command does not."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path

import pytest

from sockreg.cli.main import parser
from tests.process import run
from tests.terminal import on_terminal
from tests.tree import ROOT

COMPLETION = ROOT / "units/sockreg.bash-completion"

# What `sockreg status` prints; a second socket has nothing in the first columns.
STATUS = """\
registry    /sys/fs/bpf/sockreg/4711 (network namespace 4711)
in force    generation 1, 3 rules, 4 s old; sockreg 0.1.0
units       web.socket

LABEL        PROTO  FAMILY  RULES  LOOKUPS  MISSES  ERRORS  SOCKET   ADDRESS         WEIGHT  UNIT
$(touch x)   tcp    ipv4        1        0       0       0  none     -               -       -
web          tcp    ipv4        1        0       0       0  sk:200d  127.0.0.1:8080     100  web.socket
                                                            sk:200e  127.0.0.1:8081     100  web@2.socket
web          udp    ipv4        1        0       0       0  none     -               -       -
two words    tcp    ipv4        1        0       0       0  sk:200f  127.0.0.1:8082     100  web.socket

LABEL  as a journal line may begin
"""  # noqa: E501
LABELS = {r"\$\(touch\ x\)", "web", r"two\ words"}
REGISTERED = {"web.socket", "web@2.socket"}
SOCKET_UNITS = {r"sp\\x20ace.socket", "web.socket", "web@.socket", "web@2.socket"}
_STUBS = f"""
sockreg() {{ echo "$@" >>asked; printf %s {shlex.quote(STATUS)}; }}
systemctl() {{
    case "$*" in
        list-unit-files*) printf '%s enabled -\\n' web.socket web@.socket 'sp\\x20ace.socket' ;;
        *service*) echo web.service loaded active running A server ;;
        *) printf '%s loaded active listening A socket\\n' web.socket web@2.socket ;;
    esac
}}
"""
_WORD_BREAKS = " \t\n\"'@><=;|&(:"  # bash(1), COMP_WORDBREAKS


def complete(line: str, directory: Path) -> set[str]:
    """The words that bash would put in place of the last one of ``line``."""
    behind_break = re.split(f"[{re.escape(_WORD_BREAKS)}]", line)[-1]
    script = f"""
        source {shlex.quote(str(COMPLETION))}
        {_STUBS}
        COMP_WORDBREAKS={shlex.quote(_WORD_BREAKS)}
        COMP_LINE={shlex.quote(line)} COMP_POINT={len(line)}
        _sockreg sockreg {shlex.quote(behind_break)} ''
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = run(["bash", "--norc", "-c", f"cd {shlex.quote(str(directory))}\n{script}"])
    assert done.stderr == ""
    return set(done.stdout.split("\n")) - {""}


def verbs() -> dict[str, argparse.ArgumentParser]:
    (choices,) = (
        action.choices
        for action in parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    return dict(choices)


def options(target: argparse.ArgumentParser) -> set[str]:
    return {option for action in target._actions for option in action.option_strings}


def test_verbs_and_global_options(tmp_path: Path) -> None:
    assert complete("sockreg ", tmp_path) == verbs().keys()
    assert complete("sockreg un", tmp_path) == {"unload", "unbind", "unregister"}
    assert complete("sockreg -", tmp_path) == options(parser())


@pytest.mark.parametrize("verb", verbs())
def test_options_of_a_verb(verb: str, tmp_path: Path) -> None:
    assert complete(f"sockreg --json {verb} -", tmp_path) == options(verbs()[verb])


def test_options_with_a_value_are_known() -> None:
    text = re.search(r"_sockreg_valued='(.*?)'", COMPLETION.read_text(), re.DOTALL)
    assert text is not None
    assert set(text[1].split()) == {
        option
        for target in (parser(), *verbs().values())
        for action in target._actions
        if action.nargs is None
        for option in action.option_strings
    }


@pytest.mark.parametrize("verb", verbs())
def test_arguments_of_a_verb(verb: str, tmp_path: Path) -> None:
    """At each place what its name in the help promises; there are no other names."""
    (tmp_path / "bindings.json").touch()
    offered: dict[str, set[str]] = {
        "LABEL": LABELS,
        "UNIT": REGISTERED if verb == "drain" else SOCKET_UNITS,
        "PROTO": {"tcp", "udp"},
        "CONDITION": {"from", "dev"} | (set() if verb == "explain" else {"missing=pass"}),
        "FORMAT": {"tubular"},
        "SOURCE": {"bindings.json"},
        **{name: set() for name in ("ADDR", "PORT", "PORTS", "PREFIX", "WEIGHT")},
    }
    before = f"sockreg {verb} "
    for action in verbs()[verb]._get_positional_actions():
        expected = offered[str(action.metavar)]
        assert complete(before, tmp_path) == expected, before
        before += "x "
        if action.nargs == "*":
            assert complete(before, tmp_path) == expected, before
    if not verbs()[verb]._get_positional_actions():
        assert complete(before, tmp_path) == set()
    assert not (tmp_path / "x").exists(), "a label was taken for a command"


def test_choices_of_options(tmp_path: Path) -> None:
    found = {
        (verb, action.option_strings[0]): set(map(str, action.choices))
        for verb, target in verbs().items()
        for action in target._actions
        if action.option_strings and action.choices
    }
    assert found
    for (verb, option), choices in found.items():
        assert complete(f"sockreg {verb} {option} ", tmp_path) == choices
        assert complete(f"sockreg {verb} {option}=", tmp_path) == choices


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("sockreg weight web --unit ", REGISTERED),
        ("sockreg unregister --unit web", REGISTERED),
        ("sockreg register web --of-unit ", {"web.service"}),
        ("sockreg register web --unit sp", {r"sp\\x20ace.socket"}),
        ("sockreg apply --start web.", {"web.socket"}),
        ("sockreg bind --root /srv web ", {"tcp", "udp"}),
        ("sockreg bind --root=/srv web ", {"tcp", "udp"}),
        ("sockreg bind web tcp 192.0.2.1 80 from ", set[str]()),
        ("sockreg bind web tcp 192.0.2.1 80 from 198.51.100.0/24 d", {"dev"}),
        ("sockreg bind web tcp 192.0.2.1 80 dev l", {"lo"}),
        ("sockreg register web -- sockreg-no-such-com", set[str]()),
        # For readline words end behind '=', and begin with '@'.
        ("sockreg enable web@", {"@.socket", "@2.socket"}),
        ("sockreg weight --unit=web@", {"@2.socket"}),
        ("sockreg enable sp\\\\", {r"sp\\x20ace.socket"}),
    ],
)
def test_values(line: str, expected: set[str], tmp_path: Path) -> None:
    assert complete(line, tmp_path) == expected


def test_files_and_processes(tmp_path: Path) -> None:
    (tmp_path / "picture one.prom").touch()
    assert complete("sockreg metrics --output pic", tmp_path) == {"picture one.prom"}
    assert complete("sockreg metrics --output=pic", tmp_path) == {"picture one.prom"}
    assert "1" in complete("sockreg register web --pid ", tmp_path)


def test_labels_are_those_of_the_network_namespace_of_the_command(tmp_path: Path) -> None:
    complete("sockreg --netns blue --json inspect --bpffs=/srv/bpf ", tmp_path)
    assert (tmp_path / "asked").read_text() == ("--netns blue --bpffs=/srv/bpf status --lines 0\n")


def test_as_a_person_types(tmp_path: Path) -> None:
    """Within readline: what stands before a character that ends its words stays."""
    (tmp_path / "rc").write_text(f"source {shlex.quote(str(COMPLETION))}\n{_STUBS}PS1='> '\n")
    command = ["bash", "--noprofile", "--rcfile", str(tmp_path / "rc"), "-i"]
    with on_terminal(command, cwd=str(tmp_path)) as terminal:
        terminal.wait(lambda lines: lines[0] == ">")
        for typed, shown in (
            ("sockreg ena\tweb@2\t", "> sockreg enable web@2.socket"),
            ("sockreg enable --mode=comp\t", "> sockreg enable --mode=companion"),
            ("sockreg inspect tw\t", r"> sockreg inspect two\ words"),
            ("sockreg disable sp\t", r"> sockreg disable sp\\x20ace.socket"),
        ):
            terminal.press(typed)
            terminal.wait(lambda lines, shown=shown: lines[0] == shown)  # type: ignore[misc]
            terminal.press("\x15")  # Ctrl-U takes the line back
            terminal.wait(lambda lines: lines[0] == ">")
