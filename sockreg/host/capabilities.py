"""The capabilities of this process that bpf(2) needs (capabilities(7))."""

from pathlib import Path

from sockreg.errors import AccessError
from sockreg.systemd.unit_of import unit_of_this_process

# To load a program (CAP_BPF), of a network type (CAP_NET_ADMIN), which the verifier trusts
# (CAP_PERFMON: bpf_allow_ptr_leaks() and bpf_bypass_spec_v1() in linux/bpf.h). The numbers are
# those of linux/capability.h.
_LOADING = {"CAP_BPF": 39, "CAP_NET_ADMIN": 12, "CAP_PERFMON": 38}
_CAP_SYS_ADMIN = 21  # implies all three (bpf_capable(), bpf_net_capable(), perfmon_capable())


def require_loading() -> None:
    """Raise AccessError if this process cannot load a program. Ignores user namespaces."""
    effective = _effective()
    if effective >> _CAP_SYS_ADMIN & 1:
        return
    missing = [name for name, number in _LOADING.items() if not effective >> number & 1]
    if not missing:
        return
    unit = unit_of_this_process()
    hint = "run it as root"
    if unit.endswith(".service") and not unit.startswith("user@"):
        hint = (
            f"run 'systemctl edit {unit}' and add CapabilityBoundingSet={' '.join(missing)} to "
            "section [Service]; a unit with User= needs the same in AmbientCapabilities="
        )
    raise AccessError(
        "loading the BPF program takes CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON: "
        f"this process has no {' and no '.join(missing)}",
        hint,
    )


def _effective() -> int:
    """The effective capabilities, one bit each (proc_pid_status(5))."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name == "CapEff":
            return int(value, 16)
    raise AccessError("/proc/self/status does not show this process's capabilities", "mount /proc")
