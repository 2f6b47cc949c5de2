"""The numbers of slots that never hold a socket, as bpf/registry.h has them.

On the companion's start-up path: imports nothing.
"""

SLOT_PASS = 0  # no rule, or ``pass``: ordinary lookup
SLOT_REJECT = 1  # ``reject``: its counters count the refused packets
FIRST_SLOT = 2  # the first that may hold a socket
