"""The capabilities of this process that bpf(2) needs (capabilities(7))."""

import os
from collections.abc import Sequence
from pathlib import Path

from sockreg.errors import AccessError
from sockreg.printable import shell
from sockreg.systemd.unit_of import unit_of_this_process
from sockreg.systemd.unitproperty import template_of, unit_property

# To load a program (CAP_BPF), of a network type (CAP_NET_ADMIN), which the verifier trusts
# (CAP_PERFMON: bpf_allow_ptr_leaks() and bpf_bypass_spec_v1() in linux/bpf.h). The numbers are
# those of linux/capability.h.
_LOADING = {"CAP_BPF": 39, "CAP_NET_ADMIN": 12, "CAP_PERFMON": 38}
_CAP_FSETID = 4
_CAP_SYS_ADMIN = 21  # implies all three (bpf_capable(), bpf_net_capable(), perfmon_capable())


def missing() -> list[str]:
    """The capabilities that this process lacks to load a program."""
    effective = _effective()
    if effective >> _CAP_SYS_ADMIN & 1:
        return []
    return [name for name, number in _LOADING.items() if not effective >> number & 1]


def keeps_set_group_id() -> bool:
    """Whether chmod(2) keeps the bit on a directory of any group (CAP_FSETID)."""
    return bool(_effective() >> _CAP_FSETID & 1)


def remedy(lacking: Sequence[str]) -> str:
    """What to do about missing capabilities: give them to the unit, or to the container."""
    unit = unit_of_this_process()
    in_unit = unit.endswith(".service") and not unit.startswith("user@")
    if os.geteuid() != 0 and not in_unit:
        return "run it as root"
    edit = f"run 'systemctl edit {shell(template_of(unit))}' and add"
    allowed = unit_property(unit, "CapabilityBoundingSet").upper().split() if in_unit else []
    if in_unit and (os.geteuid() != 0 or not set(lacking) <= set(allowed)):
        return (
            f"{edit} CapabilityBoundingSet={' '.join(lacking)} to section [Service]; a unit with "
            "User= needs the same in AmbientCapabilities="
        )
    # Not the unit, but systemd itself does not have them.
    container = (
        "the container was started without: start it with "
        f"--capability={','.join(lacking)} (systemd-nspawn) or --cap-add"
    )
    if not in_unit:
        return container
    return (
        f"{container}; if it has CAP_SYS_ADMIN, {edit} CapabilityBoundingSet=CAP_SYS_ADMIN to "
        "section [Service]"
    )


def _effective() -> int:
    """The effective capabilities, one bit each (proc_pid_status(5))."""
    for line in Path("/proc/self/status").read_bytes().split(b"\n"):
        name, _, value = line.partition(b":")
        if name == b"CapEff":
            return int(value, 16)
    raise AccessError("/proc/self/status does not show this process's capabilities", "mount /proc")
