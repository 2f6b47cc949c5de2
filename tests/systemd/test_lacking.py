"""Hosts that lack what hardening takes: they are served all the same, or told what to do."""

from __future__ import annotations

import errno
import json
import os
import re

import pytest

from sockreg.errors import EXIT_FAILURE, EXIT_PERMISSION
from tests.linux import (
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    MS_BIND,
    MS_NOEXEC,
    MS_RDONLY,
    MS_REMOUNT,
)
from tests.sandbox import Lack, Refusal, Sandbox
from tests.systemd.conftest import LOWER, MakeBox
from tests.systemd.units import UNITS, messages, service_unit, web
from tests.tree import ROOT

pytestmark = pytest.mark.long

ANSWER = "web 127.0.0.1:80"

# linux/prctl.h
PR_GET_SECCOMP = 21
PR_SET_SECCOMP = 22
# linux/capability.h
CAP_SETPCAP = 8
CAP_SYS_PTRACE = 19
CAP_SYS_RESOURCE = 24
CAP_MKNOD = 27
CAP_PERFMON = 38
CAP_BPF = 39

REMOUNT = MS_BIND | MS_REMOUNT


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


# Those of a box: where CAP_SETPCAP is missing, systemd's own fail.
UNITS_HERE = ("*sockreg*", "web.*", "mine.*")


def failed_units(box: Sandbox) -> str:
    return box.systemctl("list-units", "--failed", "--plain", "--no-legend", *UNITS_HERE).stdout


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


# What a host lacks, the unit that fails for it, with its status, and what check says of it.
NAMED = {
    "no namespaces of a kind: network": (
        namespaces(CLONE_NEWNET, errno.ENOSPC),
        "sockreg-add@web.service",
        225,
    ),
    "no namespaces of a kind: mounts": (
        namespaces(CLONE_NEWNS, errno.ENOSPC), "sockreg.service", 226
    ),
    "no namespaces of a kind: IPC": (
        namespaces(CLONE_NEWIPC, errno.ENOSPC), "sockreg.service", 226
    ),
    "no namespaces of a kind: UTS": (
        namespaces(CLONE_NEWUTS, errno.ENOSPC), "sockreg.service", 226
    ),
    # As a profile of AppArmor does for containers.
    "no remounting": (
        Lack((Refusal("mount", errno.EACCES, 3, REMOUNT, REMOUNT),)), "sockreg.service", 226
    ),
    "no device nodes": (Lack((Refusal("mknodat", errno.EPERM),)), "sockreg.service", 226),
    "no CAP_SETPCAP": (Lack(capabilities=(CAP_SETPCAP,)), "sockreg-add@web.service", 218),
}  # fmt: skip


@pytest.mark.parametrize(("lack", "unit", "status"), NAMED.values(), ids=NAMED)
def test_check_names_what_is_missing_and_its_drop_in_helps(
    make_box: MakeBox, lack: Lack, unit: str, status: int
) -> None:
    box = make_box(files=web() | PASSING, lack=lack)
    box.systemctl("enable", "sockreg@web.service")
    box.systemctl("start", "sockreg@web.service", check=False)
    # Nobody else pays for it.
    assert box.ask("127.0.0.1", 8080) == "web 127.0.0.1:8080"
    assert box.show("web.socket", "ActiveState") == "active"
    assert box.ask("127.0.0.1", 80) == "refused"

    finding = found(box, "sandbox")
    assert finding["severity"] == "error"
    assert finding["what"].startswith(f"{unit} has failed: systemd could not ")
    assert f"(status {status}/" in finding["what"]
    edit(box, finding["fix"])
    if status == 226:
        assert box.read(f"{UNITS}/{unit}.d/override.conf") == documented("hardening.conf")
    box.systemctl("restart", "sockreg@web.service")
    assert box.ask("127.0.0.1", 80) == ANSWER
    box.systemctl("start", "sockreg-receive.socket")
    box.systemctl("start", "mine.service")
    box.wait(lambda: box.ask("127.0.0.1", 81) == "mine 127.0.0.1:81", "the passed socket")
    assert failed_units(box) == ""


def documented(name: str) -> str:
    """The text of a file that docs/hardening.md shows, without its path."""
    (text,) = re.findall(
        rf"```ini\n# \S+/{name}\n(.*?)```", (ROOT / "docs/hardening.md").read_text(), re.DOTALL
    )
    return str(text)


def found(box: Sandbox, kind: str) -> dict[str, str]:
    """The one finding of a kind."""
    done = box.run(["sockreg", "--json", "check"], check=False)
    findings: list[dict[str, str]] = json.loads(done.stdout)["findings"]
    (finding,) = [finding for finding in findings if finding["check"] == kind]
    return finding


def edit(box: Sandbox, fix: str) -> None:
    """Do what a text says: run 'systemctl edit UNITS' and add to section [Service]: LINES."""
    said = re.search(
        r"run 'systemctl edit ([^']+)' and add (?:to section \[Service\]: )?([^;]+)", fix
    )
    assert said is not None, fix
    lines = said[2].removesuffix(" to section [Service]").split()
    for unit in said[1].split():
        box.write(f"{UNITS}/{unit}.d/override.conf", "\n".join(["[Service]", *lines, ""]))
    box.systemctl("daemon-reload")


# Site-wide drop-ins that take bpf(2) away, from all services or from one of ours.
BASELINE = "[Service]\nSystemCallErrorNumber={}\nSystemCallFilter=~bpf\n"


@pytest.mark.parametrize(
    ("directory", "unit", "error"),
    [
        ("service.d", "sockreg.service", "EPERM"),
        ("service.d", "sockreg.service", "ENOSYS"),
        ("sockreg.service.d", "sockreg.service", "EACCES"),
        ("sockreg-add@.service.d", "sockreg-add@web.service", "EPERM"),
        ("sockreg-add@.service.d", "sockreg-add@web.service", "ENOSYS"),
    ],
)
def test_a_filter_without_bpf_is_named_with_the_drop_in(
    make_box: MakeBox, directory: str, unit: str, error: str
) -> None:
    box = make_box(files=web() | {f"{UNITS}/{directory}/10-baseline.conf": BASELINE.format(error)})
    box.systemctl("enable", "sockreg@web.service")
    edited = start_as_told(box, "SystemCallFilter=")
    assert any(f"of {unit} leaves it out" in text for text in edited)


def start_as_told(box: Sandbox, text: str) -> list[str]:
    """Start, and add the drop-ins of the entries that have a text. Returns the entries."""
    entries: list[str] = []
    while box.systemctl("start", "sockreg@web.service", check=False).returncode != 0:
        assert len(entries) < 3
        assert box.ask("127.0.0.1", 8080) == "web 127.0.0.1:8080"
        entries.append(said_last(box, text))
        edit(box, entries[-1])
    assert box.ask("127.0.0.1", 80) == ANSWER
    assert failed_units(box) == ""
    return entries


def said_last(box: Sandbox, text: str) -> str:
    """The last entry of the journal that has a text."""
    entries = [entry for entry in messages(box) if text in entry]
    assert entries, messages(box)
    return entries[-1]


@pytest.mark.parametrize("number", [CAP_BPF, CAP_PERFMON])
def test_a_container_without_a_capability_does_with_another(make_box: MakeBox, number: int) -> None:
    """As systemd-nspawn starts them: with CAP_SYS_ADMIN, without CAP_BPF and CAP_PERFMON."""
    box = make_box(files=web(), lack=Lack(capabilities=(number,)))
    (said, *_) = start_as_told(box, "systemctl edit")
    assert "the container was started without: start it with --capability=CAP_" in said


# What security modules may refuse: commands of bpf(2) by number (linux/bpf.h).
@pytest.mark.parametrize("command", [0, 2, 5, 6, 7, 28])
def test_a_security_module_is_named(make_box: MakeBox, command: int) -> None:
    box = make_box(files=web(), lack=Lack((Refusal("bpf", errno.EACCES, 0, 0xFFFF, command),)))
    box.systemctl("start", "sockreg@web.service", check=False)
    assert box.ask("127.0.0.1", 8080) == "web 127.0.0.1:8080"
    assert box.ask("127.0.0.1", 80) == "refused"
    assert "a security module such as SELinux" in said_last(box, "'ausearch -m AVC'")


@pytest.mark.parametrize("error", [errno.EPERM, errno.ENOSYS])
def test_a_container_that_filters_bpf_is_named(make_box: MakeBox, error: int) -> None:
    box = make_box(files=web(), lack=Lack((Refusal("bpf", error),)))
    box.systemctl("start", "sockreg@web.service", check=False)
    assert box.ask("127.0.0.1", 8080) == "web 127.0.0.1:8080"
    assert box.ask("127.0.0.1", 80) == "refused"
    assert "this process may not call bpf(2)" in said_last(box, "bpf(2)")
    assert "--system-call-filter=bpf" in said_last(box, "allow bpf there")
    # Commands of a test come from outside of the filter, those of systemd do not.
    box.write("/run/systemd/system/look.service", "[Service]\nExecStart=sockreg check\n")
    box.systemctl("start", "look.service")
    box.wait(lambda: box.show("look.service", "ActiveState") == "failed", "the end of check")
    said = messages(box, "_SYSTEMD_UNIT=look.service")
    assert "error (no-bpf)" in said
    assert any("--system-call-filter=bpf" in line for line in said)


def test_without_a_bpffs_the_loader_says_what_to_mount(make_box: MakeBox) -> None:
    box = make_box(files=web(), bpffs=False)
    box.systemctl("start", "sockreg@web.service", check=False)
    assert box.ask("127.0.0.1", 8080) == "web 127.0.0.1:8080"
    assert "sockreg.service" in failed_units(box)
    said = said_last(box, "mount -t bpf")
    mount = re.search("'(mount -t bpf [^']+)'", said)
    assert mount is not None, said
    box.run(mount[1].split())
    box.systemctl("start", "sockreg@web.service")
    assert box.ask("127.0.0.1", 80) == ANSWER
    assert failed_units(box) == ""


def test_a_file_in_the_way_of_the_runtime_directory(make_box: MakeBox) -> None:
    box = make_box(files=web())
    box.systemctl("enable", "sockreg@web.service")
    box.write("/run/sockreg-add", "not a directory\n")
    box.systemctl("start", "sockreg@web.service", check=False)
    assert box.ask("127.0.0.1", 8080) == "web 127.0.0.1:8080"
    finding = found(box, "sandbox")
    assert "(status 233/RUNTIME_DIRECTORY)" in finding["what"]
    assert "ls -ld /run/sockreg*" in finding["fix"]
    box.run(["rm", "/run/sockreg-add"])
    box.systemctl("start", "sockreg@web.service")
    assert box.ask("127.0.0.1", 80) == ANSWER
    assert failed_units(box) == ""


SCRAPE = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9437/metrics').read())"
METRICS = "sockreg-metrics.service"


def scraped(box: Sandbox) -> str:
    return box.run(["python3", "-c", SCRAPE], check=False).stdout


@pytest.mark.skipif(
    not os.path.isdir(f"{LOWER}/usr/lib/python3/dist-packages/prometheus_client"),
    reason="the root of this test has no python3-prometheus-client",
)
@pytest.mark.parametrize(
    ("lack", "status"), [(Lack(), 216), (namespaces(CLONE_NEWNS, errno.EPERM), 226)]
)
def test_check_says_what_the_metrics_lack(make_box: MakeBox, lack: Lack, status: int) -> None:
    box = make_box(files=web(), lack=lack)
    if status != 216:
        box.run(["systemd-sysusers"])
    box.systemctl("enable", "--now", "sockreg@web.service", "sockreg-metrics.socket")
    assert scraped(box) == ""
    box.wait(lambda: box.show(METRICS, "ActiveState") == "failed", "the end of the attempts")
    assert box.ask("127.0.0.1", 80) == ANSWER
    finding = found(box, "sandbox")
    assert finding["what"].startswith(f"{METRICS} has failed: ")
    assert f"(status {status}/" in finding["what"]
    if status == 216:
        assert "'systemd-sysusers'" in finding["fix"]
        box.run(["systemd-sysusers"])
    else:
        edit(box, finding["fix"])
    box.systemctl("reset-failed")
    box.systemctl("restart", "sockreg-metrics.socket")
    if status == 216:  # the group counts from the next start of the loader
        box.systemctl("restart", "sockreg.service")
    assert "sockreg_up 1.0" in scraped(box)


def test_a_filter_that_kills_is_named(make_box: MakeBox) -> None:
    kills = "[Service]\nSystemCallErrorNumber=\nSystemCallFilter=~bpf\n"
    box = make_box(files=web() | {f"{UNITS}/service.d/10-baseline.conf": kills})
    box.systemctl("enable", "sockreg@web.service")
    box.systemctl("start", "sockreg@web.service", check=False)
    assert box.ask("127.0.0.1", 8080) == "web 127.0.0.1:8080"
    finding = found(box, "sandbox")
    assert "(status 31/SYS)" in finding["what"]
    edit(box, finding["fix"])
    box.systemctl("start", "sockreg@web.service")
    assert box.ask("127.0.0.1", 80) == ANSWER
    assert failed_units(box) == ""


def test_a_read_only_bpffs(make_box: MakeBox) -> None:
    box = make_box(files=web(), lack=Lack(flags=(("/sys/fs/bpf", MS_RDONLY),)))
    box.systemctl("start", "sockreg@web.service", check=False)
    assert box.ask("127.0.0.1", 8080) == "web 127.0.0.1:8080"
    said_last(box, "if the bpffs is read-only: 'mount -o remount,rw /sys/fs/bpf'")
    assert "sockreg: cannot create /sys/fs/bpf/sockreg: Read-only file system" in messages(box)
    box.run(["mount", "-o", "remount,rw", "/sys/fs/bpf"])
    box.systemctl("start", "sockreg@web.service")
    assert box.ask("127.0.0.1", 80) == ANSWER
    assert failed_units(box) == ""


@pytest.mark.parametrize("bpffs", [True, False])
def test_a_user_namespace_is_named(make_box: MakeBox, bpffs: bool) -> None:
    box = make_box(files=web(), bpffs=bpffs)
    enter = ["unshare", "--user", "--map-root-user", "--net"]
    done = box.run([*enter, "sockreg", "load"], check=False)
    assert done.returncode == (EXIT_PERMISSION if bpffs else EXIT_FAILURE), done.stderr
    assert "in a user namespace, capabilities do not count for bpf(2)" in done.stderr


INSTALL = """
from sockreg.commands import install
from sockreg.errors import RefusedError
install.own = lambda: install.DEBIAN._replace(command="{}", package="/opt/sockreg")
try:
    install.install_units("/")
except RefusedError as error:
    print(error.line)
"""


ALICE = os.path.join("/home", "alice")


@pytest.mark.parametrize("path", ["/tmp/sockreg", "/var/tmp/sockreg", f"{ALICE}/sockreg"])
def test_a_program_that_its_unit_does_not_see(make_box: MakeBox, path: str) -> None:
    """Below /tmp, which units do not see, or in a home that only its owner may enter."""
    box = make_box(files=web())
    box.run(["mkdir", "-p", ALICE])
    box.run(["cp", "/usr/bin/sockreg", path])
    box.run(["chown", "1000:1000", ALICE])
    box.run(["chmod", "0700", ALICE])
    refused = box.run(["python3", "-c", INSTALL.format(path)]).stdout
    assert refused.startswith(f"the units could not run {path}: "), refused
    # Installed all the same, by hand.
    start = f"[Service]\nExecStart=\nExecStart={path} load\n"
    box.write(f"{UNITS}/sockreg.service.d/path.conf", start)
    box.systemctl("daemon-reload")
    box.systemctl("start", "sockreg@web.service", check=False)
    assert box.ask("127.0.0.1", 8080) == "web 127.0.0.1:8080"
    if path.startswith("/home"):  # its interpreter says so
        assert said_last(box, path).endswith("Permission denied")
        return
    finding = found(box, "sandbox")
    assert "(status 203/EXEC)" in finding["what"]
    assert "not below /tmp or in a private home" in finding["fix"]


def test_a_host_without_getent_has_the_group(make_box: MakeBox) -> None:
    box = make_box(files=web())
    box.run(["systemd-sysusers"])
    box.run(["rm", "/usr/bin/getent"])
    box.systemctl("start", "sockreg@web.service")
    assert box.ask("127.0.0.1", 80) == ANSWER
    assert box.run(["stat", "-c", "%G %a", "/sys/fs/bpf/sockreg"]).stdout == "sockreg 2710\n"


def test_a_host_without_the_group_has_that_of_root(make_box: MakeBox) -> None:
    box = make_box(files=web())
    box.systemctl("start", "sockreg@web.service")
    assert box.ask("127.0.0.1", 80) == ANSWER
    assert box.run(["stat", "-c", "%G %a", "/sys/fs/bpf/sockreg"]).stdout == "root 2710\n"


def test_enable_names_the_setting_and_the_drop_in(make_box: MakeBox) -> None:
    """It says what check would: everything is as before, so check has nothing to say."""
    box = make_box(files=web())
    # A group that nobody has made, and a filter that kills.
    for drop_in, words in {
        "SupplementaryGroups=nobody-has-it": ("216/GROUP", "SupplementaryGroups="),
        "SystemCallErrorNumber=\nSystemCallFilter=~bpf": (
            "31/SYS",
            "run 'systemctl edit sockreg.service sockreg@.service",
            "SystemCallFilter=@system-service SystemCallFilter=bpf; then enable again",
        ),
    }.items():
        box.write(f"{UNITS}/sockreg-add@.service.d/more.conf", f"[Service]\n{drop_in}\n")
        box.systemctl("daemon-reload")
        failed = box.run(["sockreg", "enable", "--mode", "companion", "web"], check=False)
        assert failed.returncode != 0
        said = " ".join(failed.stderr.split())
        assert "sockreg-add@web.service has failed: systemd could not" in said, said
        for each in (*words, "everything is as before"):
            assert each in said, said
    box.run(["rm", f"{UNITS}/sockreg-add@.service.d/more.conf"])
    box.systemctl("daemon-reload")
    box.run(["sockreg", "enable", "--mode", "companion", "web"])
    assert box.ask("127.0.0.1", 80) == ANSWER
