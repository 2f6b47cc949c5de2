"""Modules that are loaded when they are used."""

from __future__ import annotations

import ast

import pytest

from tests.process import run
from tests.tree import ROOT

PYTHON = "/usr/bin/python3"


def loaded(statements: str) -> str:
    """What the last expression prints in an interpreter of its own."""
    program = f"import sys\nfrom sockreg.later import load_when_used\n{statements}"
    return run([PYTHON, "-P", "-c", program], env={"PYTHONPATH": str(ROOT)}).stdout.strip()


def test_an_import_loads_nothing() -> None:
    assert loaded('load_when_used("colorsys"); import colorsys; print(vars(colorsys).keys() & '
                  '{"rgb_to_hsv"})') == "set()"  # fmt: skip


def test_a_use_loads_the_module_for_all() -> None:
    used = loaded('load_when_used("colorsys"); import colorsys; colorsys.ONE_THIRD\n'
                  'import colorsys as again; print("rgb_to_hsv" in vars(again))')  # fmt: skip
    assert used == "True"
    assert loaded('load_when_used("colorsys"); from colorsys import rgb_to_hsv; '
                  "print(rgb_to_hsv(0, 0, 0))") == "(0.0, 0.0, 0)"  # fmt: skip


def test_a_module_of_a_package_is_put_in_the_package() -> None:
    assert loaded('load_when_used("xml.dom"); import xml.dom as dom, xml; before = xml.dom is dom\n'
                  'dom.Node; import xml.dom.minidom; '
                  'print(before, xml.dom is sys.modules["xml.dom"], '
                  'xml.dom.minidom.parseString("<a/>").documentElement.tagName)'
                  ) == "True True a"  # fmt: skip


def test_annotations_are_those_that_inspect_finds() -> None:
    """The dataclasses of Python 3.13 ask for those of each class."""
    classes = "class A:\n    a: int\nclass B(A): pass\nclass C(A):\n    c: 'int' = 1\n"
    ask = (
        "import inspect\nof = inspect.get_annotations\n"
        "print([of(it) for it in (A, B, C, int)], of(C, eval_str=True), of(len))"
    )
    shown = loaded(f"{classes}load_when_used('inspect')\n{ask}")
    assert shown == loaded(f"{classes}{ask}")
    assert shown == f"[{{'a': {int}}}, {{}}, {{'c': 'int'}}, {{}}] {{'c': {int}}} {{}}"


def test_what_is_loaded_already_stays() -> None:
    assert loaded('import colorsys; load_when_used("colorsys"); '
                  'print(sys.modules["colorsys"] is colorsys)') == "True"  # fmt: skip


def test_every_dataclass_has_a_docstring_and_so_needs_no_inspect() -> None:
    bare = [
        f"{path}:{node.lineno}: {node.name}"
        for path in (ROOT / "sockreg").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
        and any("dataclass" in ast.unparse(it) for it in node.decorator_list)
        and ast.get_docstring(node) is None
    ]
    assert bare == []
    shown = loaded("from sockreg.cli import main\nfrom sockreg.views import explain, status\n"
                   "print('signature' in vars(sys.modules['inspect']))")  # fmt: skip
    assert shown == "False"


# What each looking verb imports beside the command line, and what it must not load for few rules.
_VIEWS = ("status", "rules", "explain", "listeners", "sets", "flows", "inspect")
_HEAVY = {
    "asyncio", "bz2", "inspect", "ipaddress", "lzma", "numpy", "subprocess", "systemd.journal",
    "sockreg.commands.apply", "sockreg.compile", "threading", "unittest", "urllib.request",
}  # fmt: skip


def _loaded_of(names: set[str], statements: str) -> set[str]:
    """Those of these modules that have been loaded after the statements."""
    said = loaded(
        f"{statements}\nfrom sockreg.later import is_loaded\n"
        f"print(*(name for name in {sorted(names)!r} if is_loaded(name)))"
    )
    return set(said.split())


@pytest.mark.parametrize("view", _VIEWS)
def test_to_look_loads_none_of_what_takes_long(view: str) -> None:
    statements = (
        "from sockreg.cli import main\nfrom sockreg.cli.verbs import WHERE, verb_named\n"
        f"if {view!r} in WHERE: verb_named({view!r})\nimport sockreg.views.{view}"
    )
    # Python 3.14's ctypes itself loads threading.
    assert _loaded_of(_HEAVY, statements) - _loaded_of(_HEAVY, "import ctypes") == set()


def test_a_change_of_few_rules_loads_none_of_it_either() -> None:
    statements = (
        "from sockreg.cli import main\nfrom sockreg.commands import bind\n"
        "from sockreg.compile import compile_rules\ncompile_rules([], {})"
    )
    assert _loaded_of({"ipaddress", "numpy", "bz2", "lzma"}, statements) == set()
