"""Rules added and removed by command: written to a file and applied at once."""

import contextlib
import dataclasses
import math
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sockreg.commands import tell
from sockreg.commands.apply import Writer, configuring, put_in_force
from sockreg.commands.change import Change
from sockreg.config import ruleset
from sockreg.config.bindfile import BindFiles, bind_path, is_left, sets_of, typed
from sockreg.config.report import Notice
from sockreg.context import Context
from sockreg.errors import ConfigError, SockregError, UsageError
from sockreg.model import Binding
from sockreg.registry import generation_record, generations, relabel
from sockreg.rules.ending import format_end, format_time, split_end
from sockreg.rules.listener import settle_listeners
from sockreg.rules.syntax import format_line
from sockreg.systemd.timespan import format_span, parse_span

SECONDS_MAX = 10 * 366 * 86400


class Typed(NamedTuple):
    """A rule as it was typed: its label, its words, and its number in a list of rules."""

    label: str
    words: list[str]
    number: int | None = None


def bind(
    context: Context,
    rules: Sequence[Typed],
    runtime: bool,
    *,
    force: bool = False,
    replace: bool = False,
    lasting: float | str | None = None,
) -> Change:
    """Add ``Bind=WORDS`` for each rule's label to the file of such rules and apply, once.

    ``runtime`` rules last until the next boot. ``force`` is as in apply(). ``replace`` replaces
    the rules for exactly the same packets that bind added, with a notice each. With ``lasting``,
    each rule ends by itself after these seconds, or this time span of systemd.time(7), even if a
    boot comes in between. Raises SockregError if the words or the whole rule set would be wrong;
    neither the file nor the kernel has changed then.
    """
    with configuring(context, force=force) as writer:
        notices: list[str] = []
        ends: dict[int, None] = {}
        active = writer.active_units()
        written = BindFiles(context.root, active)
        for rule in rules:
            with _named(rule):
                end = _end(rule.words, lasting)
                written.add(
                    rule.label,
                    rule.words,
                    runtime=runtime,
                    notices=notices,
                    end=end,
                    replace=replace,
                )
            if end is not None:
                ends[end] = None
        files = written.changes(runtime_first=runtime)
        _refuse_unclear(writer, rules)
        change = put_in_force(writer, active, files, changes=files, force=force)
        for end in ends:
            left = format_span(end - time.time())
            notices.append(f"this ends by itself in {left}, at {format_time(end)}")
    return _told(change, notices)


@contextlib.contextmanager
def _named(rule: Typed) -> Iterator[None]:
    """Name the rule of a list that is refused in this block. The whole list is then refused."""
    try:
        yield
    except SockregError as error:
        if rule.number is None:
            raise
        first, *others = error.lines
        raise type(error)(
            [f"rule {rule.number} of the list, {rule.label}: {first}", *others], error.hint
        ) from None


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


def _refuse_unclear(writer: Writer, rules: Sequence[Typed]) -> None:
    """Raises ConfigError if a rule does not say which of several listeners it means."""
    units = ruleset.read_units(writer.context.root, writer.active_units())
    live = relabel.listening(writer.maps)
    find_set = sets_of(writer.context.root)
    bindings = [it for rule in rules for it in typed(rule.label, rule.words, find_set)]
    _, unclear = settle_listeners(bindings, ruleset.configured(units), live)
    for each in unclear:
        raise ConfigError(f"{format_line(each.binding)}: {each}")


def unbind(context: Context, rules: Sequence[Typed], *, force: bool = False) -> Change:
    """Remove what bind added, persistent or not, and apply, once for all rules.

    ``force`` is as in apply(). SockregError names the place if a rule is in a file that bind did
    not write.
    """
    with configuring(context, force=force) as writer:
        notices: list[str] = []
        active = writer.active_units()
        written = BindFiles(context.root, active)
        for rule in rules:
            with _named(rule):
                try:
                    written.remove(rule.label, rule.words, notices=notices)
                except ConfigError:
                    if not is_left(context.root, rule.label, rule.words, _in_force(writer), active):
                        raise
        files = written.changes()
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
