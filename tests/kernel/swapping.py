"""Two rule sets that change places, and clients that ask meanwhile without pause."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator

from tests.kernel.host import Host
from tests.netns import TCP, UDP, Server

# Overlapping prefixes that change places between two labels. 192.0.2.1 is "one" in both.
_SETS = [
    [f"[{wide}]", f"Bind={{0}} 192.0.2.0/24 {ports}", f"[{narrow}]", "Bind={0} 192.0.2.128/25 80",
     "[one]", "Bind={0} 192.0.2.1 80"]
    for wide, narrow, ports in (("one", "two", "80"), ("two", "one", "1-1000"))
]  # fmt: skip
SETS = [[line.format(p) for p in ("tcp", "udp") for line in lines] for lines in _SETS]
ADDRESSES = {"192.0.2.1": {"one"}, "192.0.2.2": {"one", "two"}, "192.0.2.200": {"one", "two"}}


@contextlib.contextmanager
def asked_throughout(host: Host) -> Iterator[None]:
    """Serve both labels, and ask all addresses by TCP and UDP until the end of the block.

    AssertionError unless every single answer came from a label that one of SETS gives the
    address to, and each of these labels has answered.
    """
    # Neither set names these: whoever fell through a gap would land here.
    ordinary = [host.namespace.listen("0.0.0.0", 80, protocol) for protocol in (TCP, UDP)]
    with Server("ordinary", *ordinary), contextlib.ExitStack() as stack:
        for port, label in ((8080, "one"), (8081, "two")):
            for protocol in (TCP, UDP):
                stack.enter_context(host.serve(label, "127.0.0.1", port, protocol))
        with _asking(host) as answers:
            yield
    for address, allowed in ADDRESSES.items():
        for protocol in (TCP, UDP):
            seen = {answer for a, p, answer in answers if (a, p) == (address, protocol)}
            assert seen == allowed, answers


@contextlib.contextmanager
def _asking(host: Host) -> Iterator[Counter[tuple[str, int, str]]]:
    """Ask all addresses without pause, by TCP and by UDP; counts the answers."""
    answers: Counter[tuple[str, int, str]] = Counter()
    stop = threading.Event()

    def ask(protocol: int) -> None:
        while not stop.is_set():
            for address in ADDRESSES:
                answer = host.ask(address, 80, protocol)
                answers[address, protocol, answer] += 1

    threads = [threading.Thread(target=ask, args=(protocol,)) for protocol in (TCP, UDP)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        stop.set()
        for thread in threads:
            thread.join()
