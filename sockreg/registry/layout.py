"""The byte layout of the registry's pinned maps, as in bpf/registry.h.

A test compares every size and offset here with the BTF of the object. On the companion's start-up
path: this module only imports the C half of ``struct``. All numbers are in the machine's byte order
unless stated otherwise.
"""

import _struct as struct

LABEL_SIZE = 256
UNIT_SIZE = 256

SLOT = struct.Struct("=I")
COOKIE = struct.Struct("=Q")
# lookups, misses, and sockets that the kernel refused: closed, family, protocol, other
COUNTERS = struct.Struct("=QQQQQQ")
# label, family, protocol, listener, zero
DESTINATION = struct.Struct(f"={LABEL_SIZE}sHHHH")
PLACE = struct.Struct("=II")  # slot, listeners
MEMBER_KEY = struct.Struct("=QII")  # cookie, slot, zero
MEMBER_WEIGHT_SAID = 1
MEMBER_EXACT = 2
MEMBER_STICKY = 4
MEMBER_REPLACED = 8
MEMBER_STALLED = 16
FLOWS = 65536
# registered, family, port, weight, flags, address, unit
MEMBER = struct.Struct(f"=QHHHH16s{UNIT_SIZE}s")
UNIT_NAME = struct.Struct(f"={UNIT_SIZE}s")
# active, files, newest, inodes, bytes, weight, flags, label
UNIT_STATE = struct.Struct(f"=IIQQQII{LABEL_SIZE}s")
POOL_ENTRIES = 1024
POOL_MEMBERS = 32
# members, exact, sticky, active, member..., entry...
POOL = struct.Struct(f"=HBBI{POOL_MEMBERS}H{POOL_ENTRIES}H")

# slot, local port (host order), remote port (network order), local, remote address
FLOW_KEY = struct.Struct("=IH2s16s16s")
FLOW = struct.Struct("=QQII")  # cookie, since, member, zero

# The bytes of a key and a value of each map.
SIZES = {
    "sockets": (SLOT.size, COOKIE.size),
    "pools": (SLOT.size, POOL.size),
    "destinations": (DESTINATION.size, PLACE.size),
    "members": (MEMBER_KEY.size, MEMBER.size),
    "units": (UNIT_NAME.size, UNIT_STATE.size),
    "counters": (SLOT.size, COUNTERS.size),
    "flows": (FLOW_KEY.size, FLOW.size),
    "owners": (SLOT.size, COOKIE.size),
}

# C structure and member names in order, for the comparison with BTF.
STRUCTURES = {
    "counters": (COUNTERS, ("lookups", "misses", "closed", "family", "protocol", "other")),
    "destination": (DESTINATION, ("label", "family", "protocol", "listener", "zero")),
    "place": (PLACE, ("slot", "listeners")),
    "member_key": (MEMBER_KEY, ("cookie", "slot", "zero")),
    "member": (
        MEMBER,
        ("registered", "family", "port", "weight", "flags", "address", "unit"),
    ),
    "unit_name": (UNIT_NAME, ("name",)),
    "unit_state": (
        UNIT_STATE,
        ("active", "files", "newest", "inodes", "bytes", "weight", "flags", "label"),
    ),
    "flow_key": (FLOW_KEY, ("slot", "local_port", "remote_port", "local", "remote")),
    "flow": (FLOW, ("cookie", "since", "member", "zero")),
    "pool": (POOL, ("members", "exact", "sticky", "active", "member", "entry")),
}


def text(field: bytes) -> str:
    """The string in a NUL-padded field."""
    return field.split(b"\0", 1)[0].decode("ascii", "replace")
