"""What the documents say of the commands, the files and each other is so."""

from __future__ import annotations

import argparse
import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType

import pytest

from sockreg import __version__, errors
from sockreg.cli.main import parser
from sockreg.config.bindfile import PERSISTENT, RUNTIME
from sockreg.config.conf import DIRECTORIES
from sockreg.config.ruleset import read_rule_set
from sockreg.model import Action, Binding, Packet, Place
from sockreg.rules.oracle import decide
from sockreg.rules.syntax import parse_words
from sockreg.systemd import journal
from tests.commandline import options, verbs
from tests.docs import DOCUMENTS, MAN_PAGE, RECIPES, Command, File, scenes
from tests.docs.play import matches
from tests.process import run
from tests.tree import ROOT


def _loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build = _loaded(ROOT / "units/site/build.py")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_OPTION = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")


def definitions(section: str) -> dict[str, str]:
    """Of a section of the man page the terms of its definition list, and what each means."""
    _, _, rest = MAN_PAGE.read_text().partition(f"\n# {section}\n")
    found: dict[str, str] = {}
    term = ""
    for line in re.split(r"\n#+ ", rest)[0].splitlines():
        if line.startswith((": ", "  ")):
            found[term] += line[2:] + "\n"
        elif line:
            term = line
            found[term] = ""
    return found


def arguments(target: argparse.ArgumentParser) -> set[str]:
    """The words that stand for values: of positional arguments, and of options with one."""
    return {
        word
        for action in target._actions
        if action.nargs != 0 and not isinstance(action, argparse._SubParsersAction)
        for word in re.findall("[A-Z]+", str(action.metavar or action.dest.upper()))
    }


def plain(text: str) -> str:
    return text.replace("*", "").replace("\\", "")


def test_the_manual_has_every_verb_with_its_options_and_arguments() -> None:
    described = {plain(term).split()[0]: plain(term) for term in definitions("VERBS")}
    assert described.keys() == verbs().keys()
    everywhere = parser()
    for name, verb in verbs().items():
        synopsis = described[name]
        assert set(_OPTION.findall(synopsis)) == options(verb) - options(everywhere), name
        # What follows "--" is not for the parser.
        words = set(re.findall(r"\b[A-Z]+\b", synopsis.partition("[-- ")[0]))
        assert words == arguments(verb) - arguments(everywhere), name


def test_the_manual_has_every_global_option() -> None:
    terms = definitions("GLOBAL OPTIONS")
    described = {option for term in terms for option in _OPTION.findall(plain(term))}
    assert described == options(parser())


def test_every_verb_takes_the_global_options() -> None:
    everywhere = options(parser()) - {"--version"}
    assert all(everywhere <= options(verb) for verb in verbs().values())


def test_help_fits_a_screen() -> None:
    assert len(parser().format_help().splitlines()) <= 60


def test_the_manual_has_every_exit_status() -> None:
    statuses = {str(value) for name, value in vars(errors).items() if name.startswith("EXIT_")}
    assert {plain(term) for term in definitions("EXIT STATUS")} == statuses


def test_the_manual_has_every_kind_of_journal_entry() -> None:
    known = {
        value
        for value in vars(journal).values()
        if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{32}", value)
    }
    text = MAN_PAGE.read_text()
    assert set(re.findall(r"\b[0-9a-f]{32}\b", text)) == known
    in_code = {
        field
        for path in (ROOT / "sockreg").rglob("*.py")
        for field in re.findall(r'"(SOCKREG_[A-Z]+)":', path.read_text())
    }
    assert {term for line in definitions("JOURNAL") for term in _fields(line)} == in_code


def _fields(term: str) -> list[str]:
    return re.findall(r"SOCKREG_[A-Z]+", term)


def test_the_manual_has_every_place_of_configuration() -> None:
    terms = plain(" ".join(definitions("FILES")))
    for directory in DIRECTORIES:
        assert f"{directory}/.conf" in terms  # plain() has taken the asterisk
    assert PERSISTENT in terms
    assert RUNTIME in terms
    for unit in (ROOT / "units").glob("*.service"):
        assert unit.name in terms


def test_the_manual_builds_without_a_warning(tmp_path: Path) -> None:
    page = tmp_path / "sockreg.8"
    run(["make", "-s", "-C", str(ROOT), "man", f"MAN={page}"])
    done = run(["man", "--warnings", "-l", str(page)], env={"LANG": "C.UTF-8", "MANWIDTH": "100"})
    assert done.stderr == ""
    assert run(["mandoc", "-Tlint", str(page)]).stdout == ""
    assert re.match(r'% SOCKREG 8 "20\d\d-\d\d-\d\d" ', MAN_PAGE.read_text())
    for heading in ("SYNOPSIS", "EXIT STATUS", "SEE ALSO"):
        assert f"\n{heading}\n" in done.stdout


def test_the_manual_that_is_installed_is_the_one_that_is_written(tmp_path: Path) -> None:
    page = tmp_path / "sockreg.8"
    run(["make", "-s", "-C", str(ROOT), "man", f"MAN={page}"])
    same = page.read_text() == (ROOT / "docs/man/sockreg.8").read_text()
    assert same, "docs/man/sockreg.8.md has changed: run `make man`, and commit what it makes"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    assert not broken_links(document)


def test_the_site_has_every_document_and_every_link_there_leads_somewhere(tmp_path: Path) -> None:
    build.stage(tmp_path)
    named = (ROOT / "units/site/mkdocs.yml").read_text() + "\n".join(build.recipes())
    pages = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.md")}
    assert pages == set(re.findall(r"[\w./-]+\.md", named)), "the nav of units/site/mkdocs.yml"
    assert {name: broken for name in pages if (broken := broken_links(tmp_path / name))} == {}


def broken_links(page: Path) -> list[str]:
    """The links of a page to files and headings that there are not."""
    broken = []
    for target in _LINK.findall(page.read_text()):
        path, _, anchor = target.partition("#")
        other = page.parent / path if path else page
        if re.match(r"(https|mailto):", target):
            continue
        is_there = other.exists()
        if is_there and anchor and other.suffix == ".md":
            is_there = anchor in build.anchors(other.read_text())
        if not is_there:
            broken.append(target)
    return broken


def test_the_commands_of_the_troubleshooting_exist() -> None:
    text = (ROOT / "docs/troubleshooting.md").read_text()
    commands = re.findall(r"`sockreg (?:-v )?([a-z][^`]*)`", text)
    assert len(commands) > 20
    for command in commands:
        verb, *words = shlex.split(command)
        known = options(verbs()[verb])
        assert {word for word in words if word.startswith("-")} <= known, command
    named = set(re.findall(r"`([a-z]+(?:-[a-z]+)+)`", text))
    assert named <= set(
        re.findall(r"^\| `([a-z-]+)` \|", (ROOT / "docs/check.md").read_text(), re.M)
    )


def test_the_tests_that_the_features_name_exist() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "docs/features.md").read_text())
    missing = [
        f"{path}::{name}"
        for path, name in named
        if not (ROOT / path).exists() or f"\ndef {name}(" not in (ROOT / path).read_text()
    ]
    assert named
    assert not missing


def test_the_changelog_has_this_version() -> None:
    assert f"\n## {__version__}" in (ROOT / "CHANGELOG.md").read_text()


_ROW = re.compile(r"\| `((?:tcp|udp) [^`]*)` \| `?([^`|]+?)`? \|")


def test_the_worked_example_of_precedence_is_right(tmp_path: Path) -> None:
    document = ROOT / "docs/rules.md"
    (scene,) = (s for s in scenes(document) if s.title.endswith("Which rule wins"))
    (file,) = (action for action in scene.actions if isinstance(action, File))
    path = Path(f"{tmp_path}{file.path}")
    path.parent.mkdir(parents=True)
    path.write_text(file.text)
    bindings = read_rule_set(str(tmp_path)).bindings
    rows = _ROW.findall(document.read_text())
    assert len(rows) == 16
    for packet, outcome in rows:
        assert _outcome(decide(bindings, _packet(packet))) == outcome, packet


def _packet(text: str) -> Packet:
    """A packet written as a rule: its prefixes are single addresses."""
    (binding,) = parse_words(Action.BIND, text.split(), "any", Place("", 0), [])
    source, _ = binding.source or (0, 0)
    return Packet(
        binding.protocol,
        binding.family,
        binding.address,
        binding.first,
        source,
        binding.interface,
    )


def _outcome(winner: Binding | None) -> str:
    if winner is None:
        return "ordinary lookup"
    return winner.label if winner.action is Action.BIND else winner.action.name.lower()


# Commands that no box can run: see NOT_PLAYED of tests/docs/play.py.


def commands(start: str) -> list[Command]:
    return [
        command
        for document in DOCUMENTS
        if document not in RECIPES  # those run with others
        for scene in scenes(document)
        for command in scene.commands()
        if command.line.startswith(start)
    ]


def test_targets_are_in_the_makefile() -> None:
    typed = [*commands("make "), *commands("tests/make ")]
    words = [word for command in typed for word in shlex.split(command.line)[1:]]
    named = {word for word in words if "=" not in word}  # others set variables
    assert named
    run(["make", "-n", "-C", str(ROOT), *sorted(named)])


def test_packages_are_those_that_the_tests_run_with() -> None:
    named = {
        word
        for command in commands("apt install ")
        for word in command.line.replace("\\\n", "").split()[2:]
        if not word.startswith("./")  # a package that `make deb` has built
    }
    assert named
    run(["dpkg-query", "-W", *sorted(named)])


def test_output_may_differ_in_numbers_of_one_run_and_in_nothing_else() -> None:
    shown = ["in force    generation 2, 3 rules, 4 s old", "web  sk:1a  2"]
    assert matches(shown, ["in force    generation 2, 3 rules, 17 min old", "web  sk:20bf  2"])
    assert not matches(shown, ["in force    generation 2, 4 rules, 4 s old", "web  sk:1a  2"])
    assert not matches(shown, [*shown, "more"])
    assert matches(["...", "web  sk:1a  2"], ["one", "two", "web  sk:1a  2"])
    assert not matches(["...", "web  sk:1a  2"], ["one", "two", "web  sk:1a  3"])
