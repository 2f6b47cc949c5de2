"""What the units may do, and that it is enough."""

from __future__ import annotations

import re

import pytest

from tests.sandbox import Sandbox
from tests.systemd.conftest import MakeBox
from tests.systemd.units import UNITS, messages, web

# linux/capability.h
CAP_NET_ADMIN = 12
CAP_PERFMON = 38
CAP_BPF = 39


@pytest.mark.parametrize(
    ("unit", "most"),
    [
        ("sockreg.service", 1.7),  # they see the names of processes, to find ssh servers
        ("sockreg@web.service", 1.7),
        ("sockreg-apply@web.service", 1.7),
        ("sockreg-add@web.service", 0.8),
        ("sockreg-boot@0.service", 0.8),
        ("sockreg-receive@1.service", 0.8),
        ("sockreg-sockops.service", 1.5),
        ("sockreg-interfaces.service", 1.5),
        ("sockreg-files-apply.service", 1.7),
        ("sockreg-etcd.service", 2.4),  # and it speaks to etcd
        ("sockreg-files.service", 2.7),  # it only waits, and asks for no namespaces
        ("sockreg-stalled.service", 1.6),  # it asks the kernel what waits at sockets
        ("sockreg-metrics.service", 1.1),  # it asks the kernel what waits at sockets
    ],
)
def test_exposure(module_box: Sandbox, unit: str, most: float) -> None:
    shown = module_box.run(["systemd-analyze", "security", "--no-pager", unit]).stdout
    level = re.search(rf"Overall exposure level for {re.escape(unit)}: ([0-9.]+)", shown)
    assert level is not None, shown
    assert float(level[1]) <= most, shown


def test_systemd_finds_nothing_to_complain_about(make_box: MakeBox) -> None:
    box = make_box(files=web())
    kinds = ("sockreg@web", "sockreg-add@web", "sockreg-apply@web", "sockreg-settled@web",
             "sockreg", "sockreg-boot@0", "sockreg-booted", "sockreg-files",
             "sockreg-files-apply", "sockreg-etcd")  # fmt: skip
    units = [*(f"{kind}.service" for kind in kinds), "web.socket", "sockreg-files.path"]
    done = box.run(["systemd-analyze", "verify", "--man=no", *units])
    assert done.stdout + done.stderr == ""


@pytest.mark.parametrize(
    ("unit", "capabilities"),
    [
        ("sockreg-add@.service", 0),
        ("sockreg-apply@.service", 1 << CAP_PERFMON | 1 << CAP_BPF | 1 << CAP_NET_ADMIN),
        ("sockreg.service", 1 << CAP_PERFMON | 1 << CAP_BPF | 1 << CAP_NET_ADMIN),
    ],
)
def test_capabilities(make_box: MakeBox, unit: str, capabilities: int) -> None:
    show = "[Service]\nExecStartPost=/usr/bin/grep ^CapBnd /proc/self/status\n"
    box = make_box(files=web() | {f"{UNITS}/{unit}.d/show.conf": show})
    box.systemctl("start", "sockreg@web")  # not enabled: its rules change what is in force
    assert box.ask("127.0.0.1", 80) == "web 127.0.0.1:80"
    assert f"CapBnd:\t{capabilities:016x}" in messages(box, "SYSLOG_IDENTIFIER=grep")


def test_a_loader_that_lost_a_capability_says_which_and_where(make_box: MakeBox) -> None:
    two = "[Service]\nCapabilityBoundingSet=\nCapabilityBoundingSet=CAP_BPF CAP_NET_ADMIN\n"
    box = make_box(files=web() | {f"{UNITS}/sockreg.service.d/10-two.conf": two})
    box.systemctl("start", "sockreg.service", check=False)
    said = "\n".join(messages(box, "_SYSTEMD_UNIT=sockreg.service"))
    assert "this process has no CAP_PERFMON" in said
    assert (
        "'systemctl edit sockreg.service' and add CapabilityBoundingSet=CAP_PERFMON to section "
        "[Service]" in said
    )
    assert box.ask("127.0.0.1", 80) == "refused"
    box.write(f"{UNITS}/sockreg.service.d/override.conf",
              "[Service]\nCapabilityBoundingSet=CAP_PERFMON\n")  # fmt: skip
    box.systemctl("daemon-reload")
    box.systemctl("restart", "sockreg.service")
    box.systemctl("enable", "--now", "sockreg@web")
    assert box.ask("127.0.0.1", 80) == "web 127.0.0.1:80"
