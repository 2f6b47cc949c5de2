"""Whether this process may use bpf(2), and what helps if it may not.

Not only the kernel refuses: so do filters of system calls (seccomp(2)), of a unit or of the
container that it runs in, and security modules.
"""

import errno
import os
import resource
from pathlib import Path

from sockreg.errors import AccessError
from sockreg.host import capabilities, release
from sockreg.kernel import bpf
from sockreg.printable import shell
from sockreg.systemd.unit_of import unit_of_this_process
from sockreg.systemd.unitproperty import template_of, unit_property

NOT_HERE = (
    "in a user namespace, capabilities do not count for bpf(2): run it outside of the container"
)
_ALL_USERS = ["0", "0", "4294967295"]  # /proc/self/uid_map of the first user namespace


def require_loading() -> None:
    """Raise AccessError if this process cannot load a program.

    User namespaces and security modules are not looked at: they refuse later.
    """
    lacking = capabilities.missing()
    if lacking:
        raise AccessError(
            "loading the BPF program takes CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON: "
            f"this process has no {' and no '.join(lacking)}",
            capabilities.remedy(lacking),
        )
    number = bpf.filter_error()
    if number and not in_user_namespace():
        raise AccessError(
            f"this process may not call bpf(2): {os.strerror(number)}", _filter_remedy(number)
        )


def remedy(*, loading: bool = False) -> str:
    """What to do about a refusal. ``loading`` is for programs and new maps."""
    if (loading or release.is_before(5, 19)) and (lacking := capabilities.missing()):
        if loading:
            return capabilities.remedy(lacking)
        return "before Linux 5.19, this needs CAP_BPF and CAP_NET_ADMIN: add them to the unit"
    if loading and in_user_namespace():
        return NOT_HERE
    if number := bpf.filter_error():
        return _filter_remedy(number)
    limited = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] != resource.RLIM_INFINITY
    if loading and release.is_before(5, 11) and limited:
        return "before Linux 5.11, add LimitMEMLOCK=infinity to its unit"
    if os.geteuid() != 0:
        return "run it as root"
    return (
        "a security module such as SELinux or AppArmor refuses it: 'journalctl -k -g denied' or "
        "'ausearch -m AVC' shows what its policy has to allow"
    )


def in_user_namespace() -> bool:
    """Whether this process is in another user namespace than the first."""
    return Path("/proc/self/uid_map").read_text(encoding="ascii").split() != _ALL_USERS


def _filter_remedy(number: int) -> str:
    """What to do about a filter that refuses bpf(2): that of the unit, or of all around it."""
    unit = unit_of_this_process()
    if unit.endswith(".service") and _leaves_out(unit_property(unit, "SystemCallFilter")):
        return (
            f"SystemCallFilter= of {unit} leaves it out: run "
            f"'systemctl edit {shell(template_of(unit))}' and add SystemCallFilter=bpf to section "
            "[Service]"
        )
    if number == errno.ENOSYS:
        return (
            "the kernel has no CONFIG_BPF_SYSCALL, or the container that this runs in filters "
            "system calls: allow bpf there, for systemd-nspawn with --system-call-filter=bpf"
        )
    return (
        "the container or session that this runs in filters system calls: allow bpf there, for "
        "systemd-nspawn with --system-call-filter=bpf"
    )


def _leaves_out(calls: str) -> bool:
    """Whether a SystemCallFilter=, as systemctl(1) shows it, refuses bpf(2)."""
    if calls.startswith("~"):
        return "bpf" in calls[1:].split()
    return bool(calls) and "bpf" not in calls.split()
