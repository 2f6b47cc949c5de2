"""``sockreg report``: one page for a team."""

from __future__ import annotations

import argparse

from sockreg.api import Registry
from sockreg.cli.verb import Group, Verb
from sockreg.errors import UsageError
from sockreg.streams import out_document


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", metavar="PATH", help="replace this file in one step")


def _run(registry: Registry, options: argparse.Namespace) -> None:
    from sockreg.report import write

    if options.json:
        raise UsageError(
            "report makes HTML", "'status', 'rules', 'inspect' and 'check' take --json"
        )
    page = registry.report()
    if options.output is None:
        out_document(page)
    else:
        write(options.output, page)


VERB = Verb(
    name="report",
    group=Group.LOOK,
    summary="write one page with all of this, as HTML",
    description=(
        "Print one HTML page: what check finds, the picture of 'sockreg graph', labels, sockets "
        "and their health, rules, what else listens, and the latest lines of the journal. It "
        "needs no network and no script to be read."
    ),
    add_arguments=_add_arguments,
    run=_run,
)
