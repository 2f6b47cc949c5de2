"""Hosts that lack what hardening takes: they are served all the same, or told what to do."""

from __future__ import annotations

import errno

import pytest

from tests.linux import (
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    MS_NOEXEC,
    MS_RDONLY,
)
from tests.sandbox import Lack, Refusal, Sandbox
from tests.systemd.conftest import MakeBox
from tests.systemd.units import UNITS, service_unit, web

ANSWER = "web 127.0.0.1:80"

# linux/prctl.h
PR_GET_SECCOMP = 21
PR_SET_SECCOMP = 22
# linux/capability.h
CAP_SYS_PTRACE = 19
CAP_SYS_RESOURCE = 24
CAP_MKNOD = 27


def namespaces(kind: int, error: int) -> Lack:
    """A host that makes no namespaces of a kind (unshare(2))."""
    return Lack((Refusal("unshare", error, mask=kind, value=kind),))


SERVED = {
    # A limit of zero: user.max_user_namespaces
    "no user namespaces allowed": namespaces(CLONE_NEWUSER, errno.ENOSPC),
    # PID 1 is in a chroot(2)
    "no user namespaces permitted": namespaces(CLONE_NEWUSER, errno.EPERM),
    # A kernel without CONFIG_USER_NS
    "no user namespaces built in": namespaces(CLONE_NEWUSER, errno.EINVAL),
    # Containers without CAP_SYS_ADMIN
    "no mount namespaces": namespaces(CLONE_NEWNS, errno.EPERM),
    "no network namespaces": namespaces(CLONE_NEWNET, errno.EPERM),
    "no IPC namespaces": namespaces(CLONE_NEWIPC, errno.EPERM),
    "no UTS namespaces": namespaces(CLONE_NEWUTS, errno.EPERM),
    # A kernel without CONFIG_SECCOMP
    "no seccomp": Lack(
        (
            Refusal("seccomp", errno.EINVAL),
            Refusal("prctl", errno.EINVAL, mask=0xFFFF, value=PR_GET_SECCOMP),
            Refusal("prctl", errno.EINVAL, mask=0xFFFF, value=PR_SET_SECCOMP),
        )
    ),
    "hidepid=invisible": Lack(proc="hidepid=invisible"),
    "hidepid=ptraceable": Lack(proc="hidepid=ptraceable"),
    "noexec /run": Lack(flags=(("/run", MS_NOEXEC),)),
    "read-only /etc": Lack(flags=(("/etc", MS_RDONLY),)),
    "read-only /usr": Lack(flags=(("/usr", MS_RDONLY),)),
    "read-only /var": Lack(flags=(("/var", MS_RDONLY),)),
    "no CAP_SYS_PTRACE": Lack(capabilities=(CAP_SYS_PTRACE,)),
    "no CAP_SYS_RESOURCE": Lack(capabilities=(CAP_SYS_RESOURCE,)),
    "no CAP_MKNOD": Lack(capabilities=(CAP_MKNOD,)),
}


# A server that passes its own socket to the receiver.
PASSING = {
    "/etc/sockreg/mine.conf": "[mine]\nBind=tcp 127.0.0.1 81\n",
    f"{UNITS}/mine.service": service_unit(
        "passing mine tcp 127.0.0.1 8081 mine",
        # It waits for its answer only for a moment, and this machine may be busy.
        settings=["Type=exec", "Restart=on-failure", "RestartSec=1"],
    ),
}


def failed_units(box: Sandbox) -> str:
    return box.systemctl("list-units", "--failed", "--plain", "--no-legend").stdout


@pytest.mark.parametrize("lack", SERVED.values(), ids=SERVED)
def test_a_host_that_lacks_it_is_served(make_box: MakeBox, lack: Lack) -> None:
    """The rules steer; a reload, a restart and the receiver work, too."""
    box = make_box(files=web() | PASSING, lack=lack)
    box.systemctl("start", "sockreg@web.service", "sockreg-receive.socket")
    box.systemctl("start", "mine.service")
    assert box.ask("127.0.0.1", 80) == ANSWER
    box.systemctl("reload", "sockreg.service")
    box.systemctl("restart", "sockreg@web.service")
    assert box.ask("127.0.0.1", 80) == ANSWER
    box.wait(lambda: box.ask("127.0.0.1", 81) == "mine 127.0.0.1:81", "the passed socket")
    assert failed_units(box) == ""
