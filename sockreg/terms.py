"""The terms that all of sockreg shares: families and protocols, labels, weights, slots, units.

On the companion's start-up path: imports nothing.
"""

# Families and protocols have the kernel's numbers (linux/socket.h, linux/in.h).
INET = 2
INET6 = 10
TCP = 6
UDP = 17
FAMILY_TITLES = {INET: "IPv4", INET6: "IPv6"}
PROTOCOL_NAMES = {TCP: "tcp", UDP: "udp"}

# Slots that never hold a socket, the first that may, and how many there are: as bpf/registry.h
# has them.
SLOT_PASS = 0  # no rule, or ``pass``: ordinary lookup
SLOT_REJECT = 1  # ``reject``: its counters count the refused packets
FIRST_SLOT = 2
DESTINATION_SLOTS = 16384  # a destination has one of the first so many
SLOTS = 65536  # a member of a pool has any

ONLY = 0  # as the port of a listener: the only one of its unit

# Where conf files are, the first directory first.
CONF_DIRECTORIES = (
    "/etc/sockreg",
    "/run/sockreg",
    "/usr/local/lib/sockreg",
    "/usr/lib/sockreg",
)

LOADER = "sockreg.service"
INTERFACES_SOCKET = "sockreg-interfaces.socket"  # the kernel reports interfaces there
STALLED_TIMER = "sockreg-stalled.timer"  # looks for stalled members of pools
STALLED_SERVICE = "sockreg-stalled.service"
INTERFACES_SERVICE = "sockreg-interfaces.service"
ETCD_SERVICE = "sockreg-etcd.service"  # follows keys of etcd
FILES_SERVICE = "sockreg-files-apply.service"  # applies files that have changed
NEEDED = "sockreg-needed.service"  # starts the loader, unless that was stopped
SHUTDOWN = "shutdown.target"
METRICS = "sockreg-metrics.service"
RECEIVER_SOCKET = "sockreg-receive.socket"
SOCK_OPS = "sockreg-sockops.service"
NO_UNIT = "-"  # the unit of a process or a socket without one
COMPANION_PREFIX = "sockreg@"
ADDING_PREFIX = "sockreg-add@"
APPLYING_PREFIX = "sockreg-apply@"
BOOT_PREFIX = "sockreg-boot@"  # registers many sockets at boot
SETTLING_PREFIX = "sockreg-settled@"

LABEL_MAX = 255
UNIT_MAX = 255
_UNIT_CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\@"
DEFAULT_WEIGHT = 100  # weight of a socket in its label's pool
WEIGHT_MAX = 65535
FLOWS_DEFAULT = 65536  # how many flows are noted
FLOWS_RANGE = range(1024, (1 << 24) + 1)


def label_problem(label: str) -> str:
    """Return what is wrong with a label, or ''.

    The rule is systemd's for FileDescriptorName= (systemd.socket(5), fdname_is_valid() in
    src/basic/fd-util.c): 1 to 255 printable ASCII characters without ':'.
    """
    if not label:
        return "is empty"
    if len(label) > LABEL_MAX:
        return f"is {len(label)} characters long; {LABEL_MAX} is the limit"
    for c in label:
        if c == ":":
            return "contains ':'"
        if not " " <= c <= "~":
            return f"contains {c!r}; only printable ASCII is allowed"
    return ""


def is_unit_name(name: str) -> bool:
    """Whether systemd takes it for the name of a unit: unit_name_is_valid() in basic/unit-name.c.

    Files with other names in its directories are no units.
    """
    return len(name) <= UNIT_MAX and not name.strip(_UNIT_CHARACTERS)


def companion(socket_unit: str) -> str:
    """``sockreg@web.service`` for ``web.socket``: the unit that is enabled to register it."""
    return f"{COMPANION_PREFIX}{socket_unit.removesuffix('.socket')}.service"


def adding_unit(socket_unit: str) -> str:
    """``sockreg-add@web.service`` for ``web.socket``: the unit that is passed its sockets."""
    return f"{ADDING_PREFIX}{socket_unit.removesuffix('.socket')}.service"


def applying_unit(socket_unit: str) -> str:
    """``sockreg-apply@web.service`` for ``web.socket``: the unit that puts its rules in force."""
    return f"{APPLYING_PREFIX}{socket_unit.removesuffix('.socket')}.service"


def settling_unit(socket_unit: str) -> str:
    """``sockreg-settled@web.service`` for ``web.socket``: it ends a restart of ``sockreg@web``."""
    return f"{SETTLING_PREFIX}{socket_unit.removesuffix('.socket')}.service"
