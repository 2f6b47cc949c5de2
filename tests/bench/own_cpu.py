"""A CPU to oneself, for measurements of nanoseconds on a machine with other things to do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


def last_cpu() -> int:
    """The one for measurements: interrupts and everything else tend to go to the first."""
    return max(os.sched_getaffinity(0))


@contextmanager
def own_cpu() -> Iterator[None]:
    """Have the calling thread alone on one CPU, for less than a second at a time (sched(7)).

    Without it, the time of whatever else gets its turn is taken for what is measured.
    """
    cpus, policy, parameters = (
        os.sched_getaffinity(0),
        os.sched_getscheduler(0),
        os.sched_getparam(0),
    )
    os.sched_setaffinity(0, {last_cpu()})
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)
        os.sched_setaffinity(0, cpus)
