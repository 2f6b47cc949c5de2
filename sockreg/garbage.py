"""The cyclic garbage collector, out of the way of large rule sets."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused() -> Iterator[None]:
    """Keep the collector from walking a million new tuples over and over.

    What is done meanwhile should make no reference cycles: they stay. Reading, compiling
    and comparing rules does not, and takes a third longer with the collector.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
