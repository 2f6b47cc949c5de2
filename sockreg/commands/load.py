"""Load: make the registry, attach the program, put the rules in force. Unload: undo it."""

from dataclasses import dataclass

from sockreg.commands.apply import Change, apply
from sockreg.compile import compile_rules
from sockreg.config.ruleset import read_rule_set
from sockreg.context import Context
from sockreg.kernel import shipped
from sockreg.registry import generations, sockops, state
from sockreg.systemd import journal


@dataclass(frozen=True)
class Loaded:
    """``created`` is False if the registry was there; ``others`` are foreign programs."""

    created: bool
    change: Change
    others: list[state.Attached]


def load(context: Context, *, force: bool = False) -> Loaded:
    """Attach sockreg to the network namespace with the configured rules in force.

    Done twice, it is an apply. Rules that are refused, an object that is not ours or a
    kernel that cannot do it leave the system as it was (SockregError). ``force`` lets rules
    take the ssh port.
    """
    generations.check_object(context.object_path)
    created = not state.exists(context.registry)
    rules = None
    if created:
        # Before anything exists: a registry whose rules are refused would be of no use.
        rules = read_rule_set(context.root)
        state.create(
            context.bpffs,
            context.netns,
            context.object_path,
            compile_rules([], {}),
            rules.options.slots,
        )
    try:
        change = apply(context, force=force, rules=rules)
    except BaseException:
        if created:
            state.remove(context.bpffs, context.registry)
        raise
    others = state.others(context.registry, context.netns)
    for program in others:
        journal.record(
            f"another sk_lookup program is attached to this network namespace: {program}; "
            "where both select a socket, the one attached last wins",
            journal.NOTICE,
            journal.WARNING,
        )
    return Loaded(created, change, others)


def upgrade(context: Context) -> Change:
    """Put this version's programs in the place of those attached, with the configured rules."""
    change = apply(context, upgrade=True)
    if sockops.is_loaded(context.registry):
        load_sock_ops(context)
    return change


def load_sock_ops(context: Context) -> None:
    """Attach the sock_ops program beside a loaded registry, or this version's in its place."""
    sockops.load(context.loaded_registry(), shipped.sock_ops_object_path())


def unload_sock_ops(context: Context) -> bool:
    """Detach it; sockets stay registered. False if it was not loaded."""
    return sockops.unload(context.loaded_registry())


def unload(context: Context) -> None:
    """Detach and forget everything: sockets, rules, counters. Files stay as they are."""
    sockops.unload(context.loaded_registry())
    state.remove(context.bpffs, context.loaded_registry())
