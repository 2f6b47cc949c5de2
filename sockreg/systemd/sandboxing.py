"""What systemd could not do for a unit before it ran the unit's program (systemd.exec(5)).

systemd skips most hardening that a host lacks by itself. The rest ends the unit with an exit status
of systemd's own, and a drop-in without the settings in question helps.
"""

import signal
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from sockreg.printable import shell, shell_words
from sockreg.systemd.unitproperty import template_of

_RULES = (
    "sockreg.service",
    "sockreg@.service",
    "sockreg-apply@.service",
    "sockreg-interfaces.service",
    "sockreg-stalled.service",
    "sockreg-files-apply.service",
    "sockreg-etcd.service",
    "sockreg-sockops.service",
)
_SOCKETS = ("sockreg-add@.service", "sockreg-receive@.service")
_ALL = (*_RULES, *_SOCKETS)
_NOT_SHARED = ("DynamicUser", "PrivateTmp")  # only sockreg-metrics.service has them


class Step(NamedTuple):
    """Something that systemd does before it runs a program.

    ``why`` is what usually keeps it from doing so. ``settings`` ask for it, each with what undoes
    it. ``units`` are those of sockreg which fail in the same way and take all of ``settings``; of
    other units only those count which they have.
    """

    name: str
    what: str
    why: str
    settings: Mapping[str, str]
    units: tuple[str, ...] = ()

    def undoing(self, template: str, has: Collection[str]) -> list[str]:
        """The lines for the drop-in of a unit that has these settings."""
        keys = [key for key in self.settings if key in has]
        if template in self.units:
            keys = [key for key in self.settings if key not in _NOT_SHARED]
        return [self.settings[key].replace("{}", key) for key in keys]


_NO = "{}=no"
_FILTERS = {
    "LockPersonality": _NO,
    "MemoryDenyWriteExecute": _NO,
    "ProtectClock": _NO,
    "ProtectHostname": _NO,
    "ProtectKernelLogs": _NO,
    "ProtectKernelModules": _NO,
    "RestrictAddressFamilies": "{}=",
    "RestrictNamespaces": _NO,
    "RestrictRealtime": _NO,
    "RestrictSUIDSGID": _NO,
    "SystemCallArchitectures": "{}=",
    "SystemCallFilter": "{}=",
}
_SECCOMP = Step("SECCOMP", "filter system calls",
                "the container or a security module does not allow it", _FILTERS, _ALL)  # fmt: skip

# By exit status ("Process Exit Codes" of systemd.exec(5)), and negative by signal.
STEPS = {
    # Without SystemCallErrorNumber=, a filter kills.
    -signal.SIGSYS: Step("SYS", "let it call the kernel, and killed it",
                         "a drop-in takes system calls away that the unit needs",
                         {"SystemCallFilter": "{}=@system-service {}=bpf"}, _ALL),
    203: Step("EXEC", "run its program", "the program is missing, or is in a directory that the "
              "unit does not see or may not enter, or that is mounted noexec", {}),
    216: Step("GROUP", "find its groups", "a group of SupplementaryGroups= does not exist",
              {"SupplementaryGroups": ""}),
    217: Step("USER", "make its user or its user namespace",
              "the host makes no user namespaces (user.max_user_namespaces=0, a container, a "
              "chroot), or the user does not exist",
              {"PrivateUsers": _NO, "DynamicUser": "{}=no User=nobody"}),
    218: Step("CAPABILITIES", "drop capabilities", "the container has no CAP_SETPCAP",
              {
                  "CapabilityBoundingSet": "{}=~",
                  "PrivateDevices": _NO,
                  "ProtectClock": _NO,
                  "ProtectKernelLogs": _NO,
                  "ProtectKernelModules": _NO,
              }, (*_ALL, "sockreg-needed.service")),
    225: Step("NETWORK", "make a network namespace",
              "the host makes no network namespaces (user.max_net_namespaces=0)",
              {"PrivateNetwork": _NO}, _SOCKETS),
    226: Step("NAMESPACE", "set up its mounts or namespaces",
              "the container or a security module does not allow it, or the host makes no "
              "namespaces of a kind (user.max_mnt_namespaces=0)",
              {
                  "DynamicUser": "{}=no User=nobody",
                  "InaccessiblePaths": "{}=",
                  "PrivateDevices": _NO,
                  "PrivateIPC": _NO,
                  "PrivateNetwork": _NO,
                  "PrivateTmp": _NO,
                  "ProcSubset": "{}=all",
                  "ProtectControlGroups": _NO,
                  "ProtectHome": _NO,
                  "ProtectHostname": _NO,
                  "ProtectKernelLogs": _NO,
                  "ProtectKernelModules": _NO,
                  "ProtectKernelTunables": _NO,
                  "ProtectProc": "{}=default",
                  "ProtectSystem": _NO,
                  "ReadWritePaths": "{}=",
              }, _ALL),
    228: _SECCOMP,
    232: _SECCOMP._replace(name="ADDRESS_FAMILIES"),
    233: Step("RUNTIME_DIRECTORY", "make its directory in /run",
              "/run is full or read-only, or a file has the name of the directory",
              {"RuntimeDirectory": ""}),
    237: Step("KEYRING", "make its keyring", "the container does not allow it",
              {"KeyringMode": "{}=inherit"}, _ALL),
}  # fmt: skip
# Where no setting is at fault.
_OTHER_HELP = {
    "EXEC": "install sockreg where the units see it, not below /tmp or in a private home, for "
    "example below /opt, and run 'sockreg install-units' again",
    "GROUP": "make the groups of sockreg: 'systemd-sysusers', or 'groupadd --system sockreg'",
    "RUNTIME_DIRECTORY": "'df /run' and 'ls -ld /run/sockreg*' show what is in the way; remove it",
}


class Fault(NamedTuple):
    """What systemd could not do for a unit, for people.

    ``settings`` are those of the unit that ask for it, and ``about`` tells one help from another.
    ``by_dropin`` is whether the fix is a drop-in.
    """

    what: str
    why: str
    fix: str
    settings: list[str]
    about: tuple[str, ...]
    by_dropin: bool


def fault_of(name: str, status: int, has: Callable[[str], object]) -> Fault | None:
    """The fault of a unit that has failed, by the status of its last process; None if it has none.

    ``status`` is negative for a signal. ``has`` is whether the unit has a setting of [Service].
    """
    step = STEPS.get(status)
    if step is None:
        return None
    asked = [key for key in step.settings if has(key)]
    template = template_of(name)
    lines = " ".join(filter(None, step.undoing(template, asked)))
    units = step.units if template in step.units else (template,)
    fix = f"run 'systemctl edit {shell_words(*units)}' and add to section [Service]: {lines}"
    if not lines:
        fix = _OTHER_HELP.get(step.name, f"'systemctl status {shell(name)}' says more")
    why = step.why
    if asked:
        why += f", but the unit has {', '.join(f'{key}=' for key in asked)}"
    return Fault(
        f"{name} has failed: systemd could not {step.what} (status {abs(status)}/{step.name})",
        why,
        fix,
        asked,
        (step.name, *units),
        by_dropin=bool(lines),
    )
