"""What the owner of a sandbox tells the process that boots it."""

from __future__ import annotations

from typing import NamedTuple


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
