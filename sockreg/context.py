"""The environment of every command: network namespace, bpffs and root directory."""

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sockreg import shipped
from sockreg.errors import AccessError, SockregError, UsageError
from sockreg.host.netns import Netns, entered
from sockreg.registry import access
from sockreg.registry.directory import BPFFS as BPFFS
from sockreg.registry.directory import HOME, damaged, netns_name, not_loaded, registry_path


def _unseen(_: str) -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Context:
    """``given_root`` is the directory of --root, which may be missing.

    ``state`` is the directory where the rules in force are kept for the next boot; None leaves that
    to commands/earlier.py.

    ``step`` is called with what a long command does next (``compiling 9 rules``), and with '' when
    it is done.
    """

    netns: Netns
    bpffs: str
    given_root: str
    object_path: Path
    state: str | None = None
    step: Callable[[str], None] = _unseen

    @cached_property
    def registry(self) -> str:
        """The path of the registry, whether it exists or not."""
        return registry_path(self.bpffs, netns_name(self.netns.cookie, self.netns.inode))

    @cached_property
    def root(self) -> str:
        """The directory below which configuration is read and written, as an absolute path.

        Raises UsageError if there is no such directory. Only for commands that need one: others
        work on, wherever the configuration is.
        """
        given = self.given_root
        try:
            # A directory, not a file; and one that may be searched.
            os.stat(f"{given}/." if given else given)
        except PermissionError as error:
            raise AccessError(f"--root {given}: {error.strerror}", "run it as root") from None
        except OSError as error:
            raise UsageError(
                f"--root {given or repr(given)}: {error.strerror}",
                "nothing was read or changed; name the directory that has etc/sockreg below it, or "
                "leave --root out for that of this host",
            ) from None
        # The working directory may be gone.
        return given if os.path.isabs(given) else os.path.join(os.getcwd(), given)

    @property
    def is_of_systemd(self) -> bool:
        """Whether processes that systemd starts see this network namespace and these files.

        False if this process may not see the namespaces of systemd.
        """
        if not os.path.isdir("/run/systemd/system"):  # sd_booted(3)
            return False
        try:
            mounts = os.stat("/proc/1/ns/mnt").st_ino == os.stat("/proc/self/ns/mnt").st_ino
            return mounts and os.stat("/proc/1/ns/net").st_ino == self.netns.inode
        except OSError:
            return False

    @property
    def may_have_services(self) -> bool:
        """Whether the services of these files may run in this network namespace.

        Those of the host run in systemd's. It is not always known which one that is.
        """
        if os.path.realpath(self.root) != "/":
            return True
        try:
            return os.stat("/proc/1/ns/net").st_ino == self.netns.inode
        except OSError:
            return True

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
    if bpffs == "":
        raise UsageError(
            "--bpffs '': no directory has this name", f"leave it out for the usual one, {BPFFS}"
        )
    with entered(netns) as namespace:
        yield Context(
            netns=namespace,
            bpffs=bpffs or access.usual_bpffs(),
            given_root=root,
            object_path=Path(object_path) if object_path else shipped.object_path(),
            step=step,
        )


def damage(error: OSError) -> SockregError | None:
    """What an error means that is about a pin which should be there; None if it is not."""
    path = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else ""
    lost = error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR)
    return damaged(path) if lost and f"/{HOME}/" in path and _is_pin(path) else None


def _is_pin(path: str) -> bool:
    """Whether a path is below the registries of a bpffs."""
    home = path[: path.index(f"/{HOME}/") + len(HOME) + 1]
    return os.path.isdir(home) and os.path.basename(os.path.dirname(path)) != HOME


def libbpf_messages() -> str:
    """What libbpf and the verifier have said in this process, in lines."""
    from sockreg.registry import loading

    return loading.messages()
