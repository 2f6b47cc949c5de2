"""Every fix that sockreg prints has a test that does it."""

from __future__ import annotations

import ast
from importlib.metadata import packages_distributions

import pytest

from sockreg.errors import _PACKAGES
from sockreg.kernel.libbpf import SYSTEM_LIBRARY
from sockreg.systemd.libsystemd import LIBRARY
from tests.fixes import EXECUTORS, NOT_YET, ONLY_SHOWN, commands, findings
from tests.process import run
from tests.tree import ROOT

PRINTED = sorted(findings() | {text for text in commands() if not ONLY_SHOWN.search(text)})


@pytest.mark.parametrize("printed", PRINTED)
def test_a_fix_has_its_executor(printed: str) -> None:
    assert [text for text in (*EXECUTORS, *NOT_YET) if printed.startswith(text)], (
        "say in tests/fixes.py which test does what this says"
    )


def test_executors_are_there_and_needed() -> None:
    for text, executor in EXECUTORS.items():
        path, _, name = executor.partition("::")
        functions = {
            node.name
            for node in ast.walk(ast.parse((ROOT / path).read_text("utf-8")))
            if isinstance(node, ast.FunctionDef)
        }
        assert name in functions, executor
        assert any(printed.startswith(text) for printed in PRINTED), text
    for text in NOT_YET:
        assert any(printed.startswith(text) for printed in PRINTED), text


@pytest.mark.parametrize("module", [*_PACKAGES, "libbpf", "libsystemd"])
def test_packages_are_those_that_have_it(module: str) -> None:
    """The packages named for what is missing are those that what is there came from."""
    if module == "libbpf":
        debian, pypi, file = "libbpf1", "pylibbpf", SYSTEM_LIBRARY
    elif module == "libsystemd":
        debian, pypi, file = "libsystemd0", "systemd-python", LIBRARY
    else:
        debian, pypi = _PACKAGES[module]
        file = f"/usr/lib/python3/dist-packages/{module}/__init__.py"
    if module != "prometheus_client":  # optional, and not installed for the tests
        owner = run(["dpkg-query", "--search", f"*{file.removeprefix('/usr')}"]).stdout
        assert owner.split(":")[0] == debian
    if "systemd" in module:  # that of Debian is used here
        assert f'"{pypi}' in (ROOT / "pyproject.toml").read_text()
    else:
        assert pypi in packages_distributions()[pypi if module == "libbpf" else module]
