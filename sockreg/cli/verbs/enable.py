"""``sockreg enable`` and ``sockreg disable``: a unit with or without the registry."""

from __future__ import annotations

import argparse
import shlex
from typing import TYPE_CHECKING

from sockreg.api import Registry
from sockreg.cli.verb import Group, Verb
from sockreg.plural import plural

if TYPE_CHECKING:
    from sockreg.commands.enable import Plan

_MODES = ("companion", "exec")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("unit", metavar="UNIT", help="web.socket, or web for short")
    parser.add_argument(
        "--mode", choices=_MODES, help="companion or exec (default: the best for this systemd)"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the steps and do nothing")


def _enable(registry: Registry, options: argparse.Namespace) -> None:
    from sockreg.commands import enable as command

    mode = command.Mode(options.mode) if options.mode else None
    plan = command.plan_enable(registry.context, options.unit, mode)
    _show(plan, f"enable {plan.unit} in mode {plan.mode.value}", options.dry_run)
    if options.dry_run:
        return
    served = command.enable(registry.context, plan)
    if plan.registered:
        print(f"{plan.unit} is registered for {plural(served, 'destination')}")


def _add_disable_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("unit", metavar="UNIT", help="web.socket, or web for short")
    parser.add_argument("--dry-run", action="store_true", help="print the steps and do nothing")


def _disable(registry: Registry, options: argparse.Namespace) -> None:
    from sockreg.commands import enable as command

    plan = command.plan_disable(registry.context, options.unit)
    if plan is None:
        print(f"{options.unit} is not enabled with sockreg")
        return
    _show(plan, f"disable {plan.unit}, which is enabled in mode {plan.mode.value}", options.dry_run)
    if not options.dry_run:
        command.disable(registry.context, plan)


def _show(plan: Plan, what: str, dry_run: bool) -> None:
    """The steps that follow, or with ``dry_run`` those that would follow."""
    print(f"would {what}:" if dry_run else f"{what}:")
    if plan.dropin is not None:
        print(f"  {'remove' if plan.text is None else 'write'} {plan.dropin}")
        if dry_run:
            for line in (plan.text or "").splitlines():
                print(f"    {line}".rstrip())
    for command in plan.commands:
        print(f"  {shlex.join(command)}")


ENABLE = Verb(
    name="enable",
    group=Group.UNITS,
    summary="enable a .socket unit with the registry",
    description="Enable a .socket unit with the registry and start it. On systemd 256 and later, "
    "a drop-in makes the socket register itself. On older ones, its sockreg@ "
    "companion registers it.",
    add_arguments=_add_arguments,
    run=_enable,
)
DISABLE = Verb(
    name="disable",
    group=Group.UNITS,
    summary="undo enable",
    description="Undo 'sockreg enable': remove the unit's sockets from the registry and its "
    "rules from the rules in force. The socket itself does not change.",
    add_arguments=_add_disable_arguments,
    run=_disable,
)
