"""``sockreg rules``: the rules in force."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from sockreg import garbage
from sockreg.api import Registry
from sockreg.cli import arguments, rule_filter
from sockreg.cli.printing import print_json, print_table
from sockreg.cli.verb import Group, Verb
from sockreg.errors import UsageError
from sockreg.plural import plural
from sockreg.streams import err, out

_SHOWN = 4  # prefixes of a set

if TYPE_CHECKING:
    from sockreg.views.rules import Filter, Rules


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    rule_filter.add(parser, of="rules")
    parser.add_argument(
        "--sets", action="store_true", help="show the sets of prefixes that the files have now"
    )
    parser.add_argument(
        "--count",
        metavar="SECONDS",
        type=arguments.seconds,
        help="count for SECONDS how often each rule decides, by a trace",
    )


def _run(registry: Registry, options: argparse.Namespace) -> None:
    from sockreg.views import rules

    wanted = rule_filter.read(options, "rules")
    if options.sets:
        if options.count is not None or rule_filter.given(options):
            raise UsageError("rules: --sets takes no other option")
        _show_sets(registry, options)
        return
    if options.count is not None:
        _count(registry, wanted, options)
        return
    everything = rules.read(registry.context)
    with garbage.paused():
        found = everything.chosen(wanted)
        if options.json:
            print_json("rules", rules.bodies(found))
        else:
            _print(found)
            for text in rules.pending_lines(found.pending, found.refused):
                out(text, "doubtful")
    if everything.bindings and not found.bindings:
        total = plural(len(everything.bindings), "rule")
        err(f"none of {total} matches {rule_filter.given(options)}")


def _print(found: Rules) -> None:
    """A table of the rules; with what is left if any of them ends."""
    from sockreg.views import rules

    head = ["ACTION", "LABEL", "RULE", "PLACE"]
    if any(rule.place in found.ends for rule in found.bindings):
        rows = [
            (*rules.row(rule), rules.left_text(found.ends.get(rule.place)))
            for rule in found.bindings
        ]
        print_table([*head, "LEFT"], rows)
    else:
        print_table(head, list(map(rules.row, found.bindings)))


def _show_sets(registry: Registry, options: argparse.Namespace) -> None:
    found = registry.sets()
    if options.json:
        print_json(
            "sets",
            [
                {
                    "name": it.name,
                    "file": it.place.path,
                    "line": it.place.line,
                    "prefixes": it.prefixes,
                    "problem": it.problem,
                    "users": [{"file": user.path, "line": user.line} for user in it.users],
                }
                for it in found
            ],
        )
        return
    rows = []
    for it in found:
        shown = it.problem or ", ".join(it.prefixes[:_SHOWN])
        more = len(it.prefixes) - _SHOWN
        if more > 0:
            shown += f" and {more} more"
        rows.append((f"@{it.name}", len(it.prefixes), len(it.users), shown or "-", it.place))
    print_table(("SET", "PREFIXES", "USES", "", "PLACE"), rows)


def _count(registry: Registry, wanted: Filter, options: argparse.Namespace) -> None:
    from sockreg.views import rules, trace

    seen = trace.count(registry.context, options.count)
    with garbage.paused():
        counted = [it for it in seen.counted if wanted.shows(it.binding)]
        if options.json:
            print_json("rules", rules.counted_bodies(seen.rules, counted))
            return
        rows = [(many, *rules.row(rule)) for rule, many in rules.by_decisions(counted)]
        print_table(("DECISIONS", "ACTION", "LABEL", "RULE", "PLACE"), rows)
    idle = sum(not it.decisions for it in counted)
    out(
        f"{plural(seen.total, 'decision')} in {options.count:g} s; {idle} of "
        f"{plural(len(counted), 'rule')} decided nothing"
    )
    if seen.lost:
        err(f"{plural(seen.lost, 'decision')} came too fast to be counted")


VERB = Verb(
    name="rules",
    group=Group.LOOK,
    summary="show the rules in force",
    description="Show the rules in force, or those that meet all conditions given. If there are "
    "none, says so; this is no failure.",
    add_arguments=_add_arguments,
    run=_run,
)
