"""What was last in force: from the kernel, or after a boot from the disk; and keeping it there.

The disk is a second source. If it cannot be read or written, a warning says so, and nothing
fails.
"""

from __future__ import annotations

import os
import time
from functools import cached_property

from sockreg.config.parts import Earlier, Form, Selection
from sockreg.context import Context
from sockreg.model import Action, Binding
from sockreg.registry import generation_record, generations, kept
from sockreg.registry.generation_record import Header, Packed, PartRecord
from sockreg.rules.ending import ends_of
from sockreg.systemd import journal


class LastInForce:
    """The rules of the generation in force, or of the last one before this boot.

    ``directory`` is where rules are kept for the next boot; None if nowhere. Nothing is read until
    it is needed.
    """

    def __init__(self, current: generations.Generation | None, directory: str | None) -> None:
        self._current = current
        self.directory = directory

    def __call__(self) -> Earlier:
        """The form of each part."""
        return self._forms

    def bindings(self) -> list[Binding]:
        """The rules that are in force; none if nothing is, even if some were before."""
        if self._current is None:
            return []
        return generation_record.decode_bindings(generations.read_rules(self._current))

    @cached_property
    def _forms(self) -> Earlier:
        found = self._read()
        return {} if found is None else _forms(*found)

    def _read(self) -> tuple[Header, Packed] | None:
        if self._current is not None:
            record = generations.read_rules(self._current)
            return generation_record.decode_header(record), generation_record.decode(record)
        if self.directory is None:
            return None
        try:
            return kept.read(self.directory)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            journal.say(
                f"{kept.path_in(self.directory)}: the rules that were last in force are not known: "
                f"{reason}; a unit or file that has become wrong is left out",
                journal.NOTICE,
                journal.WARNING,
            )
            return None


def directory_of(context: Context, current: Header | None) -> str | None:
    """Where the rules of this registry are kept for the next boot; None if nowhere.

    That is the directory that it was loaded with. By default, only the network namespace of systemd
    has one, with the host's own files: others end with the boot.
    """
    if context.state is not None:
        return os.path.abspath(context.state)
    if current is not None and current.state is not None:
        return current.state
    is_host = context.is_of_systemd and os.path.realpath(context.root) == "/"
    return kept.DIRECTORY if is_host else None


def keep(header: Header, records: bytes) -> None:
    """Keep the rules that have come into force for the next boot."""
    if header.state is None:
        return
    try:
        kept.write(header.state, header, records)
    except OSError as error:
        journal.say(
            f"{kept.path_in(header.state)}: the rules in force cannot be kept for the next boot: "
            f"{error.strerror}; they are in force, but a unit or file that becomes wrong before "
            "the next boot will be left out then",
            journal.NOTICE,
            journal.WARNING,
        )


def part_records(selection: Selection) -> list[PartRecord]:
    """What a generation stores of the parts of its rules."""
    return [
        PartRecord(
            name,
            count,
            [(label, int(action)) for label, action in form.drops],
            dict(form.options),
            form.label,
            form.weight,
            form.weight_said,
            [(*key, port) for key, port in sorted(form.ports.items())],
        )
        for (name, form), count in zip(selection.forms.items(), selection.counts, strict=True)
    ]


def _forms(header: Header, packed: Packed) -> dict[str, Form]:
    ends = header.end_of
    bindings, parts, _ = generation_record.lasting(
        generation_record.unpack(packed), header.parts, ends, time.time()
    )
    found: dict[str, Form] = {}
    at = 0
    for part in parts:
        found[part.name] = Form(
            bindings[at : at + part.rules],
            [(label, Action(action)) for label, action in part.drops],
            part.options,
            part.label,
            part.weight,
            part.weight_said,
            {(family, protocol): port for family, protocol, port in part.ports},
            ends_of(bindings[at : at + part.rules], ends),
        )
        at += part.rules
    return found
