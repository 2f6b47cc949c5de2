"""Units that were started since a generation was made keep their rules when it comes back."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sockreg.model import Binding
from sockreg.registry import generation_record
from sockreg.registry.generation_record import Header, Packed, PartRecord
from sockreg.rules.precedence import settle

Kept = Sequence[tuple[PartRecord, list[Binding]]]


def parts_kept(packed: Packed, current: Header, before: Header, started: Collection[str]) -> Kept:
    """The parts of started units in the generation in force that ``before`` does not have.

    ``packed`` are the rules in force, of the generation with header ``current``.
    """
    known = {part.name for part in before.parts}
    kept, at = [], 0
    for part in current.parts:
        positions = range(at, at + part.rules)
        at += part.rules
        if part.rules and part.name in started and part.name not in known:
            kept.append((part, generation_record.unpack(packed, positions)))
    return kept


def with_parts(
    bindings: list[Binding], parts: list[PartRecord], kept: Kept
) -> tuple[list[Binding], list[PartRecord]]:
    """The bindings of a generation and its parts, with those that are kept, too.

    Rules that tie with one of the generation are left out.
    """
    if not kept:
        return bindings, parts
    together, ties = settle([*bindings, *(b for _, found in kept for b in found)])
    stay = {id(binding) for binding in together} - {id(later) for _, later in ties}
    found = [(part, [b for b in rules if id(b) in stay]) for part, rules in kept]
    of_units = [b for _, rules in found for b in rules]
    counted = [part._replace(rules=len(rules)) for part, rules in found]
    return [*of_units, *bindings], [*counted, *parts]
