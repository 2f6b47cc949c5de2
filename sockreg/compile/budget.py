"""Limits on the size of a table, checked while it grows, so that no attempt exhausts memory."""

from __future__ import annotations

from typing import NamedTuple

from sockreg.compile.words import WORD_SIZE
from sockreg.errors import ConfigError

# The verifier refuses larger offsets into a map's value: BPF_MAX_VAR_OFF,
# linux/bpf_verifier.h.
TABLE_MAX = 1 << 29


class Budget(NamedTuple):
    rules: int
    limit: int  # bytes

    def check(self, words: int) -> None:
        """Raise SockregError if a table of at least this many words is too big."""
        size = words * WORD_SIZE
        if size > self.limit:
            raise ConfigError(
                f"the rule set is too big: its {self.rules} rules need a table of at least {size} "
                f"bytes; the limit is {self.limit}",
                "use fewer rules, or rules whose prefixes and ports overlap less",
            )

    def check_steps(self, steps: int, most: int) -> None:
        """Raise SockregError if a lookup would take more steps than the program follows."""
        if steps > most:
            raise ConfigError(
                f"the rule set is too deep: its {self.rules} rules nest so that a lookup takes "
                f"{steps} steps; the limit is {most}",
                "use rules whose prefixes and ports overlap less",
            )
