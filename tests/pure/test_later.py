"""Modules that are loaded when they are used."""

from __future__ import annotations

import ast

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
