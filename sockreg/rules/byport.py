"""Finding the bindings for one port among very many."""

from collections import defaultdict
from collections.abc import Iterable

from sockreg.model import Binding


class ByPort:
    """An index of bindings by protocol, family and port."""

    def __init__(self, bindings: Iterable[Binding]) -> None:
        self._exact: dict[tuple[int, int, int], list[Binding]] = defaultdict(list)
        self._ranges: dict[tuple[int, int], list[Binding]] = defaultdict(list)
        for binding in bindings:
            if binding.first == binding.last:
                self._exact[binding.protocol, binding.family, binding.first].append(binding)
            else:
                self._ranges[binding.protocol, binding.family].append(binding)

    def about(self, protocol: int, family: int, port: int) -> list[Binding]:
        """All bindings with this port, whatever their prefix and conditions."""
        found = list(self._exact.get((protocol, family, port), ()))
        found += [
            binding
            for binding in self._ranges.get((protocol, family), ())
            if binding.first <= port <= binding.last
        ]
        return found
