"""What the kernel takes: rule sets of every shape, with three capabilities and no less."""

from __future__ import annotations

import errno
import os
import subprocess

import pytest

from sockreg.errors import EXIT_PERMISSION
from sockreg.kernel import bpf, libbpf
from tests import tree
from tests.kernel import privileges
from tests.kernel.host import Host, bpftool
from tests.large_rulesets import mixed

_LIMITED = ["setpriv", f"--bounding-set=-all,{privileges.LOADING}", "--inh-caps=-all",
            "/usr/bin/python3"]  # fmt: skip

_LOAD = """
import sys
from sockreg import shipped
from sockreg.compile import compile_rules
from sockreg.model import Action, Place
from sockreg.registry import loading
from sockreg.rules.syntax import parse_rule

bindings = []
for number, text in enumerate(sys.stdin.read().splitlines()):
    bindings += parse_rule(Action.BIND, text, f"label{number % 100}", Place("test", number), [])
labels = sorted({b.destination for b in bindings})
tables = compile_rules(bindings, {d: 2 + i for i, d in enumerate(labels)}, interfaces={"lo": 1})
loading.load_program(loading.open_object(shipped.object_path()), tables)
"""

_RULES = {
    "none": [],
    "one": ["tcp 192.0.2.1 80"],
    "each group": ["tcp 192.0.2.0/24 80", "udp 192.0.2.1 *", "tcp ::1 80", "udp 2001:db8::/32 53"],
    "nested": [f"tcp 10.0.0.0/{length} {length + 1}-{length * 900}" for length in range(8, 33)],
    "nested v6": [f"udp 2001:db8::/{length} {length}" for length in range(16, 129)],
    "many ports": ["tcp 192.0.2.1 80,443,90-100,200-300,8000", "tcp 192.0.2.0/24 1-1000"],
    "hosts": [f"tcp 10.{n % 7}.{n % 250}.{n % 249} {n}" for n in range(1, 1000)],
    # Tables of more words than any field of a word but a position can count.
    "20,000": [line.removeprefix("Bind=") for line in mixed(20_000) if line.startswith("Bind=")],
    "200,000": [line.removeprefix("Bind=") for line in mixed(200_000) if line.startswith("Bind=")],
    "source": ["tcp 192.0.2.1 80 from 10.0.0.0/8", "tcp 192.0.2.1 80", "tcp ::1 80 from ::1"],
    "interface": ["tcp 192.0.2.1 80 dev lo", "udp ::/0 * dev lo from 2001:db8::/32"],
}


@pytest.mark.parametrize("rules", _RULES.values(), ids=_RULES.keys())
def test_rules_load(rules: list[str]) -> None:
    done = subprocess.run(
        [*_LIMITED, "-c", _LOAD],
        input="\n".join(rules),
        cwd=tree.public(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


_LOAD_SHAPES = """
from random import Random
from sockreg import shipped
from sockreg.compile import compile_rules
from sockreg.host import release
from sockreg.registry import loading
from tests.rulesets import INTERFACES, adversarial, nested_rules, random_rules, slots

rule_sets = list(adversarial().values())
for seed in range(20):
    rng = Random(seed)
    rule_sets += [nested_rules(rng), random_rules(rng, 200, False), random_rules(rng, 200, True)]
for bindings in rule_sets:
    if release.is_before(5, 17):
        bindings = [binding for binding in bindings if binding.interface is None]
    tables = compile_rules(bindings, slots(bindings), interfaces=INTERFACES)
    loading.load_program(loading.open_object(shipped.object_path()), tables)
"""


def test_every_shape_loads() -> None:
    done = subprocess.run(
        [*_LIMITED, "-c", _LOAD_SHAPES],
        cwd=tree.public(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("missing", privileges.LOADING.split(","))
def test_a_missing_capability_is_named(host: Host, missing: str) -> None:
    host.conf("[web]", "Bind=tcp 192.0.2.0/24 80")
    held = set(privileges.LOADING.split(",")) - {missing}
    refused = privileges.run(host, ",".join(held), "load")
    assert refused.status == EXIT_PERMISSION, refused.text
    name = f"CAP_{missing.removeprefix('+').upper()}"
    assert "takes CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON" in refused.err
    assert f"this process has no {name}\n" in refused.err
    assert len(refused.err.splitlines()) == 2, refused.err
    assert not host.home.exists()


def test_a_change_takes_the_same_capabilities(host: Host) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    host.conf("[web]", "Bind=tcp 192.0.2.0/24 81")
    with host.serve("web", "127.0.0.1", 8080):
        refused = privileges.run(host, "+bpf,+net_admin", "apply")
        assert refused.status == EXIT_PERMISSION, refused.text
        assert "this process has no CAP_PERFMON" in refused.err
        assert [host.ask("192.0.2.7", port) for port in (80, 81)] == ["web", "refused"]
        done = privileges.run(host, privileges.LOADING, "apply")
        assert done.status == 0, done.text
        assert [host.ask("192.0.2.7", port) for port in (80, 81)] == ["refused", "web"]


def test_nobody_can_change_a_table(host: Host) -> None:
    """Neither a program (BPF_F_RDONLY_PROG) nor root by bpf(2), which has frozen it."""
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    pin = str(host.registry / "generations/1/table")
    table = bpf.obj_get(pin)
    try:
        shown = bpftool("map", "show", "pinned", pin)
        assert shown["flags"] & libbpf.MAP_RDONLY_PROG
        assert shown["frozen"] == 1
        with pytest.raises(PermissionError) as refused:
            bpf.map_update(table, bytes(4), bytes(shown["bytes_value"]))
        assert refused.value.errno == errno.EPERM
    finally:
        os.close(table)
