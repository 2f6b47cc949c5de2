"""The release of the kernel, for the few facts that cannot be found out by trying."""

import os
import re


def running() -> tuple[int, int]:
    """The release of the running kernel, for example (6, 1) (uname(2))."""
    major, minor = re.findall(r"\d+", os.uname().release)[:2]
    return int(major), int(minor)


def is_before(major: int, minor: int) -> bool:
    """Whether the running kernel is older than a release."""
    return running() < (major, minor)
