"""Completion offers what the command takes: in bash, zsh and fish, which the tests run."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from sockreg.cli.main import parser
from tests.commandline import options, verbs
from tests.process import run
from tests.terminal import on_terminal
from tests.tree import ROOT

UNITS = ROOT / "units"
FILES = ("sockreg.bash-completion", "sockreg.zsh", "sockreg.fish")

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
LABELS = {"$(touch x)", "web", "two words"}
REGISTERED = {"web.socket", "web@2.socket"}
SOCKET_UNITS = {r"sp\x20ace.socket", "web.socket", "web@.socket", "web@2.socket"}
_STUBS = {
    "sockreg": f'#!/bin/sh\necho "$@" >>asked\ncat <<"END"\n{STATUS}END\n',
    "systemctl": """#!/bin/sh
case "$*" in
    list-unit-files*) printf '%s enabled -\\n' web.socket web@.socket 'sp\\x20ace.socket' ;;
    *service*) echo web.service loaded active running A server ;;
    *) printf '%s loaded active listening A socket\\n' web.socket web@2.socket ;;
esac
""",
}
_WORD_BREAKS = " \t\n\"'@><=;|&(:"  # bash(1), COMP_WORDBREAKS


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory to type in, with commands in ``bin`` that say what there is."""
    (tmp_path / "bin").mkdir()
    for name, text in _STUBS.items():
        stub = tmp_path / "bin" / name
        stub.write_text(text)
        stub.chmod(0o755)
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


def path_with_stubs(place: Path) -> str:
    return f"{place.parent}/bin:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"


def in_bash(line: str, place: Path) -> set[str]:
    """What bash offers for the last word of ``line``: whole words, without their quotes."""
    behind_break = re.split(f"[{re.escape(_WORD_BREAKS)}]", line)[-1]
    script = f"""
        source {shlex.quote(str(UNITS / FILES[0]))}
        COMP_WORDBREAKS={shlex.quote(_WORD_BREAKS)}
        COMP_LINE={shlex.quote(line)} COMP_POINT={len(line)}
        _sockreg sockreg {shlex.quote(behind_break)} ''
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = run(["bash", "--norc", "-c", script], cwd=place, env={"PATH": path_with_stubs(place)})
    assert done.stderr == ""
    last = line.rpartition(" ")[2]
    kept = last.removesuffix(behind_break).removesuffix("@")
    offered = (shlex.split(kept + word) for word in done.stdout.split("\n") if word)
    return {words[0] for words in offered}


def in_fish(line: str, place: Path) -> set[str]:
    """The same of fish, which prints a description behind each."""
    script = f"source {shlex.quote(str(UNITS / FILES[2]))}; complete -C {shlex.quote(line)}"
    done = run(
        ["fish", "--no-config", "-c", script],
        cwd=place,
        env={"PATH": path_with_stubs(place), "HOME": str(place.parent)},
    )
    assert done.stderr == ""
    return {word.partition("\t")[0] for word in done.stdout.split("\n")} - {""}


IN_SHELL = {"bash": in_bash, "fish": in_fish}


def test_the_files_are_made_from_the_parser(tmp_path: Path) -> None:
    command = [sys.executable, str(UNITS / "completion/generate.py"), str(tmp_path)]
    run(command, env={"PYTHONPATH": str(ROOT)})
    for name in FILES:
        same = (tmp_path / name).read_text() == (UNITS / name).read_text()
        assert same, f"units/{name} is not of this command line: make completion"


@pytest.mark.parametrize("shell", IN_SHELL)
def test_verbs_and_global_options(shell: str, place: Path) -> None:
    complete = IN_SHELL[shell]
    assert complete("sockreg ", place) == verbs().keys()
    assert complete("sockreg un", place) >= {"unload", "unbind", "unregister"}
    assert complete("sockreg --", place) == {it for it in options(parser()) if it[:2] == "--"}


@pytest.mark.parametrize("shell", IN_SHELL)
@pytest.mark.parametrize("verb", ["status", "register", "apply", "install-units"])
def test_options_of_a_verb(shell: str, verb: str, place: Path) -> None:
    expected = {option for option in options(verbs()[verb]) if option.startswith("--")}
    assert IN_SHELL[shell](f"sockreg --json {verb} --", place) == expected


@pytest.mark.parametrize("shell", IN_SHELL)
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("inspect ", LABELS),
        ("bind ", LABELS),
        ("register ", LABELS),
        ("register web ", LABELS),
        ("enable ", SOCKET_UNITS),
        ("drain web ", REGISTERED),
        ("weight web --unit ", REGISTERED),
        ("unregister --unit web", REGISTERED),
        ("register web --of-unit ", {"web.service"}),
        ("register web --unit sp", {r"sp\x20ace.socket"}),
        ("apply --start web.", {"web.socket"}),
        ("enable web@", {"web@.socket", "web@2.socket"}),
        ("register web --proto ", {"tcp", "udp"}),
        ("enable --mode ", {"companion", "exec"}),
        ("import ", {"tubular"}),
        ("explain ", {"tcp", "udp"}),
        ("bind --root /srv web ", {"tcp", "udp"}),
        ("bind --root=/srv web ", {"tcp", "udp"}),
        ("bind web tcp ", set[str]()),
        ("bind web tcp 192.0.2.1 ", set[str]()),
        ("bind web tcp 192.0.2.1 80 ", {"from", "dev", "missing=pass"}),
        ("bind web tcp 2001:db8::1 80 ", {"from", "dev", "missing=pass"}),
        ("explain tcp 192.0.2.1 80 ", {"from", "dev"}),
        ("bind web tcp 192.0.2.1 80 from ", set[str]()),
        ("bind web tcp 192.0.2.1 80 from 198.51.100.0/24 d", {"dev"}),
        ("bind web tcp 192.0.2.1 80 dev l", {"lo"}),
    ],
)
def test_values(shell: str, line: str, expected: set[str], place: Path) -> None:
    assert IN_SHELL[shell](f"sockreg {line}", place) == expected
    assert not (place / "x").exists(), "a label was taken for a command"


@pytest.mark.parametrize("shell", IN_SHELL)
def test_processes(shell: str, place: Path) -> None:
    assert "1" in IN_SHELL[shell]("sockreg register web --pid ", place)


@pytest.mark.parametrize("shell", IN_SHELL)
def test_labels_are_those_of_the_registry_of_the_command(shell: str, place: Path) -> None:
    IN_SHELL[shell]("sockreg --netns blue --json inspect --bpffs=/srv/bpf ", place)
    asked = (place / "asked").read_text().splitlines()
    assert set(asked) == {"--netns=blue --bpffs=/srv/bpf status --lines 0"}


START = {
    "bash": "bash --noprofile --rcfile {rc} -i",
    "zsh": "zsh -f -i",
    "fish": "fish --no-config -i -C 'source {rc}'",
}
SET_UP = {
    "bash": "source {file}\nPS1='> '\n",
    "zsh": "PS1='> '; fpath=({directory} $fpath); autoload -Uz compinit; compinit -D; clear\n",
    "fish": "source {file}\nfunction fish_prompt; echo -n '> '; end\nfunction fish_greeting; end\n"
    "set -g fish_autosuggestion_enabled 0\n",
}


@pytest.mark.parametrize("shell", START)
def test_as_a_person_types(shell: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal, where the shell's own editor decides what stays of a word."""
    (place / "picture one.prom").touch()
    monkeypatch.setenv("PATH", path_with_stubs(place))
    monkeypatch.setenv("HOME", str(place.parent))
    file = dict(zip(START, FILES, strict=True))[shell]
    rc = place.parent / "rc"
    completions = place.parent / "completions"
    completions.mkdir()
    (completions / "_sockreg").symlink_to(UNITS / FILES[1])  # the name that zsh looks for
    rc.write_text(SET_UP[shell].format(file=shlex.quote(str(UNITS / file)), directory=completions))
    command = shlex.split(START[shell].format(rc=rc))
    with on_terminal(command, cwd=place) as terminal:
        if shell == "zsh":
            terminal.press(f" source {rc}\n")
        terminal.wait(lambda lines: lines[0] == ">")
        for typed, shown in (
            ("sockreg upg\t", "> sockreg upgrade"),
            ("sockreg disable web@2\t", "> sockreg disable web@2.socket"),
            ("sockreg enable --mode=comp\t", "> sockreg enable --mode=companion"),
            ("sockreg inspect tw\t", r"> sockreg inspect two\ words"),
            ("sockreg disable sp\t", r"> sockreg disable sp\\x20ace.socket"),
            ("sockreg metrics --output pic\t", r"> sockreg metrics --output picture\ one.prom"),
        ):
            terminal.press(typed)
            terminal.wait(lambda lines, shown=shown: lines[0] == shown)  # type: ignore[misc]
            terminal.press("\x15")  # Ctrl-U takes the line back
            terminal.wait(lambda lines: lines[0] == ">")


def test_bash_completes_the_command_that_register_runs(place: Path) -> None:
    assert in_bash("sockreg register web -- sockre", place) == {"sockreg"}
    assert in_bash("sockreg register web -- sockreg-no-such-com", place) == set()
