"""Which kernel this is, for the few things that cannot be found out by trying."""

import os


def is_before(major: int, minor: int) -> bool:
    """Whether the running kernel is older than a release (uname(2))."""
    numbers = os.uname().release.split("-")[0].split(".")[:2]
    return tuple(int(number) for number in numbers) < (major, minor)
