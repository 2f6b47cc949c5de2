"""Rules added and removed by command: written to a file and applied at once."""

import dataclasses

from sockreg.commands import tell
from sockreg.commands.apply import Writer, configuring, put_in_force
from sockreg.commands.change import Change
from sockreg.config import ruleset
from sockreg.config.bindfile import add_binding, bind_path, is_left, remove_binding, typed
from sockreg.config.report import Notice
from sockreg.context import Context
from sockreg.errors import ConfigError
from sockreg.model import Binding
from sockreg.registry import generation_record, generations, relabel
from sockreg.rules.listener import settle_listeners
from sockreg.rules.syntax import format_line


def bind(
    context: Context,
    label: str,
    words: list[str],
    runtime: bool,
    *,
    force: bool = False,
    replace: bool = False,
) -> Change:
    """Add ``Bind=WORDS`` for a label to the file of such rules and apply.

    ``runtime`` rules last until the next boot. ``force`` is as in apply(). ``replace`` replaces
    the rules for exactly the same packets that bind added, with a notice each. Raises
    SockregError if the words or the whole rule set would be wrong; neither the file nor the kernel
    has changed then.
    """
    with configuring(context, force=force) as writer:
        notices: list[str] = []
        _refuse_unclear(writer, label, words)
        active = writer.active_units()
        files = add_binding(
            context.root,
            label,
            words,
            runtime=runtime,
            notices=notices,
            replace=replace,
            active=active,
        )
        change = put_in_force(writer, active, files, changes=files, force=force)
    return _told(change, notices)


def _refuse_unclear(writer: Writer, label: str, words: list[str]) -> None:
    """Raises ConfigError if the rule does not say which of several listeners it means."""
    units = ruleset.read_units(writer.context.root, writer.active_units())
    live = relabel.listening(writer.maps)
    _, unclear = settle_listeners(typed(label, words), ruleset.configured(units), live)
    for each in unclear:
        raise ConfigError(f"{format_line(each.binding)}: {each}")


def unbind(context: Context, label: str, words: list[str], *, force: bool = False) -> Change:
    """Remove what bind added, persistent or not, and apply.

    ``force`` is as in apply(). SockregError names the place if the rule is in a file that bind did
    not write.
    """
    with configuring(context, force=force) as writer:
        notices: list[str] = []
        active = writer.active_units()
        try:
            files = remove_binding(context.root, label, words, active=active, notices=notices)
        except ConfigError:
            if not is_left(context.root, label, words, _in_force(writer)):
                raise
            files = {}
        about = files or [bind_path(context.root, runtime) for runtime in (False, True)]
        change = put_in_force(writer, active, files, changes=about, force=force)
    return _told(change, notices)


def _in_force(writer: Writer) -> list[Binding]:
    current = generations.in_force(writer.registry)
    if current is None:
        return []
    return generation_record.decode_bindings(generations.read_rules(current))


def _told(change: Change, typed: list[str]) -> Change:
    notices = [*(Notice(None, text) for text in typed), *change.notices]
    complete = dataclasses.replace(change, notices=list(dict.fromkeys(notices)))
    tell.applied(complete)
    return complete
