"""Rule set -> the table and configuration of a generation. Pure.

``docs/dataplane.md`` explains the tables; ``bpf/tables.h`` has their bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sockreg.compile.budget import TABLE_MAX, Budget
from sockreg.compile.tables import Tables as Tables
from sockreg.model import Binding, Destination

# numpy takes about as long to import as so many rules take to compile without it.
FEW = 2000


def compile_rules(
    bindings: Sequence[Binding],
    slot_of: Callable[[Destination], int] | Mapping[Destination, int],
    *,
    counters: bool = True,
    interfaces: Mapping[str, int] | None = None,
    limit_bytes: int | None = None,
    flows: bool = False,
) -> Tables:
    """Compile a rule set without ties.

    ``slot_of`` gives the slot of each destination, and ``interfaces`` the index of each interface
    by name. ``flows`` is whether there may be sticky pools. The order of the bindings makes no
    difference. Raises SockregError for an unknown interface or a table of more than
    ``limit_bytes``.
    """
    find_slot = slot_of.__getitem__ if isinstance(slot_of, Mapping) else slot_of
    budget = Budget(len(bindings), min(limit_bytes or TABLE_MAX, TABLE_MAX))
    if len(bindings) <= FEW:
        from sockreg.compile.few import compile_few as make
    else:
        from sockreg.compile.many import compile_many as make
    return make(bindings, find_slot, interfaces or {}, budget, counters=counters, flows=flows)
