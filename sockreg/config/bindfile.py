"""The two conf files that ``sockreg bind`` and ``sockreg unbind`` write.

One is persistent, and one lasts until the next boot. Their names differ, so neither hides the
other. Operators may edit both: other lines stay as they are. Changes are first computed as an
overlay for read_sound(), and then written.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from functools import cache, cached_property

from sockreg import trust
from sockreg.config.bindtext import BindText
from sockreg.config.conf import Overlay, read_sections_of_all
from sockreg.config.ruleset import examine_rule_set
from sockreg.config.sets import Sets
from sockreg.config.written import Written, parse_written, same_rule
from sockreg.errors import (
    ConfigError,
    SockregError,
    UsageError,
    failure,
)
from sockreg.host import files
from sockreg.model import Action, Binding, Place, label_problem
from sockreg.rules.ending import format_time, split_end
from sockreg.rules.prefixes import FindSet, Prefix
from sockreg.rules.syntax import parse_words
from sockreg.systemd.keyfile import too_large

PERSISTENT = "/etc/sockreg/90-bind.conf"
RUNTIME = "/run/sockreg/91-bind-runtime.conf"

_HEADER = """\
# Written by `sockreg bind` and `sockreg unbind`. Editing is fine: comments, order and
# other lines are kept; `sockreg apply` puts the result in force.
"""


def bind_path(root: str, runtime: bool) -> str:
    """The file that ``bind`` writes."""
    return root.rstrip("/") + (RUNTIME if runtime else PERSISTENT)


class BindFiles:
    """Both files, and changes of them that are not written yet.

    ``active`` is as in read_sound(). Raises ConfigError for files that are wrong.
    """

    def __init__(self, root: str, active: Collection[str] = ()) -> None:
        self._root = root
        self._active = active
        self._before: dict[str, str] = {}
        self._texts: dict[str, BindText] = {}

    def _text(self, runtime: bool) -> BindText:
        """One of the files. The other one may be wrong."""
        path = bind_path(self._root, runtime)
        if path not in self._texts:
            self._before[path] = _read(path) or ""
            self._texts[path] = BindText(path, self._before[path], _HEADER)
        return self._texts[path]

    def _both(self) -> dict[str, BindText]:
        return {bind_path(self._root, runtime): self._text(runtime) for runtime in (False, True)}

    def changes(self, *, runtime_first: bool = False) -> Overlay:
        """What to write: the files that differ. Those without any rules left are removed.

        If only the first one is written, a rule that moves from one to the other is in both.
        """
        paths = sorted(self._texts, reverse=runtime_first)
        after = {path: self._texts[path].text for path in paths}
        return {path: text for path, text in after.items() if (text or "") != self._before[path]}

    def add(
        self,
        label: str,
        words: list[str],
        *,
        runtime: bool,
        notices: list[str],
        end: int | None = None,
        replace: bool = False,
    ) -> None:
        """Add ``Bind=WORDS`` under the label.

        With ``end``, the line says that the rule ends then. Nothing changes if the line is there
        already. A binding of the label for the same packets that differs in its listener or
        ``missing=pass`` is replaced. ``replace`` also replaces the bindings of other labels for
        exactly the same packets, in either file, with a notice each. Raises UsageError for wrong
        arguments and ConfigError for a wrong file. With ``replace``, raises ConfigError if such a
        rule is in another file, which it names. Raises ConfigError if a rule that ends, or a
        ``runtime`` one, would replace one that lasts longer.
        """
        text = self._text(runtime)
        for rule in _parse_typed(label, words, text.path, notices):
            if replace:
                self._replace_rivals(rule, text.path, end, notices)
            of_label = rule._replace(binding=rule.binding._replace(listener=0))
            same = list(text.same(of_label))
            if any(old.placeless == rule.placeless and its == end for old, its in same):
                continue
            for old, its_end in same:
                if its_end is None and end is not None:
                    raise _not_back(old, its_end)
                if its_end is not None and end is None:
                    notices.append(f"{_placed(old)} does not end any more")
            text.remove(of_label)
            text.add(rule, end)

    def remove(self, label: str, words: list[str], *, notices: list[str]) -> None:
        """Remove ``Bind=WORDS`` from both files.

        ``to PORT`` and ``missing=pass`` need not be repeated, nor when it ends. Raises ConfigError
        if the binding is in another file, which it names, or in none.
        """
        for rule in _parse_typed(label, words, bind_path(self._root, runtime=False), notices):
            if not any(text.had(rule) for text in self._both().values()):
                raise _not_here(self._root, rule, self._active)
            for text in self._both().values():
                text.remove(rule)

    def _replace_rivals(
        self, rule: Written, path: str, end: int | None, notices: list[str]
    ) -> None:
        for other in self._elsewhere.get(rule.matched, ()):
            if other.is_rival(rule):
                raise ConfigError(
                    f"{_named(other)} is in {other.binding.place}",
                    "change it there: --replace only replaces rules that bind added",
                )
        for there, text in self._both().items():
            for old, its_end in text.rivals(rule):
                if path == bind_path(self._root, runtime=True) != there:
                    raise _lasting(old)
                if _lasts_longer(its_end, end):
                    raise _not_back(old, its_end)
                text.remove(old)
                notices.append(f"{_placed(old)} is replaced")

    @cached_property
    def _elsewhere(self) -> dict[tuple[object, ...], list[Written]]:
        """The rules that bind did not add, by what they match."""
        found: dict[tuple[object, ...], list[Written]] = {}
        for old in examine_rule_set(self._root, self._active)[0].bindings:
            if old.action is not Action.BIND or old.place.path not in self._both():
                found.setdefault(Written(old).matched, []).append(Written(old))
        return found


def _lasting(old: Written) -> ConfigError:
    return ConfigError(
        f"{_placed(old)} lasts, and a rule with --runtime ends at the next boot",
        "leave out --runtime, or remove the lasting rule first: 'sockreg unbind'",
    )


def _lasts_longer(one: int | None, end: int | None) -> bool:
    """Whether a rule that ends at ``one`` would outlive one that ends at ``end``; None is never."""
    return end is not None and (one is None or one > end)


def _not_back(old: Written, its_end: int | None) -> ConfigError:
    lasts = f"lasts until {format_time(its_end)}" if its_end is not None else "has no end"
    return ConfigError(
        f"{_placed(old)} {lasts}, and would not come back after a rule that replaces it and ends",
        "name fewer addresses or ports, so that both rules can be there: the narrower one wins as "
        "long as it lasts; or remove the other one first: 'sockreg unbind'",
    )


def _named(rule: Written) -> str:
    return f"{rule.line()} ({rule.label})"


def _placed(rule: Written) -> str:
    return f"{_named(rule)} of {rule.binding.place}"


def sets_of(root: str) -> FindSet:
    """Finds the sets of the files. Reads these when it is first called."""

    @cache
    def read() -> Sets:
        return read_sections_of_all(root, {}, list)[1]

    def find(name: str) -> Sequence[Prefix]:
        return read().prefixes(name)

    return find


def typed(label: str, words: list[str], find_set: FindSet) -> list[Binding]:
    """The bindings that words mean; none if a set is wrong, as those who read the files will tell.

    Raises UsageError.
    """
    rules = _parse_typed(label, words, "", [])
    if not any(rule.of_set for rule in rules):
        return [rule.binding for rule in rules]
    try:
        words, _ = split_end(words)
        return parse_words(Action.BIND, words, label, Place("", 0), [], find_set)
    except ValueError:
        return []


def is_left(
    root: str, label: str, words: list[str], in_force: Iterable[Binding], active: Collection[str]
) -> bool:
    """Whether a rule is in force that a command has removed from the files before it died.

    ``active`` is as in read_sound().
    """
    paths = {bind_path(root, runtime) for runtime in (False, True)}
    wanted = typed(label, words, sets_of(root))
    there = [rule for rule in in_force if rule.place.path in paths]
    if not wanted or not all(any(same_rule(it, rule) for it in there) for rule in wanted):
        return False
    written = examine_rule_set(root, active)[0].bindings
    return not any(same_rule(it, rule) for it in written for rule in wanted)


def write_files(changes: Overlay) -> Overlay:
    """Write the changes. Writing the returned value undoes them.

    Each file is replaced as a whole and flushed to disk, with mode 0644. If one cannot be written,
    the files before it are restored. Raises AccessError or SockregError.
    """
    before = texts_of(changes)
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


def texts_of(paths: Iterable[str]) -> Overlay:
    """What is in these files, None for one that is not there. Raises SockregError."""
    return {path: _read(path) for path in paths}


def _parse_typed(label: str, words: list[str], path: str, notices: list[str]) -> list[Written]:
    wrong = label_problem(label)
    if wrong:
        raise UsageError(f"the label {label!r} {wrong}")
    try:
        words, _ = split_end(words)
        return parse_written(words, label, Place(path, 0), notices)
    except ValueError as problem:
        raise UsageError(f"{' '.join(words)}: {problem}") from None


def _not_here(root: str, rule: Written, active: Collection[str]) -> SockregError:
    named = _named(rule)
    if rule.of_set:
        hint = "'sockreg rules --sets' shows the sets, and the lines that name them"
        return ConfigError(f"bind has not added {named}", hint)
    rules, _ = examine_rule_set(root, active)
    for other in rules.bindings:
        if same_rule(other, rule.binding):
            hint = "remove it there"
            if other.place.path in {bind_path(root, runtime) for runtime in (False, True)}:
                hint = "a set brings it: take it out of the set, or 'sockreg unbind' the set"
            return ConfigError(f"{named} is in {other.place}", hint)
    return ConfigError(f"there is no rule {named}", hint="'sockreg rules' lists the rules in force")


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
