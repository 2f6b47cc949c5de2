"""``sockreg enable`` and ``sockreg disable``: units with or without the registry."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sockreg.api import Registry
from sockreg.cli.arguments import add_force
from sockreg.cli.change import show_beside
from sockreg.cli.printing import print_json, say
from sockreg.cli.verb import Group, Verb
from sockreg.errors import PartlyError
from sockreg.plural import plural
from sockreg.streams import err, out

if TYPE_CHECKING:
    from sockreg.commands.change import Change
    from sockreg.commands.disable import Plan as Disabling
    from sockreg.commands.enable import Plan as Enabling

_MODES = ("companion", "exec")


def _add_units(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("units", metavar="UNIT", nargs="+", help="web.socket, or web for short")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    _add_units(parser)
    parser.add_argument(
        "--mode", choices=_MODES, help="companion or exec (default: the best for this systemd)"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the steps and do nothing")
    add_force(parser)


def _enable(registry: Registry, options: argparse.Namespace) -> None:
    from sockreg.commands import enable as command

    mode = command.Mode(options.mode) if options.mode else None
    if options.dry_run:
        plan = command.plan_enable(registry.context, options.units, mode, force=options.force)
        _show_notices(plan.notices, None)
        _show_enabling(plan, {}, [], options)
        return
    enabled = command.enable(registry.context, options.units, mode, force=options.force)
    _show_notices([enabled.healed, *enabled.plan.notices], enabled.change)
    _show_enabling(enabled.plan, enabled.served, enabled.left_out, options)
    if not options.json:
        for unit, served in enabled.served.items():
            out(f"{unit} is registered for {plural(served, 'destination')}")
    if enabled.left_out:
        for line in enabled.left_out:
            err(line)
        raise PartlyError(
            "enable: not every socket is registered, see the lines above; everything else is done"
        )


def _show_enabling(
    plan: Enabling, served: dict[str, int], left_out: list[str], options: argparse.Namespace
) -> None:
    """The steps that were made, or with --dry-run those that would be."""
    if options.json:
        body = {
            "units": plan.units,
            "mode": plan.mode.value,
            "written": list(map(str, plan.dropins)),
            "commands": [["systemctl", *command] for command in plan.commands],
            "served": served,
            "left_out": left_out,
        }
        print_json("enabled", body)
        return
    what = f"enable {', '.join(plan.units)} in mode {plan.mode.value}:"
    out(f"would {what}" if options.dry_run else what)
    shown = ""
    for path, text in plan.dropins.items():
        out(f"  write {path}")
        if options.dry_run and text != shown:
            for line in text.splitlines():
                out(f"    {line}".rstrip())
        shown = text
    for command in plan.commands:
        out(f"  systemctl {shlex.join(command)}")


def _add_disable_arguments(parser: argparse.ArgumentParser) -> None:
    _add_units(parser)
    parser.add_argument("--dry-run", action="store_true", help="print the steps and do nothing")


def _disable(registry: Registry, options: argparse.Namespace) -> None:
    from sockreg.commands import disable as command

    if options.dry_run:
        plan = command.plan_disable(registry.context, options.units)
    else:
        disabled = command.disable(registry.context, options.units)
        _show_notices([disabled.healed], disabled.change)
        plan = disabled.plan
    if options.json:
        print_json(
            "disabled",
            {
                "units": plan.units,
                "nothing": plan.nothing,
                "removed": [*plan.dropins, *plan.links],
                "stopped": plan.stopped,
                "uncounted": plan.counted,
                "unregistered": plan.registered,
            },
        )
        return
    _show_disabling(plan, dry_run=options.dry_run)


def _show_disabling(plan: Disabling, *, dry_run: bool) -> None:
    for unit in plan.nothing:
        out(f"{unit} is not enabled with sockreg")
    some = [unit for unit in plan.units if unit not in plan.nothing]
    if not some:
        return
    what = f"disable {', '.join(some)}:"
    out(f"would {what}" if dry_run else what)
    for path in (*plan.dropins, *plan.links):
        out(f"  remove {path}")
    if plan.counted:
        out(f"  take out of force: the rules of {', '.join(plan.counted)}")
    if plan.registered:
        out(f"  unregister: the sockets of {', '.join(plan.registered)}")
    if plan.stopped:
        out(f"  systemctl {shlex.join(['stop', *plan.stopped])}")


def _show_notices(sentences: Sequence[str], change: Change | None) -> None:
    for sentence in filter(None, sentences):
        say(sentence, to=err)
    if change is not None:
        show_beside(change)


ENABLE = Verb(
    name="enable",
    group=Group.HAND_OVER,
    summary="enable .socket units with the registry",
    description="Enable .socket units with the registry and start them, all or none. On systemd "
    "256 and later, a drop-in makes each socket register itself. On older ones, its sockreg@ "
    "companion registers it. If anything is wrong, nothing changes.",
    add_arguments=_add_arguments,
    run=_enable,
)
DISABLE = Verb(
    name="disable",
    group=Group.HAND_OVER,
    summary="undo enable",
    description="Undo 'sockreg enable', or what is left of it: remove the units' sockets from the "
    "registry and their rules from the rules in force. The sockets themselves do not change.",
    add_arguments=_add_disable_arguments,
    run=_disable,
)
