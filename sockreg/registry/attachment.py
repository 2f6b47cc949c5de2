"""The programs that are attached to a network namespace, and attaching sockreg's.

Only this module changes what is in force. Callers hold the lock of the generations.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from sockreg.errors import AccessError, RefusedError, SockregError
from sockreg.host import bpf_access
from sockreg.host.netns import Netns
from sockreg.kernel import libbpf
from sockreg.registry import counter_growth, published
from sockreg.registry.directory import DENIED, LINK, PROGRAM, damaged
from sockreg.registry.generations import Generation, link_of
from sockreg.registry.loading import PROGRAM_NAME, refusal
from sockreg.registry.pins import closing, pin, pinned


@dataclass(frozen=True)
class Attached:
    """An sk_lookup program of a network namespace; ``name`` is None without permission."""

    program_id: int
    name: str | None

    def __str__(self) -> str:
        return f"program {self.program_id} ({self.name or 'name unknown without CAP_SYS_ADMIN'})"


class DetachedError(SockregError):
    """The program is detached, and something after that failed."""


class Runs(StrEnum):
    """When the kernel runs another program: programs run in the order of their links."""

    BEFORE = "before"  # sockreg's
    AFTER = "after"


@dataclass(frozen=True)
class Other(Attached):
    """A program that this registry did not attach; ``runs`` is None if sockreg's does not run."""

    runs: Runs | None

    __str__ = Attached.__str__

    @property
    def effect(self) -> str:
        """What the kernel's order of the programs means for rules, as a sentence."""
        if self.runs is None:
            return "is attached to this network namespace"
        if self.runs is Runs.BEFORE:
            return (
                "runs before sockreg's: sockets of rules win over those that it selects; refusals "
                "by rules do not"
            )
        return (
            "runs after sockreg's: sockets that it selects win over refusals by rules, and with "
            "BPF_SK_LOOKUP_F_REPLACE also over sockets of rules"
        )


def attached(netns: Netns) -> list[Attached]:
    """All sk_lookup programs of the namespace, in the order they run.

    Raises AccessError without CAP_NET_ADMIN, and SockregError on kernels without sk_lookup.
    """
    try:
        ids = libbpf.attached_programs(netns.fd)
    except OSError as error:
        if error.errno in DENIED:
            raise AccessError(
                f"cannot list the attached programs: {error.strerror}",
                bpf_access.remedy(loading=True),
            ) from None
        if error.errno != errno.EINVAL:
            raise SockregError(f"cannot list the attached programs: {error.strerror}") from None
        raise SockregError(
            f"this kernel has no sk_lookup hook: {error.strerror}",
            "it needs Linux 5.9 with CONFIG_BPF_SYSCALL and CONFIG_INET",
        ) from None
    return [Attached(program_id, _program_name(program_id)) for program_id in ids]


def _program_name(program_id: int) -> str | None:
    try:
        opened = libbpf.program_by_id(program_id)
    except OSError:
        return None  # CAP_SYS_ADMIN is missing, or the program has just gone
    with closing(opened) as fd:
        return libbpf.program_info(fd).name


def others(registry: str, netns: Netns) -> list[Other]:
    """The programs of the namespace that this registry did not attach, in the order they run."""
    link = link_of(registry)
    while True:
        there, before, link = attached(netns), link, link_of(registry)
        if link == before:  # no swap meanwhile: the id is that of the program in the list
            break
    own = link.program_id if link is not None else None
    ids = [program.program_id for program in there]
    position = ids.index(own) if own in ids else None
    return [
        Other(program.program_id, program.name, _order(at, position))
        for at, program in enumerate(there)
        if program.program_id != own
    ]


def _order(at: int, own: int | None) -> Runs | None:
    if own is None:
        return None
    return Runs.BEFORE if at < own else Runs.AFTER


def refuse_second(registry: str, netns: Netns) -> None:
    """Raises RefusedError if another registry's program is attached to the namespace."""
    for program in others(registry, netns):
        if program.name == PROGRAM_NAME:
            raise RefusedError(
                f"program {program.program_id} of another registry is attached to this network "
                f"namespace, and its pins are not at {registry}",
                "unload it with the --bpffs it was loaded with; 'bpftool link list' shows its link",
            )


def attach(registry: str, generation: Generation, netns: Netns) -> list[OSError]:
    """Create the link that puts a registry in force, also in place of a detached one.

    Returns what failed when it was in force already; heal() makes up for it. Raises RefusedError
    if the program of another registry is attached already.
    """
    refuse_second(registry, netns)
    failed: list[OSError] = []
    with pinned(generation.path / PROGRAM) as program:
        try:
            with counter_growth.counting_on(registry, generation.path, failed):
                created = libbpf.create_link(program, netns.fd)
        except PermissionError as error:
            raise refusal(error, 0) from None
    with closing(created) as link:
        published.publish(registry, 0)
        Path(registry, LINK).unlink(missing_ok=True)
        pin(link, Path(registry, LINK))
        with _afterwards(failed):
            published.publish(registry, generation.number)
    return failed


def swap(registry: str, old: Generation, new: Generation) -> list[OSError]:
    """Put ``new`` in force instead of ``old``, program and rules in one step.

    If this raises an error, ``old`` is in force. Returns what failed when ``new`` was in force
    already; heal() makes up for it.
    """
    failed: list[OSError] = []
    with (
        pinned(f"{registry}/{LINK}") as link,
        pinned(old.path / PROGRAM) as before,
        pinned(new.path / PROGRAM) as after,
    ):
        with counter_growth.counting_on(registry, new.path, failed):
            published.publish(registry, 0)
            try:
                libbpf.update_link(link, after, before)
            except OSError as error:
                with contextlib.suppress(OSError):  # readers wait, and the next writer heals
                    published.publish(registry, old.number)
                if error.errno == errno.EINVAL:
                    raise damaged(str(new.path / PROGRAM)) from None
                raise
        with _afterwards(failed):
            published.publish(registry, new.number)
    return failed


@contextlib.contextmanager
def _afterwards(failed: list[OSError]) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        failed.append(error)


def is_attached(registry: str) -> bool:
    """Whether ``attach`` came after the last ``detach``. Takes no right to open the link."""
    return Path(registry, LINK).exists()


def detach(registry: str) -> None:
    """Undo ``attach``. Unlinking would wait for readers that have the link open."""
    published.publish(registry, 0)
    with contextlib.suppress(FileNotFoundError), pinned(f"{registry}/{LINK}") as link:
        libbpf.detach_if_link(link)
    try:
        Path(registry, LINK).unlink(missing_ok=True)
    except OSError as error:
        raise DetachedError(
            f"no rule is in force any more, but {registry}/{LINK} cannot be removed: "
            f"{error.strerror}",
            "run it again",
        ) from None
