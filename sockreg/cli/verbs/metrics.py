"""``sockreg metrics``: for Prometheus."""

from __future__ import annotations

import argparse

from sockreg.api import Registry
from sockreg.cli.verb import Group, Verb
from sockreg.streams import out_document


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--output", metavar="PATH", help="replace this file in one step")
    where.add_argument(
        "--serve", action="store_true", help="answer scrapes on the socket passed by systemd"
    )


def _run(registry: Registry, options: argparse.Namespace) -> None:
    if options.serve:
        from sockreg.metrics import serve

        serve.serve(registry.context)
        return
    from sockreg.metrics import collect

    collector = collect.RegistryCollector(registry.context)
    content = collect.exposition(collector)
    if options.output:
        collect.write_textfile(options.output, content)
    else:
        out_document(content.decode())
    if collector.failure is not None:
        raise collector.failure


VERB = Verb(
    name="metrics",
    group=Group.LOOK,
    summary="print metrics for Prometheus",
    description=(
        "Print the metrics of the registry in Prometheus' text format. Without a registry, "
        "print sockreg_up 0 and exit with the status of the failure."
    ),
    add_arguments=_add_arguments,
    run=_run,
)
