"""What the owner of a sandbox tells the process that boots it."""

from __future__ import annotations

from typing import NamedTuple


class Refusal(NamedTuple):
    """A system call that the machine refuses with ``error``, to every process.

    If ``mask`` is not 0, only calls in which argument number ``argument`` (from 0) has the given
    value under the mask.
    """

    call: str
    error: int
    argument: int = 0
    mask: int = 0
    value: int = 0


class Lack(NamedTuple):
    """What a machine lacks.

    ``refusals`` make a seccomp filter of PID 1. ``capabilities`` are the numbers of those that
    PID 1 does not have. ``proc`` are mount options of /proc. ``flags`` are mount flags of paths,
    such as MS_RDONLY and MS_NOEXEC.
    """

    refusals: tuple[Refusal, ...] = ()
    capabilities: tuple[int, ...] = ()
    proc: str = ""
    flags: tuple[tuple[str, int], ...] = ()


NOTHING_LACKS = Lack()


class Plan(NamedTuple):
    """What to boot. ``fresh`` is False when the box boots again on the files it has."""

    name: str
    directory: str
    lower: str
    cgroup: str
    target: str
    bpffs: bool
    fresh: bool
    source: str
    trees: list[str]
    files: dict[str, str]
    lack: Lack = NOTHING_LACKS
