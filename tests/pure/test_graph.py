"""The picture: what is in it, that it can be read, and that it is a picture."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import pytest

from sockreg.model import Action, Binding, Place
from sockreg.rules.syntax import parse_words
from sockreg.views.dot import dot
from sockreg.views.drawing import svg
from sockreg.views.graph import BANDS_MAX, ROWS_MAX, Graph, arrange
from sockreg.views.status import Counters, DestinationStatus, Member, Status
from tests.process import run

SVG = "{http://www.w3.org/2000/svg}"


def rules(label: str, text: str, action: Action = Action.BIND) -> list[Binding]:
    return parse_words(action, text.split(), label, Place("/etc/sockreg/x.conf", 1), [])


def destination(
    label: str,
    *units: str,
    protocol: str = "tcp",
    family: str = "ipv4",
    counters: tuple[int, int, int] = (0, 0, 0),
    weights: tuple[int, ...] = (),
) -> DestinationStatus:
    members = [
        Member(
            cookie=f"sk:{at + 1:x}",
            address=f"127.0.0.1:{8080 + at}",
            unit=unit,
            weight=weight,
            registered=0,
            slot=0,
        )
        for at, (unit, weight) in enumerate(zip(units, weights or [100] * len(units), strict=True))
    ]
    return DestinationStatus(
        label=label,
        protocol=protocol,
        family=family,
        rules=1,
        members=members,
        counters=Counters(*counters),
        slot=0,
    )


def seen(*destinations: DestinationStatus, rejected: int = 0) -> Status:
    return Status(
        registry="",
        netns=4711,
        program=None,
        generation=3,
        header=None,
        applied=None,
        destinations=list(destinations),
        rejected=rejected,
        units=[],
        expected=None,
        others=None,
    )


SMALL = arrange(
    [
        *rules("web", "tcp 192.0.2.0/24 80,443,8000-8099"),
        *rules("web", "tcp 2001:db8::/64 80 from 2001:db8:1::/48"),
        *rules("dns", "udp 192.0.2.53 53 missing=pass"),
        *rules("web.socket", "tcp 192.0.2.9 *", Action.REJECT),
        *rules("", "tcp 0.0.0.0/0 22", Action.PASS),
    ],
    seen(
        destination("web", "web@1.socket", "web@2.socket", counters=(1234, 0, 0), weights=(100, 0)),
        destination("web", "web@1.socket", "web@2.socket", family="ipv6", weights=(100, 0)),
        destination("dns", protocol="udp", counters=(7, 7, 0)),
        destination('idle "<&\\', "idle.socket"),
        rejected=9,
    ),
)


def many(labels: int, prefixes: int) -> Graph:
    """That many labels with that many prefixes each."""
    names = [f"service-{number}" for number in range(labels)]
    bindings = [
        binding
        for at, name in enumerate(names)
        for number in range(prefixes)
        for binding in rules(name, f"tcp 10.{at}.{number}.0/24 80,443")
    ]
    return arrange(
        bindings,
        seen(
            *(
                destination(name, f"{name}.socket", counters=(at, 0, 0))
                for at, name in enumerate(names)
            )
        ),
    )


GRAPHS = {
    "small": SMALL,
    "nothing": arrange([], seen()),
    "50 rules": many(5, 5),
    "one label": many(1, 250),
    "crowd": many(200, 3),
}
every_graph = pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS.keys())


# What is in it


def test_bands() -> None:
    dns, idle, web, passed, rejected = SMALL.bands
    assert web.rows == [
        "tcp 192.0.2.0/24 80, 443, 8000-8099",
        "tcp 2001:db8::/64 80 from 2001:db8:1::/48",
    ]
    assert web.rules == 4
    assert [(it.unit, it.weight) for it in web.sockets] == [
        ("web@1.socket", 100),
        ("web@2.socket", 0),
    ]
    assert [(it.family, it.lookups) for it in web.counts] == [("ipv4", 1234), ("ipv6", 0)]
    assert dns.rows == ["udp 192.0.2.53 53 missing=pass"]
    assert (dns.sockets, dns.counts[0].misses) == ([], 7)
    assert (idle.rules, len(idle.sockets)) == (0, 1)
    assert (passed.kind, passed.rows) == ("pass", ["tcp 0.0.0.0/0 22"])
    assert (rejected.kind, rejected.rows) == ("reject", ["tcp 192.0.2.9 *"])
    assert (SMALL.rules, SMALL.rejected, SMALL.hidden) == (7, 9, 0)


def test_fifty_rules_are_shown_in_full() -> None:
    graph = GRAPHS["50 rules"]
    assert graph.rules == 50
    assert [len(band.rows) for band in graph.bands] == [5] * 5
    assert not any(band.hidden for band in graph.bands)


def test_too_much_is_summed_up() -> None:
    (band,) = GRAPHS["one label"].bands
    assert len(band.rows) + 1 == ROWS_MAX
    assert len(band.rows) + band.hidden == 250
    crowd = GRAPHS["crowd"]
    assert len(crowd.bands) == BANDS_MAX
    assert crowd.hidden == 200 - BANDS_MAX
    # Those with the most traffic stay.
    assert {band.name for band in crowd.bands} == {f"service-{n}" for n in range(160, 200)}
    assert all(len(band.rows) == 1 and band.hidden == 2 for band in crowd.bands)


# That it can be read


class Box(NamedTuple):
    left: float
    top: float
    right: float
    bottom: float


def boxes(picture: ElementTree.Element) -> list[Box]:
    """All rectangles but the paper."""
    found = []
    for it in picture.iter(f"{SVG}rect"):
        if it.get("class") != "paper":
            x, y, width, height = (float(it.attrib[name]) for name in ("x", "y", "width", "height"))
            found.append(Box(x, y, x + width, y + height))
    return found


@every_graph
def test_boxes_stand_apart_on_the_paper(graph: Graph) -> None:
    picture = ElementTree.fromstring(svg(graph))
    for one, other in combinations(boxes(picture), 2):
        beside = one.right < other.left or other.right < one.left
        assert beside or one.bottom < other.top or other.bottom < one.top, (one, other)
    width, height = float(picture.attrib["width"]), float(picture.attrib["height"])
    assert all(it.left > 0 and it.right < width for it in boxes(picture))
    assert all(it.top > 0 and it.bottom < height for it in boxes(picture))


@every_graph
def test_text_stays_in_its_box(graph: Graph) -> None:
    picture = ElementTree.fromstring(svg(graph))
    outlines = boxes(picture)
    for text in picture.iter(f"{SVG}text"):
        x, y = float(text.attrib["x"]), float(text.attrib["y"])
        around = [it for it in outlines if it.left < x < it.right and it.top < y < it.bottom]
        if not around:  # a heading or the caption
            continue
        shown = (text.text or "") + "".join(part.tail or "" for part in text)
        size = 12 if text.get("class") in {"small", "bad"} else 13
        # 0.602: the advance of DejaVu Sans Mono and Liberation Mono.
        assert x + 0.602 * size * len(shown) <= around[0].right, shown


@every_graph
def test_a_program_can_draw_it(graph: Graph, tmp_path: Path) -> None:
    source, picture = tmp_path / "graph.svg", tmp_path / "graph.png"
    source.write_text(svg(graph))
    done = run(["rsvg-convert", str(source), "-o", str(picture)])
    assert done.stderr == ""
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_what_is_long_is_told_in_full_to_those_who_point_at_it() -> None:
    ports = ",".join(str(port) for port in range(1000, 1100, 2))
    graph = arrange(rules("web", f"tcp 192.0.2.0/24 {ports}"), seen(destination("web")))
    titles = [it.text for it in ElementTree.fromstring(svg(graph)).iter(f"{SVG}title")]
    assert f"tcp 192.0.2.0/24 {ports.replace(',', ', ')}" in titles


def test_faults_stand_out() -> None:
    picture = ElementTree.fromstring(svg(SMALL))
    bad = [it.text for it in picture.iter(f"{SVG}text") if it.get("class") == "bad"]
    assert bad == ["udp ipv4 7, 7 without a socket", "its packets are refused", "9 packets refused"]


# For Graphviz


@every_graph
def test_graphviz_takes_it(graph: Graph) -> None:
    drawn = run(["dot", "-Tplain"], text=dot(graph)).stdout
    nodes = [line for line in drawn.splitlines() if line.startswith("node ")]
    assert len([line for line in nodes if " label" in line]) == len(graph.bands)


def test_graphviz_shows_the_same() -> None:
    drawn = run(["dot", "-Tsvg"], text=dot(SMALL)).stdout
    texts = {it.text for it in ElementTree.fromstring(drawn).iter(f"{SVG}text")}
    assert {"web", "1234 lookups", "web@1.socket", "no socket", "9 refused", 'idle "<&\\'} <= texts
    assert "tcp 192.0.2.0/24 80, 443, 8000-8099" in {re.sub("\xa0", " ", it or "") for it in texts}
