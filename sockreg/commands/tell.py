"""What commands report to the journal and the service manager, besides what they return."""

from __future__ import annotations

from sockreg import streams
from sockreg.commands.change import Change, Move
from sockreg.model import Binding, LeftOut
from sockreg.rules.ending import format_time
from sockreg.rules.syntax import format_line, format_rule
from sockreg.systemd import journal, notify


def is_seen() -> bool:
    """Whether our output is the journal: it has the entries, so they need not be printed again."""
    return journal.under_systemd()


def applied(change: Change) -> None:
    """The rules in force have changed, or have been confirmed to be the same."""
    for notice in change.notices:
        _tell(str(notice), journal.NOTICE, {})
    for move in change.moves:
        about: journal.Fields = {
            "SOCKREG_INTERFACE": move.interface,
            "SOCKREG_INTERFACE_INDEX": str(move.index),
            "SOCKREG_RULES": str(move.rules),
            "SOCKREG_GENERATION": str(change.generation),
        }
        _tell(move.summary, _of_move(move), about)
    for rule, end in change.ended:
        _tell_ended(rule, end, change)
    for left in change.newly_left_out:
        _tell_left_out(left)
    fields: journal.Fields = {
        "SOCKREG_GENERATION": str(change.generation),
        "SOCKREG_RULES": str(change.count),
    }
    _tell(change.summary, journal.APPLIED, fields)
    for line in change.unfinished_lines:
        _tell(line, journal.NOTICE, fields, journal.WARNING)
    wrong = f"; {change.now_left_out}" if change.left_out else ""
    notify.status(f"last start or reload: {change.summary}{wrong}")


def _tell_left_out(left: LeftOut) -> None:
    fields: journal.Fields = {
        **journal.unit_fields(left.part),
        "SOCKREG_PART": left.part,
        "SOCKREG_PLACE": [place for place, _ in left.problems],
        "SOCKREG_OUTCOME": left.outcome,
    }
    _tell(left.line, journal.LEFT_OUT, fields, journal.ERR)


def _tell_ended(rule: Binding, end: int, change: Change) -> None:
    fields: journal.Fields = {
        "SOCKREG_LABEL": rule.label,
        "SOCKREG_RULE": format_rule(rule),
        "SOCKREG_PLACE": str(rule.place),
        "SOCKREG_GENERATION": str(change.generation),
    }
    text = f"{format_line(rule)} ({rule.label}) of {rule.place} has ended: its time was "
    _tell(text + format_time(end), journal.ENDED, fields)


def _of_move(move: Move) -> str:
    if move.index:
        return journal.CAME
    return journal.PENDING if move.before is None else journal.WENT


def loaded(registry: str, message: str) -> None:
    """A registry was created."""
    _tell(message, journal.LOADED, {"SOCKREG_REGISTRY": registry})


def unloaded(registry: str, message: str) -> None:
    """A registry was removed."""
    _tell(message, journal.UNLOADED, {"SOCKREG_REGISTRY": registry})


def notice(message: str) -> None:
    """Anything else that is worth an entry."""
    _tell(message, journal.NOTICE, {})


def _tell(
    message: str, message_id: str, fields: journal.Fields, priority: int = journal.INFO
) -> None:
    streams.flush()  # so that earlier output comes first in the journal
    if not journal.record(message, message_id, priority, fields) and is_seen():
        streams.err(message)  # there is no journal
