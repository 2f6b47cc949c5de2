"""The two conf files that ``sockreg bind`` and ``sockreg unbind`` write.

One is persistent, and one lasts until the next boot. Their names differ, so neither hides the
other. Operators may edit both: other lines stay as they are. Changes are first computed as an
overlay for read_sound(), and then written.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable
from itertools import pairwise
from typing import NamedTuple

from sockreg import trust
from sockreg.config.conf import Overlay
from sockreg.config.rulelines import RULE_KEYS
from sockreg.config.ruleset import examine_rule_set
from sockreg.errors import (
    ConfigError,
    SockregError,
    UsageError,
    failure,
)
from sockreg.host import files
from sockreg.model import Action, Binding, Place, label_problem
from sockreg.rules.ending import WORD, format_end, format_time, split_end
from sockreg.rules.prefixes import SET
from sockreg.rules.syntax import format_line, parse_rule, parse_words
from sockreg.systemd.keyfile import Entry, Section, read_sections, too_large

PERSISTENT = "/etc/sockreg/90-bind.conf"
RUNTIME = "/run/sockreg/91-bind-runtime.conf"

_HEADER = """\
# Written by `sockreg bind` and `sockreg unbind`. Editing is fine: comments, order and
# other lines are kept; `sockreg apply` puts the result in force.
"""


class _Line(NamedTuple):
    """A ``Bind=`` line of the file, parsed. ``end`` is when its rules end, or None."""

    entry: Entry
    bindings: list[Binding]
    end: int | None


def bind_path(root: str, runtime: bool) -> str:
    """The file that ``bind`` writes."""
    return root.rstrip("/") + (RUNTIME if runtime else PERSISTENT)


def add_binding(
    root: str,
    label: str,
    words: list[str],
    *,
    runtime: bool,
    notices: list[str],
    end: int | None = None,
    replace: bool = False,
    active: Collection[str] = (),
) -> Overlay:
    """What to write to add ``Bind=WORDS`` to the file under the label.

    With ``end``, the line says that the rule ends then. Lines that have ended are removed. Empty if
    the line is there already. A binding of the label for the same packets that differs in
    its listener or ``missing=pass`` is replaced. ``replace`` also replaces the bindings of other
    labels for exactly the same packets, in either file, with a notice each. ``active`` is as in
    read_sound(). Raises UsageError for wrong arguments and ConfigError for a wrong file. With
    ``replace``, raises ConfigError if such a rule is in another file, which it names. Raises
    ConfigError if a rule that ends, or a ``runtime`` one, would replace one that lasts longer.
    """
    path = bind_path(root, runtime)
    # The file that is added to comes first: if only this one is written, the rule is in both.
    paths = [path, bind_path(root, not runtime)] if replace else [path]
    before = {path: _read(path) or "" for path in paths}
    after = {path: _without_ended(text) for path, text in before.items()}
    for binding in _parse_typed(label, words, path, notices):
        if replace:
            _refuse_elsewhere(root, binding, paths, active)
            for old, its_end in _rivals(before, binding):
                if runtime and old.place.path != path:
                    raise _lasting(old)
                if _lasts_longer(its_end, end):
                    raise _not_back(old, its_end)
                after[old.place.path] = _without(after[old.place.path], old, old.place.path)
                notices.append(f"{_named(old)} of {old.place} is replaced")
        text = after[path]
        same = [
            (old, line.end)
            for line in _lines_of(text, label, path)
            for old in line.bindings
            if _same_rule(old, binding._replace(listener=0))
        ]
        if any(_placeless(old) == _placeless(binding) and its == end for old, its in same):
            continue
        for old, its_end in same:
            if its_end is None and end is not None:
                raise _not_back(old, its_end)
            if its_end is not None and end is None:
                notices.append(f"{_named(old)} of {old.place} does not end any more")
        added = format_line(binding) + (f" {format_end(end)}" if end is not None else "")
        text = _without(text, binding._replace(listener=0), path)
        after[path] = _with_line(text, label, added)
    return _changed(before, after)


def _changed(before: dict[str, str], after: dict[str, str]) -> Overlay:
    """The files that differ. Those without any rules left are removed."""
    return {
        path: None if text in ("", _HEADER) else text
        for path, text in after.items()
        if text != before[path]
    }


def _rivals(texts: dict[str, str], binding: Binding) -> list[tuple[Binding, int | None]]:
    """The bindings in the files that match exactly the same packets and do something else, each
    with its end.
    """
    return [
        (old, line.end)
        for path, text in texts.items()
        for label in dict.fromkeys(section.name for section in _sections(text))
        for line in (_lines_of(text, label, path) if label_problem(label) == "" else ())
        for old in line.bindings
        if _is_rival(old, binding)
    ]


def _is_rival(old: Binding, binding: Binding) -> bool:
    return old.matched == binding.matched and old.outcome != binding.outcome


def _refuse_elsewhere(
    root: str, binding: Binding, paths: Collection[str], active: Collection[str]
) -> None:
    """Raises ConfigError for a rival that is no Bind= line of the files in ``paths``."""
    rules, _ = examine_rule_set(root, active)
    for old in rules.bindings:
        ours = old.action is Action.BIND and old.place.path in paths
        if _is_rival(old, binding) and not ours:
            raise ConfigError(
                f"{_named(old)} is in {old.place}",
                "change it there: --replace only replaces rules that bind added",
            )


def _lasting(old: Binding) -> ConfigError:
    return ConfigError(
        f"{_named(old)} of {old.place} lasts, and a rule with --runtime ends at the next boot",
        "leave out --runtime, or remove the lasting rule first: 'sockreg unbind'",
    )


def _lasts_longer(one: int | None, end: int | None) -> bool:
    """Whether a rule that ends at ``one`` would outlive one that ends at ``end``; None is never."""
    return end is not None and (one is None or one > end)


def _not_back(old: Binding, its_end: int | None) -> ConfigError:
    lasts = f"lasts until {format_time(its_end)}" if its_end is not None else "has no end"
    return ConfigError(
        f"{_named(old)} of {old.place} {lasts}, and would not come back after a rule that "
        "replaces it and ends",
        "name fewer addresses or ports, so that both rules can be there: the narrower one wins as "
        "long as it lasts; or remove the other one first: 'sockreg unbind'",
    )


def _named(binding: Binding) -> str:
    return f"{format_line(binding)} ({binding.label})"


def typed(label: str, words: list[str]) -> list[Binding]:
    """The bindings that words mean. Raises UsageError."""
    return _parse_typed(label, words, "", [])


def remove_binding(
    root: str, label: str, words: list[str], *, active: Collection[str], notices: list[str]
) -> Overlay:
    """What to write to remove ``Bind=WORDS`` from both files.

    ``to PORT`` and ``missing=pass`` need not be repeated, nor when it ends. A file without any
    rules left is removed. ``active`` is as in read_sound(). Raises ConfigError if the binding is in
    another file, which it names, or in none.
    """
    paths = [bind_path(root, runtime) for runtime in (False, True)]
    before = {path: _read(path) or "" for path in paths}
    after = {path: _without_ended(text) for path, text in before.items()}
    for binding in _parse_typed(label, words, paths[0], notices):
        after = {path: _without(text, binding, path) for path, text in after.items()}
        if not any(_holds(text, binding, path) for path, text in before.items()):
            raise _not_here(root, binding, active)
    return _changed(before, after)


def is_left(
    root: str, label: str, words: list[str], in_force: Iterable[Binding], active: Collection[str]
) -> bool:
    """Whether a rule is in force that a command has removed from the files before it died.

    ``active`` is as in read_sound().
    """
    paths = {bind_path(root, runtime) for runtime in (False, True)}
    wanted = _parse_typed(label, words, "", [])
    there = [rule for rule in in_force if rule.place.path in paths]
    if not all(any(_same_rule(rule, other) for other in there) for rule in wanted):
        return False
    written = examine_rule_set(root, active)[0].bindings
    return not any(_same_rule(rule, other) for other in written for rule in wanted)


def write_files(changes: Overlay) -> Overlay:
    """Write the changes. Writing the returned value undoes them.

    Each file is replaced as a whole and flushed to disk, with mode 0644. If one cannot be written,
    the files before it are restored. Raises AccessError or SockregError.
    """
    before = {path: _read(path) for path in changes}
    undo: dict[str, str | None] = {}
    for path, text in changes.items():
        undo[path] = before[path]
        try:
            _write(path, text)
        except OSError as error:
            problem = failure(error, f"{path}: cannot be written: {error.strerror}")
            if _read(path) == before[path]:
                del undo[path]
            # It may be there, but not be on the disk yet: without that, it is not written.
            write_files(undo)
            raise problem from error
    return undo


def _parse_typed(label: str, words: list[str], path: str, notices: list[str]) -> list[Binding]:
    wrong = label_problem(label)
    if wrong:
        raise UsageError(f"the label {label!r} {wrong}")
    try:
        words, _ = split_end(words)
        return parse_words(Action.BIND, words, label, Place(path, 0), notices)
    except ValueError as problem:
        raise UsageError(f"{' '.join(words)}: {problem}") from None


def _placeless(binding: Binding) -> Binding:
    return binding._replace(place=Place("", 0))


def _same_rule(one: Binding, other: Binding) -> bool:
    """Whether both give the same packets to the same label, and to the listener ``other`` names."""
    listener = one.listener if other.listener else 0
    same = one._replace(missing_pass=other.missing_pass, listener=listener)
    return _placeless(same) == _placeless(other)


def _holds(text: str, binding: Binding, path: str) -> bool:
    lines = _lines_of(text, binding.label, path)
    return any(_same_rule(b, binding) for line in lines for b in line.bindings)


def _not_here(root: str, binding: Binding, active: Collection[str]) -> SockregError:
    rule = _named(binding)
    rules, _ = examine_rule_set(root, active)
    for other in rules.bindings:
        if _same_rule(other, binding):
            return ConfigError(f"{rule} is in {other.place}", hint="remove it there")
    return ConfigError(f"there is no rule {rule}", hint="'sockreg rules' lists the rules in force")


def _sections(text: str) -> list[Section]:
    return read_sections(text.encode(errors="surrogateescape"))


def _lines_of(text: str, label: str, path: str) -> list[_Line]:
    """The label's ``Bind=`` lines after the last reset. Wrong ones raise SockregError."""
    lines: list[_Line] = []
    for section in _sections(text):
        if section.name == label:
            for entry in section.entries:
                place = Place(path, entry.line)
                if entry.key == "Bind" and entry.value:
                    lines.append(_line(entry, label, place))
                elif entry.key == "Bind":
                    lines.clear()
    return lines


def _line(entry: Entry, label: str, place: Place) -> _Line:
    try:
        words, end = split_end(entry.value.split())
        if SET in " ".join(words[1:2]):  # somebody has written it, and its set is elsewhere
            return _Line(entry, [], end)
        return _Line(entry, parse_rule(Action.BIND, " ".join(words), label, place, []), end)
    except ValueError as problem:
        raise ConfigError(f"{place}: Bind={entry.value}: {problem}") from None


def _with_line(text: str, label: str, added: str) -> str:
    """Add a line at the end of the label's last section. Creates the section if there is none."""
    ours = [section for section in _sections(text) if section.name == label]
    lines = (text or _HEADER).removesuffix("\n").split("\n")
    if ours:
        last = ours[-1]
        lines.insert(last.entries[-1].end if last.entries else last.line, added)
    else:
        lines += ["", f"[{label}]", added]
    return "\n".join([*lines, ""])


def _without(text: str, binding: Binding, path: str) -> str:
    """Remove the binding from every line that has it. Other ports of a list stay."""
    lines = text.split("\n")
    taken = False
    for line in reversed(_lines_of(text, binding.label, path)):
        left = [b for b in line.bindings if not _same_rule(b, binding)]
        if len(left) < len(line.bindings):
            taken = True
            start, end = line.entry.line - 1, line.entry.end
            until = f" {format_end(line.end)}" if line.end is not None else ""
            lines[start:end] = [format_line(other) + until for other in left]
    return _without_empty_sections("\n".join(lines), binding.label) if taken else text


def _without_ended(text: str) -> str:
    """Remove the lines whose rules have ended. What is wrong in others is left to those who read.

    Their sections go with them, if nothing else is in these.
    """
    if WORD not in text:
        return text
    now = time.time()
    lines = text.split("\n")
    labels = []
    for section in reversed(_sections(text)):
        for entry in reversed(section.entries):
            try:
                _, end = split_end(entry.value.split())
            except ValueError:
                continue
            if entry.key in RULE_KEYS and end is not None and end <= now:
                del lines[entry.line - 1 : entry.end]
                labels.append(section.name)
    text = "\n".join(lines)
    for label in dict.fromkeys(labels):
        text = _without_empty_sections(text, label)
    return text


def _without_empty_sections(text: str, label: str) -> str:
    """Remove the label's sections that are empty, without even a comment."""
    lines = text.split("\n")
    sections = _sections(text)
    after_last = Section("", len(lines) + 1, [], [])
    for section, following in reversed(list(pairwise([*sections, after_last]))):
        start, end = section.line - 1, following.line - 1
        if section.name == label and not any(line.strip() for line in lines[start + 1 : end]):
            del lines[start:end]
    return "\n".join(lines)


def _read(path: str) -> str | None:
    """The file's text, or None if there is no file. Bytes that are not UTF-8 survive."""
    if os.path.islink(path):
        raise ConfigError(
            f"{path} is a symbolic link; sockreg does not write through it",
            hint="replace it with a file, or write the rule in another file and apply",
        )
    try:
        content = trust.read(os.path.dirname(path), path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise failure(error, f"{path}: cannot be read: {error.strerror}") from error
    if large := too_large(content):
        raise ConfigError(f"{path}: {large}", hint="nothing was changed; correct the file first")
    return content.decode(errors="surrogateescape")


def _write(path: str, text: str | None) -> None:
    if text is None:
        files.remove(path)
    else:
        files.replace(path, text.encode(errors="surrogateescape"))
