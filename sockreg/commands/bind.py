"""Rules added and removed by command: written to a file and applied at once."""

import dataclasses
import math
import time

from sockreg.commands import tell
from sockreg.commands.apply import Writer, configuring, put_in_force
from sockreg.commands.change import Change
from sockreg.config import ruleset
from sockreg.config.bindfile import add_binding, bind_path, is_left, remove_binding, typed
from sockreg.config.report import Notice
from sockreg.context import Context
from sockreg.errors import ConfigError, UsageError
from sockreg.model import Binding
from sockreg.registry import generation_record, generations, relabel
from sockreg.rules.ending import format_end, format_time, split_end
from sockreg.rules.listener import settle_listeners
from sockreg.rules.syntax import format_line
from sockreg.systemd.timespan import format_span, parse_span

SECONDS_MAX = 10 * 366 * 86400


def bind(
    context: Context,
    label: str,
    words: list[str],
    runtime: bool,
    *,
    force: bool = False,
    replace: bool = False,
    lasting: float | str | None = None,
) -> Change:
    """Add ``Bind=WORDS`` for a label to the file of such rules and apply.

    ``runtime`` rules last until the next boot. ``force`` is as in apply(). ``replace`` replaces
    the rules for exactly the same packets that bind added, with a notice each. With ``lasting``,
    the rule ends by itself after these seconds, or this time span of systemd.time(7), even if a
    boot comes in between. Raises SockregError if the words or the whole rule set would be wrong;
    neither the file nor the kernel has changed then.
    """
    with configuring(context, force=force) as writer:
        notices: list[str] = []
        end = _end(words, lasting)
        _refuse_unclear(writer, label, words)
        active = writer.active_units()
        files = add_binding(
            context.root,
            label,
            words,
            runtime=runtime,
            notices=notices,
            end=end,
            replace=replace,
            active=active,
        )
        change = put_in_force(writer, active, files, changes=files, force=force)
        if end is not None:
            left = format_span(end - time.time())
            notices.append(f"this ends by itself in {left}, at {format_time(end)}")
    return _told(change, notices)


def _end(words: list[str], lasting: float | str | None) -> int | None:
    """When the rule ends, in seconds since the epoch; None if it does not. Raises UsageError."""
    try:
        _, end = split_end(words)
    except ValueError as problem:
        raise UsageError(f"{' '.join(words)}: {problem}") from None
    if end is not None and lasting is not None:
        raise UsageError(
            "--for and 'until=' both say when the rule ends: leave one of them out", ""
        )
    if lasting is not None:
        try:
            seconds = parse_span(lasting) if isinstance(lasting, str) else lasting
        except ValueError as problem:
            raise UsageError(f"--for {lasting}: {problem}") from None
        if not 1 <= seconds <= SECONDS_MAX:
            message = f"--for {lasting}: expected a time from 1s to ten years"
            raise UsageError(message, "leave it out for a rule that stays")
        end = math.ceil(time.time() + seconds)
    if end is not None and end <= time.time():
        raise UsageError(f"'{format_end(end)}' is over: the rule would never be in force", "")
    return end


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
            if not is_left(context.root, label, words, _in_force(writer), active):
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
