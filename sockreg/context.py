"""What every command works on: passed in, so that commands can be run anywhere."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sockreg.host.netns import Netns
from sockreg.registry import state
from sockreg.registry.directory import not_loaded


def _unseen(_: str) -> None:
    pass


@dataclass(frozen=True)
class Context:
    """``root`` is the directory below which configuration is read and written.

    ``step`` is told what a command that may take long does next (``compiling 9 rules``),
    and '' when it is done.
    """

    netns: Netns
    bpffs: str
    root: str
    object_path: Path
    step: Callable[[str], None] = _unseen

    @cached_property
    def registry(self) -> str:
        """The path of the registry, whether it exists or not."""
        return state.path_of(self.bpffs, self.netns)

    def loaded_registry(self) -> str:
        """The path of the registry; SockregError (EXIT_NOT_LOADED) if there is none."""
        if not state.exists(self.registry):
            raise not_loaded(self.registry)
        return self.registry
