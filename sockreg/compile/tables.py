"""A compiled rule set."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tables:
    """One compiled rule set."""

    words: memoryview  # of 64 bits each
    config: bytes  # struct config
    slots: int  # one more than the highest that a rule points to
    rules: int
    prefixes: int  # different sets of ports that need more than a leaf
    port_tables: int  # different sets of ports that take more than a leaf
    steps: dict[int, int]  # by class of node: the most on any path

    def table_bytes(self) -> memoryview:
        """The content of the table map, in the machine's byte order."""
        return self.words.cast("B")
