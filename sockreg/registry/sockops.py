"""The sock_ops program of a registry. Optional.

    BPFFS/sockreg/NETNS/sockops/
        link        attached to the root cgroup
        program
        expected    pinned map of expected units, see registry/sockops_expected.py

The program shares the maps of sockets and members with the registry, and is removed with it.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from sockreg.errors import (
    AccessError,
    NotLoadedError,
    SockregError,
)
from sockreg.host import bpf_access, cgroup
from sockreg.kernel import libbpf, objects
from sockreg.registry import loading
from sockreg.registry.directory import (
    EXPECTED,
    LINK,
    MAPS,
    PROGRAM,
    SOCKOPS,
    UNFINISHED,
    denied,
)
from sockreg.registry.locks import Lock
from sockreg.registry.pins import closing, make_directory, pin, pinned, remove_directory
from sockreg.registry.sockops_expected import Expectations

PROGRAM_NAME = "sockreg_listen"  # its name in the object


def is_loaded(registry: str) -> bool:
    try:
        return _home(registry) is not None
    except PermissionError as error:
        raise denied(registry, error) from None


def _home(registry: str) -> Path | None:
    """The directory of the program. Who removes or replaces it may have died after its rename."""
    for path in (Path(registry, SOCKOPS), _leaving(registry)):
        if (path / EXPECTED).exists():
            return path
    return None


def load(registry: str, object_path: Path) -> None:
    """Attach the program to the root cgroup, replacing one that is attached already.

    Expected units stay expected. While both programs are attached, they do the same twice. Raises
    SockregError if the kernel refuses; nothing has changed then.
    """
    bpf_access.require_loading()
    objects.check(object_path, objects.SOCK_OPS)
    home, unfinished = Path(registry, SOCKOPS), _unfinished(registry)
    with Lock(registry):
        _heal(registry)
        make_directory(unfinished)
        try:
            _build(registry, unfinished, home if home.exists() else None, object_path)
            if home.exists():
                home.rename(_leaving(registry))
            unfinished.rename(home)
        except BaseException:
            remove_directory(unfinished)
            raise
        _heal(registry)


def _build(registry: str, target: Path, previous: Path | None, object_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        obj = stack.enter_context(loading.open_object(object_path))
        for name in MAPS:
            obj.reuse_map(name, stack.enter_context(pinned(f"{registry}/{name}")))
        if previous is not None:
            obj.reuse_map(EXPECTED, stack.enter_context(pinned(f"{previous}/{EXPECTED}")))
        try:
            obj.load()
            link = stack.enter_context(closing(_attach(obj.program_fd(PROGRAM_NAME))))
        except OSError as error:
            raise _refusal(error) from None
        pin(obj.map_fd(EXPECTED), target / EXPECTED)
        pin(obj.program_fd(PROGRAM_NAME), target / PROGRAM)
        pin(link, target / LINK)


def _attach(program: int) -> int:
    with closing(os.open(cgroup.root(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as directory:
        return libbpf.create_cgroup_link(program, directory)


def _refusal(error: OSError) -> SockregError:
    reason = error.reason() if isinstance(error, libbpf.LoadError) else str(error.strerror)
    if loading.is_denial(error):
        return AccessError(
            f"the kernel does not let this process load the sock_ops program: {reason}",
            bpf_access.remedy(loading=True),
        )
    return SockregError(
        f"the kernel refuses the sock_ops program: {reason}",
        "it needs Linux 6.5 with CONFIG_CGROUP_BPF and CONFIG_DEBUG_INFO_BTF; "
        "-v shows the full log",
    )


def unload(registry: str) -> bool:
    """Detach the program and forget expected units. Sockets stay. False if it was not loaded."""
    home, leaving = Path(registry, SOCKOPS), _leaving(registry)
    with Lock(registry):
        _heal(registry)
        loaded = home.exists()
        if loaded:
            home.rename(leaving)
            _remove(leaving)
    return loaded


def _heal(registry: str) -> None:
    """Finish what a process began that died: the directory is there whole, or not at all."""
    home, leaving = Path(registry, SOCKOPS), _leaving(registry)
    remove_directory(_unfinished(registry))
    if (leaving / EXPECTED).exists() and not home.exists():
        leaving.rename(home)
    _remove(leaving)


def _remove(home: Path) -> None:
    # Unlinking would wait for readers that have the link open.
    with contextlib.suppress(FileNotFoundError), pinned(home / LINK) as link:
        libbpf.detach_if_link(link)
    (home / EXPECTED).unlink(missing_ok=True)
    remove_directory(home)


def _unfinished(registry: str) -> Path:
    return Path(registry, f"{UNFINISHED}{SOCKOPS}")


def _leaving(registry: str) -> Path:
    return Path(registry, f"{UNFINISHED}gone-{SOCKOPS}")


def expected_slots(registry: str) -> set[int]:
    """The slots that a listener may enter at any moment."""
    if not is_loaded(registry):
        return set()
    with expectations(registry, read_only=True) as entries:
        return {slot for entry in entries.read() for slot in entry.slots}


@contextlib.contextmanager
def expectations(registry: str, *, read_only: bool = False) -> Iterator[Expectations]:
    """The expected units. Raises NotLoadedError if the program is not loaded."""
    home = _home(registry) if is_loaded(registry) else None
    if home is None:
        raise NotLoadedError(
            f"no sock_ops program is loaded with the registry at {registry}",
            "start it: 'systemctl start sockreg-sockops.service' or 'sockreg load --sock-ops'",
        )
    with pinned(home / EXPECTED, read_only=read_only) as fd:
        yield Expectations(fd)
