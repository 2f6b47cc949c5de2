"""The verbs enable and disable, which tell what they do to systemd's files."""

from __future__ import annotations

import argparse
import shlex
from typing import TYPE_CHECKING

from sockreg.cli.printing import plural
from sockreg.context import Context

if TYPE_CHECKING:
    from sockreg.commands.enable import Plan

ENABLE = """\
Enable a .socket unit with the registry and start it: with systemd 256 and later by a drop-in that
lets the socket register itself, before that by its sockreg@ companion."""

DISABLE = """\
Undo 'sockreg enable': the unit's sockets are taken out of the registry and its rules out of force.
The socket itself stays as it is."""

_MODES = ("companion", "exec")


def enable_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("unit", metavar="UNIT", help="web.socket, or web for short")
    parser.add_argument("--mode", choices=_MODES, help="instead of what suits this systemd")
    parser.add_argument("--dry-run", action="store_true", help="show it, do nothing")


def enable(context: Context, options: argparse.Namespace) -> None:
    from sockreg.commands import enable as command

    mode = command.Mode(options.mode) if options.mode else None
    plan = command.plan_enable(context, options.unit, mode)
    _show(plan, f"enable {plan.unit} in mode {plan.mode.value}", options.dry_run)
    if options.dry_run:
        return
    served = command.enable(context, plan)
    if plan.registered:
        print(f"{plan.unit} is registered for {plural(served, 'destination')}")


def disable_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("unit", metavar="UNIT", help="web.socket, or web for short")
    parser.add_argument("--dry-run", action="store_true", help="show it, do nothing")


def disable(context: Context, options: argparse.Namespace) -> None:
    from sockreg.commands import enable as command

    plan = command.plan_disable(context, options.unit)
    if plan is None:
        print(f"{options.unit} is not enabled with sockreg")
        return
    _show(plan, f"disable {plan.unit}, which is enabled in mode {plan.mode.value}", options.dry_run)
    if not options.dry_run:
        command.disable(context, plan)


def _show(plan: Plan, what: str, dry_run: bool) -> None:
    """The steps: those to come, or with ``dry_run`` those there would be."""
    print(f"would {what}:" if dry_run else f"{what}:")
    if plan.dropin is not None:
        print(f"  {'remove' if plan.text is None else 'write'} {plan.dropin}")
        if dry_run:
            for line in (plan.text or "").splitlines():
                print(f"    {line}".rstrip())
    for command in plan.commands:
        print(f"  {shlex.join(command)}")
