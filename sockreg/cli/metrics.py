"""``sockreg metrics``: for Prometheus."""

from __future__ import annotations

import argparse
import sys

from sockreg.context import Context

SUMMARY = "print metrics for Prometheus"
DESCRIPTION = (
    "Print the metrics of the registry in Prometheus' text format. Without a registry they say "
    "so, and the exit status is that of the failure."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--output", metavar="PATH", help="replace this file in one step")
    where.add_argument(
        "--serve", action="store_true", help="answer scrapes on the socket passed by systemd"
    )


def run(context: Context, options: argparse.Namespace) -> None:
    from sockreg.metrics import serve
    from sockreg.metrics.collect import RegistryCollector

    collector = RegistryCollector(context)
    if options.serve:
        serve.serve(collector)
        return
    content = serve.exposition(collector)
    if options.output:
        serve.write_textfile(options.output, content)
    else:
        sys.stdout.write(content.decode())
    if collector.failure is not None:
        raise collector.failure
