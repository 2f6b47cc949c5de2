"""``sockreg graph``: a picture of the registry."""

from __future__ import annotations

import argparse

from sockreg.api import Registry
from sockreg.cli.printing import print_json
from sockreg.cli.verb import Group, Verb
from sockreg.streams import out_document


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dot", action="store_true", help="for Graphviz instead of SVG")


def _run(registry: Registry, options: argparse.Namespace) -> None:
    from sockreg.views import graph

    found = graph.read(registry.context)
    if options.json:
        print_json("graph", found)
    elif options.dot:
        from sockreg.views.dot import dot

        out_document(dot(found))
    else:
        from sockreg.views.drawing import svg

        out_document(svg(found))


VERB = Verb(
    name="graph",
    group=Group.LOOK,
    summary="draw prefixes, labels, sockets and units as SVG",
    description=(
        "Print a picture of the rules in force: prefixes, the labels that they point to, and "
        "the labels' sockets and units, with counters. Use 'sockreg graph >picture.svg'. "
        "What does not fit into the picture is summarized."
    ),
    add_arguments=_add_arguments,
    run=_run,
)
