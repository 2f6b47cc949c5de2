"""What the measurements are made of: rule sets, frames, verdicts, plots."""

from __future__ import annotations

import struct
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest

from sockreg.model import Action, Binding, Place
from sockreg.rules.precedence import settle
from sockreg.rules.syntax import parse_rule
from tests import large_rulesets
from tests.bench import apply, contenders, frames, plots, report, startup, swap
from tests.netns import TCP, UDP

pytestmark = pytest.mark.bench


def _parsed(lines: list[str]) -> list[Binding]:
    found: list[Binding] = []
    label = ""
    for number, line in enumerate(lines, 1):
        if line.startswith("["):
            label = line[1:-1]
        else:
            rule = line.removeprefix("Bind=")
            found += parse_rule(Action.BIND, rule, label, Place("rules", number), [])
    return found


@pytest.mark.parametrize("count", [1, 10, 3_000])
def test_rule_sets_have_so_many_different_rules_and_no_ties(count: int) -> None:
    bindings = _parsed(large_rulesets.mixed(count))
    kept, ties = settle(bindings)
    assert len(kept) == len(bindings) == count
    assert not ties
    assert (
        large_rulesets.mixed(count)
        == large_rulesets.mixed(count)
        != large_rulesets.mixed(count, seed=2)
    )


def test_rule_sets_without_ranges_name_one_port_or_any() -> None:
    for binding in _parsed(large_rulesets.mixed(500, ranges=False)):
        assert binding.first == binding.last or (binding.first, binding.last) == (0, 65535)


@pytest.mark.parametrize("protocol", [TCP, UDP])
@pytest.mark.parametrize(
    ("source", "target", "header"),
    [("198.18.0.1", "192.0.2.1", 20), ("2001:2::1", "3fff::1", 40)],
)
def test_frames_are_whole(protocol: int, source: str, target: str, header: int) -> None:
    made = frames.flood_of(protocol, source, target, 80, 100)
    assert len(set(made)) == 100
    assert len({len(frame) for frame in made}) == 1
    for frame in made:
        packet = frame[14:]
        addresses = packet[12:20] if header == 20 else packet[8:40]
        if header == 20:
            assert _sum(packet[:20]) == 0xFFFF
        segment = packet[header:]
        pseudo = addresses + struct.pack("!HH", protocol, len(segment))
        assert _sum(pseudo + segment) == 0xFFFF
        assert struct.unpack_from("!H", segment, 2) == (80,)


def _sum(content: bytes) -> int:
    """The ones' complement sum of RFC 1071: 0xffff where a checksum is right."""
    content += b"\0" * (len(content) % 2)
    total: int = sum(struct.unpack(f"!{len(content) // 2}H", content))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def test_verdicts(capsys: pytest.CaptureFixture[str]) -> None:
    aims = [report.at_most("apply", found, 2.5, "{:.1f} s") for found in (2.5, 2.6)]
    table = report.Table("Times", ("RULES", "SECONDS"), [["1,000", "2.5"]], ["A note."])
    report.show(report.Part("apply", [table], None, aims))
    assert capsys.readouterr().out.splitlines() == [
        "",
        "Times",
        "",
        "RULES  SECONDS",
        "1,000  2.5",
        "A note.",
        "",
        "met      apply: at most 2.5 s (2.5 s)",
        "NOT MET  apply: at most 2.5 s (2.6 s)",
    ]


def test_rounds_are_compared_with_their_own_neighbour() -> None:
    assert report.ratios([2.0, 20.0, 200.0], [1.0, 10.0, 100.0]) == (2.0, 2.0, 2.0)
    assert report.spread([7.0]) == (7.0, 7.0, 7.0)


def test_an_answer_that_neither_rule_set_gives_is_wrong() -> None:
    met = Counter(
        {
            ("192.0.2.1", "one"): 5,
            ("192.0.2.1", "two"): 5,
            ("192.0.2.1", "ordinary"): 1,
            ("192.0.2.129", "two"): 2,
            ("2001:db8::1", "refused"): 3,
        }
    )
    load = swap.Load("swaps", 1, {TCP: swap.Asked(met, 0.0)})
    assert load.wrong(TCP) == {"ordinary": 1, "two": 2, "refused": 3}


LINES_FIGURES = [
    {
        "rules": rules,
        "hot": [
            {"name": name, "kind": kind, "hit": hit,
             "nanoseconds": {"peer": 60.0, "sockreg": 30.0, "one_rule": 25.0, "empty": 20.0}}
            for kind in ("IPv4 tcp", "IPv6 tcp")
            for name, hit in (("host, one port", True), ("far miss", False))
        ],
        "streams": {kind: {"peer": 900.0, "sockreg": 90.0, "empty": 20.0}
                    for kind in ("IPv4", "IPv6")},
    }
    for rules in (1, 1_000)
]  # fmt: skip
FIGURES = {
    "machine": "a machine <with> a name",
    "date": "2026-01-02",
    "parts": {
        "lookup": {"figures": LINES_FIGURES},
        "apply": {
            "figures": [
                {"rules": rules, "rounds": [[1.5], [1.25]],
                 "steps": dict.fromkeys(apply.STEPS, 0.5)}
                for rules in (1_000, 100_000)
            ]
        },
        "fullpath": {
            "figures": [
                {"flood": flood, "contender": contender,
                 "change": {"median": change, "low": change - 0.01, "high": change + 0.01}}
                for flood in ("TCP SYN, IPv4", "UDP, IPv6")
                for contender, change in ((contenders.ORDINARY, 0.0), (contenders.EMPTY, 0.002),
                                          (contenders.STEERED, -0.05))
            ]
        },
    },
}  # fmt: skip


def test_plots_have_all_names_and_values_as_text(tmp_path: Path) -> None:
    drawn = {path.name: _texts(path.read_text()) for path in plots.draw(FIGURES, tmp_path)}
    assert set(drawn) == {
        "bench-lookup-hot.svg",
        "bench-lookup-streaming.svg",
        "bench-apply.svg",
        "bench-fullpath.svg",
    }, "of parts that were measured, and of no others"
    for texts in drawn.values():
        assert "a machine <with> a name; 2026-01-02" in " ".join(texts)
    assert {"sockreg, IPv4", "sockreg, IPv6", "one hard-coded rule", "empty program", "1,000",
            "rules"} <= drawn["bench-lookup-hot.svg"]  # fmt: skip
    assert {"sockreg, IPv4", "design (c), two trie walks, IPv6"} <= (
        drawn["bench-lookup-streaming.svg"]
    )
    assert {*apply.STEPS, "the whole command"} <= drawn["bench-apply.svg"]
    bars = drawn["bench-fullpath.svg"]
    assert {"UDP, IPv6", contenders.EMPTY, "-0.2 %", contenders.STEERED, "5.0 %"} <= bars
    assert contenders.ORDINARY not in bars, "what the others are compared with"


def test_the_same_figures_make_the_same_plots(tmp_path: Path) -> None:
    one, two = (
        [path.read_bytes() for path in plots.draw(FIGURES, tmp_path / name)]
        for name in ("one", "two")
    )
    assert one == two


def _texts(picture: str) -> set[str]:
    root = ElementTree.fromstring(picture)
    return {it.text or "" for it in root.iter() if it.tag.endswith("text")}


def test_the_verdict_of_a_start_up_is_that_of_the_ratio() -> None:
    times = {startup.BARE: [10.0, 10.0, 10.0], startup.COMPANION: [16.0, 16.0, 16.0]}
    assert startup.verdict(startup.figures(times)) == "met (1.60)"
    times[startup.COMPANION] = [16.1, 16.1, 16.1]
    assert startup.verdict(startup.figures(times)) == "not met (1.61)"
