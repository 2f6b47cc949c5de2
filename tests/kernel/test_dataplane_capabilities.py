"""The program loads with the capabilities that its unit gives it, and no more."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.bench.rulesets import mixed

_DROP = ["setpriv", "--bounding-set=-all,+bpf,+net_admin", "--inh-caps=-all"]

_LOAD = """
import sys
from sockreg.kernel import shipped
from sockreg.compile import compile_rules
from sockreg.model import Action, Place
from sockreg.registry import generations
from sockreg.rules.syntax import parse_rule

bindings = []
for number, text in enumerate(sys.stdin.read().splitlines()):
    bindings += parse_rule(Action.BIND, text, f"label{number % 100}", Place("test", number), [])
labels = sorted({b.destination for b in bindings})
tables = compile_rules(bindings, {d: 2 + i for i, d in enumerate(labels)}, interfaces={"lo": 1})
generations.load(generations.open_object(shipped.object_path()), tables)
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
def test_loads_with_two_capabilities(rules: list[str]) -> None:
    """CAP_BPF and CAP_NET_ADMIN: without CAP_PERFMON the verifier is at its strictest."""
    done = subprocess.run(
        [*_DROP, sys.executable, "-c", _LOAD],
        input="\n".join(rules),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


_LOAD_SHAPES = """
from random import Random
from sockreg.kernel import shipped
from sockreg.compile import compile_rules
from sockreg.registry import generations
from tests.rulesets import INTERFACES, adversarial, nested_rules, random_rules, slots

rule_sets = list(adversarial().values())
for seed in range(20):
    rng = Random(seed)
    rule_sets += [nested_rules(rng), random_rules(rng, 200, False), random_rules(rng, 200, True)]
for bindings in rule_sets:
    tables = compile_rules(bindings, slots(bindings), interfaces=INTERFACES)
    generations.load(generations.open_object(shipped.object_path()), tables)
"""


def test_every_shape_loads_with_two_capabilities() -> None:
    done = subprocess.run(
        [*_DROP, sys.executable, "-c", _LOAD_SHAPES], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
