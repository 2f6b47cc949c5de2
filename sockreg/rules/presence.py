"""Rules for interfaces that are there, or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sockreg.model import Binding
from sockreg.rules.precedence import Tie, settle


def without_absent(
    bindings: Sequence[Binding], index_of: Mapping[str, int]
) -> tuple[Sequence[Binding], list[Tie]]:
    """The rules that can be in force. ``index_of`` has the index of each interface, 0 for none.

    If rules name one interface by two names, rules that differ in nothing else tie. The rule that
    was read first wins. Such ties are the second value.
    """
    absent = {name for name, index in index_of.items() if index == 0}
    if absent:
        bindings = [binding for binding in bindings if binding.interface not in absent]
    present = [index for index in index_of.values() if index]
    if len(present) == len(set(present)):
        return bindings, []
    # For a comparison, each interface gets one name.
    name_of = {index: name for name, index in reversed(list(index_of.items()))}
    renamed = [
        binding
        if binding.interface is None
        else binding._replace(interface=name_of[index_of[binding.interface]])
        for binding in bindings
    ]
    written = {id(one): other for one, other in zip(renamed, bindings, strict=True)}
    kept, ties = settle(renamed)
    return kept, [(written[id(one)], written[id(other)]) for one, other in ties]
