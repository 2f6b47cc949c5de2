"""The parsers of the command line, for tests that compare it with what is said about it."""

from __future__ import annotations

import argparse

from sockreg.cli.main import parser


def verbs() -> dict[str, argparse.ArgumentParser]:
    """The parsers of all verbs."""
    (choices,) = (
        action.choices
        for action in parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    return dict(choices)


def options(target: argparse.ArgumentParser) -> set[str]:
    return {option for action in target._actions for option in action.option_strings}
