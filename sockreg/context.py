"""The environment of every command: network namespace, bpffs and root directory."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sockreg import shipped
from sockreg.host.netns import Netns, entered
from sockreg.registry import access
from sockreg.registry.directory import BPFFS as BPFFS
from sockreg.registry.directory import netns_name, not_loaded, registry_path


def _unseen(_: str) -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Context:
    """``root`` is the directory below which configuration is read and written.

    ``step`` is called with what a long command does next (``compiling 9 rules``), and with '' when
    it is done.
    """

    netns: Netns
    bpffs: str
    root: str
    object_path: Path
    step: Callable[[str], None] = _unseen

    @cached_property
    def registry(self) -> str:
        """The path of the registry, whether it exists or not."""
        return registry_path(self.bpffs, netns_name(self.netns.cookie, self.netns.inode))

    @property
    def is_loaded(self) -> bool:
        return access.exists(self.registry)

    def loaded_registry(self) -> str:
        """The path of the registry. Raises NotLoadedError if there is none."""
        if not self.is_loaded:
            raise not_loaded(self.registry)
        return self.registry


@contextlib.contextmanager
def opened(
    netns: str | None = None,
    *,
    bpffs: str | None = None,
    root: str = "/",
    object_path: str | None = None,
    step: Callable[[str], None] = _unseen,
) -> Iterator[Context]:
    """Work on a network namespace, by name or path; None is the one of this process.

    The calling thread is in it until the context ends. ``bpffs`` None is where this user
    finds registries, ``object_path`` None is the program that sockreg ships. SockregError if
    there is no such namespace.
    """
    with entered(netns) as namespace:
        yield Context(
            netns=namespace,
            bpffs=bpffs or access.usual_bpffs(),
            root=root,
            object_path=Path(object_path) if object_path else shipped.object_path(),
            step=step,
        )


def libbpf_messages() -> str:
    """What libbpf and the verifier have said in this process, in lines."""
    from sockreg.registry import loading

    return loading.messages()
