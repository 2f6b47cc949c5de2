"""What remains to be done when a change is in force already, and cannot fail it any more."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from sockreg.errors import SockregError


@dataclass(frozen=True)
class Rest:
    """``failures`` are sentences about what could not be done; the next apply does it."""

    failures: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def of(self, what: str) -> Iterator[None]:
        """Do a part of it: ``what`` is a phrase such as ``the counters of slots``."""
        try:
            yield
        except SockregError as error:
            self.failures.append(f"{what}: {'; '.join(error.lines)}")
        except OSError as error:
            self.failures.append(f"{what}: {error.strerror or error}")

    def add(self, what: str, failed: list[OSError]) -> None:
        """Add what failed elsewhere."""
        self.failures.extend(f"{what}: {error.strerror or error}" for error in failed)
