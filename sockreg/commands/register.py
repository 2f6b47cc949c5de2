"""Registering sockets that this process has open: inherited ones, or any descriptor."""

from collections.abc import Sequence

from sockreg import interrupts
from sockreg.commands import inherit
from sockreg.context import Context
from sockreg.registry import registration
from sockreg.systemd import listen_fds, unit_of


def register(
    context: Context,
    received: Sequence[tuple[int, str]],
    *,
    unit: str | None = None,
    weight: int | None = None,
    replace: bool = False,
    named: bool = False,
    exact: bool = False,
) -> list[str]:
    """Register descriptors, each under its label. They remain the caller's.

    ``unit`` is the unit that they are registered for, by default that of this process. ``weight``
    is their share of the label's new flows, by default the weight in the unit's files. ``replace``
    takes a label over from other units. ``exact`` is as in registration.register(). ``named`` is
    whether the labels are the names that systemd
    passed: Label= of a .socket unit is its label instead. Returns a sentence about each descriptor
    that was left out. Raises SockregError if none of them can be registered.
    """
    context.loaded_registry()
    registrant = unit or unit_of.unit_of_this_process()
    with interrupts.dropped():
        return registration.register(
            list(received),
            registrant,
            context.bpffs,
            netns=context.netns.cookie,
            weight=weight,
            root=context.root if named and registrant.endswith(".socket") else None,
            replace=replace,
            exact=exact,
        )


def register_passed(
    context: Context,
    labels: Sequence[str],
    *,
    unit: str | None = None,
    weight: int | None = None,
    replace: bool = False,
    exact: bool = False,
    command: Sequence[str] | None = None,
) -> list[str]:
    """Register the sockets passed with the LISTEN_FDS protocol: see inherit.labelled().

    Returns a sentence about each one that was left out.

    ``command`` is the command that will be run with them. Raises SockregError before anything is
    registered if there is no such program.
    """
    received = inherit.labelled(listen_fds.received(), labels)
    if command:
        inherit.check_command(command)
    return register(
        context,
        received,
        unit=unit,
        weight=weight,
        replace=replace,
        named=not labels,
        exact=exact,
    )
