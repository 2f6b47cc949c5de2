"""``sockreg import``: rules of other programs as a conf file."""

from __future__ import annotations

import argparse

from sockreg.api import Registry
from sockreg.cli.verb import Group, Verb
from sockreg.errors import UsageError
from sockreg.plural import plural
from sockreg.streams import err, out, out_document


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("format", metavar="FORMAT", choices=("tubular",), help="tubular")
    parser.add_argument("source", metavar="SOURCE", help="the file to read; '-' is standard input")
    parser.add_argument("--output", metavar="PATH", help="write this file instead of printing")
    parser.add_argument("--force", action="store_true", help="replace an existing PATH")


def _run(registry: Registry, options: argparse.Namespace) -> None:
    from sockreg.commands.import_tubular import import_tubular, write

    if options.force and options.output is None:
        raise UsageError("--force only applies to --output", "")
    _ = registry.context.root  # a typing error there, as for all verbs that write configuration
    found = import_tubular(options.source)
    if options.output is None:
        out_document(found.text)
    else:
        write(options.output, found.text, replace=options.force)
    for remark in found.remarks:
        err(f"sockreg: note: {remark}")
    if options.output is not None:
        out(
            f"wrote {options.output}: {plural(found.rules, 'rule')} to "
            f"{plural(found.labels, 'label')}; 'sockreg apply --check' says what they change"
        )


VERB = Verb(
    name="import",
    group=Group.CHANGE,
    summary="convert another program's rules to a conf file",
    description=(
        "Read the bindings of another program and print them as a file for /etc/sockreg. The "
        "format 'tubular' is the JSON that 'tubectl load-bindings' takes. If anything is "
        "wrong in it, nothing is printed."
    ),
    add_arguments=_add_arguments,
    run=_run,
)
