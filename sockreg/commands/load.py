"""Load: create the registry, attach the program, apply the rules. Unload: undo it."""

import contextlib
from dataclasses import dataclass, field, replace

from sockreg import shipped
from sockreg.commands import tell
from sockreg.commands.apply import apply, put_configured
from sockreg.commands.bring_back import bring_back
from sockreg.commands.change import Change
from sockreg.compile import compile_rules
from sockreg.context import Context
from sockreg.errors import KeptError, SockregError
from sockreg.guards import root as root_guard
from sockreg.host import bpf_access
from sockreg.registry import attachment, creation, generations, loading, published, sockops
from sockreg.systemd import journal, notify


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """``created`` is False if the registry existed; ``others`` are foreign programs.

    ``missing`` says which started units could not be registered.
    """

    registry: str
    created: bool
    change: Change
    others: list[attachment.Other]
    missing: list[str] = field(default_factory=list)

    @property
    def summary(self) -> str:
        """One line about the new registry."""
        return f"loaded: the registry is at {self.registry}"


def load(
    context: Context, *, force: bool = False, units: bool = False, state: str | None = None
) -> Loaded:
    """Attach sockreg to the network namespace with the configured rules in force.

    If it is loaded already, this is an apply; if it was detached, this attaches it again. Parts of
    the configuration that are wrong only cost their own rules then. Rules of another root, a
    foreign object or an unsuitable kernel leave the system unchanged (SockregError). ``force`` is
    as in apply(). ``units`` is for the loader: what is wrong refuses nothing, and what started
    units have open and the registry lacks is registered. ``state`` is the directory where the rules
    in force are kept for the next boot; see commands/earlier.py for the default.

    With ``units``, a failure while rules are in force is a KeptError: the loader keeps these, and
    can be stopped.
    """
    if state is not None:
        context = replace(context, state=state)
    try:
        return _load(context, force=force, units=units)
    except (SockregError, OSError) as error:
        if not units or not attachment.is_attached(context.registry):
            raise
        told = error if isinstance(error, SockregError) else SockregError(str(error))
        if journal.under_systemd() or not _is_about_root(context):
            _publish_failure(context.registry, told)
        *before, last = told.lines
        raise KeptError([*before, f"{last}; the rules in force stay"], told.hint) from error


def _is_about_root(context: Context) -> bool:
    """Whether this names another root than that of the rules in force.

    Somebody's typing error says nothing about the configured rules.
    """
    try:
        header = generations.read_in_force(context.registry, generations.read_header)
        root_guard.refuse_other(header, context.root, "")
    except SockregError:
        return True
    return False


def _publish_failure(registry: str, error: SockregError) -> None:
    """As far as it is possible: whatever the loader lacks, this may lack, too."""
    with contextlib.suppress(SockregError, OSError):
        published.publish_outcome(registry, error.status)
    notify.status(f"last start failed, the rules before stay in force: {error.message}")


def _load(context: Context, *, force: bool, units: bool) -> Loaded:
    bpf_access.require_loading()
    loading.check_object(context.object_path)
    _ = context.root  # one that is missing is refused before anything exists
    created = not context.is_loaded
    if created:
        creation.create(
            context.bpffs,
            context.netns,
            context.object_path,
            compile_rules([], {}),
        )
    try:
        change = put_configured(context, force=force, attach=True, starting=units)
    except BaseException:
        if created:
            creation.remove(context.bpffs, context.registry)
        raise
    others = attachment.others(context.registry, context.netns)
    loaded = Loaded(registry=context.registry, created=created, change=change, others=others)
    if created:
        tell.loaded(loaded.registry, loaded.summary)
    tell.applied(change)
    for program in others:
        journal.record(
            f"another sk_lookup program is attached to this network namespace: {program}; it "
            f"{program.effect}",
            journal.NOTICE,
            journal.WARNING,
        )
    if units:
        loaded = replace(loaded, missing=bring_back(context))
    return loaded


def upgrade(context: Context) -> Change:
    """Replace the attached programs with those of this version, with the configured rules."""
    change = apply(context, upgrade=True)
    if sockops.is_loaded(context.registry):
        sockops.load(context.registry, shipped.sock_ops_object_path())
    return change


def load_sock_ops(context: Context) -> str:
    """Attach the sock_ops program beside a loaded registry, replacing an earlier one.

    Returns the result in one line.
    """
    sockops.load(context.loaded_registry(), shipped.sock_ops_object_path())
    return _of_sock_ops("attached to the root cgroup")


def unload_sock_ops(context: Context) -> str:
    """Detach the sock_ops program; sockets stay registered. Returns the result."""
    was_loaded = sockops.unload(context.loaded_registry())
    return _of_sock_ops("detached" if was_loaded else "was not attached")


def _of_sock_ops(what: str) -> str:
    message = f"sock_ops program: {what}"
    tell.notice(message)
    return message


def unload(context: Context, *, keep: bool = False) -> str:
    """Detach and forget everything: sockets, rules, counters. Files stay as they are.

    With ``keep``, only the rules are out of force. Sockets, weights and counters stay until load
    puts the rules in force again, and sockets may come and go meanwhile. Returns the result in one
    line.
    """
    if creation.sweep(context.bpffs) and not context.is_loaded:
        message = "unloaded: what an interrupted command had left is removed"
        tell.unloaded(context.registry, message)
        return message
    registry = context.loaded_registry()
    if keep:
        what = "is detached" if creation.detach(registry) else "was detached before"
        message = f"unloaded: the program {what}; {registry} keeps the registered sockets"
        tell.unloaded(registry, message)
        return message
    sockops.unload(registry)
    creation.remove(context.bpffs, registry)
    message = f"unloaded: the program is detached; {registry} is gone"
    tell.unloaded(registry, message)
    return message
