"""How big a table may become; checked while it grows, so that no attempt exhausts the machine."""

from __future__ import annotations

from typing import NamedTuple

from sockreg.compile.words import WORD_SIZE
from sockreg.errors import ConfigError

# The verifier refuses offsets into a map's value from here on: BPF_MAX_VAR_OFF,
# linux/bpf_verifier.h.
TABLE_MAX = 1 << 29


class Budget(NamedTuple):
    rules: int
    limit: int  # bytes

    def check(self, words: int) -> None:
        """SockregError if a table of so many words, or more, is too big."""
        size = words * WORD_SIZE
        if size > self.limit:
            raise ConfigError(
                f"the rule set is too big: its {self.rules} rules need a table of at least "
                f"{size} bytes, and {self.limit} are possible",
                "use fewer rules, or rules whose prefixes and ports overlap less",
            )

    def check_steps(self, steps: int, most: int) -> None:
        """SockregError if a lookup would take more steps than the program follows."""
        if steps > most:
            raise ConfigError(
                f"the rule set is too deep: its {self.rules} rules nest so that a lookup takes "
                f"{steps} steps, and {most} are possible",
                "use rules whose prefixes and ports overlap less",
            )
