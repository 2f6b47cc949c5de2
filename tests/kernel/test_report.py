"""``sockreg report``: the page says what the other commands say, and needs nothing else."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from xml.etree import ElementTree

from sockreg.errors import EXIT_NOT_LOADED, EXIT_USAGE
from tests.kernel.host import Host
from tests.kernel.pool import Pool
from tests.kernel.test_flows import start
from tests.kernel.test_hostile_names import HOSTILE, LABEL, named
from tests.netns import UDP

__all__ = ["named"]

SETS = ["[:prefixes]", "all=192.0.2.1 192.0.2.4-192.0.2.7", "lost=192.0.2.9"]
RULES = [
    "[web]", "Bind=tcp 192.0.2.0/24 80", "Bind=tcp 192.0.2.9 90 dev eth9",
    "[lacking]", "Bind=tcp 192.0.2.0/24 443",
]  # fmt: skip


def read(page: str) -> ElementTree.Element:
    return ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>"))


def rows(page: ElementTree.Element, heading: str) -> list[list[str]]:
    """The cells of the table below a heading."""
    body = list(page.find("body") or ())
    (at,) = (at for at, part in enumerate(body) if part.text == heading)
    return [["".join(cell.itertext()) for cell in row] for row in body[at + 1].iter("tr")]


def test_what_it_shows(host: Host) -> None:
    host.load(*RULES)
    with (
        host.serve("web", "127.0.0.1", 8080, unit="web.socket"),
        host.namespace.serve("plain", "0.0.0.0", 80),
    ):
        for _ in range(3):
            assert host.ask("192.0.2.7", 80) == "web"
        page = read(host.ok("report"))
        cookie = host.json("status")["destinations"][1]["members"][0]["cookie"]
    text = " ".join("".join(page.itertext()).split())
    assert "Bind=tcp 192.0.2.0/24 443 points to label lacking (tcp, IPv4), which has no socket" in (
        text
    )
    assert "3 lookups" in text
    assert rows(page, "Labels")[1:] == [
        ["lacking", "tcp", "ipv4", "1", "0", "0", "0", "0"],
        ["web", "tcp", "ipv4", "1", "1", "3", "0", "0"],
    ]
    (member,) = rows(page, "Sockets and their health")[1:]
    assert member[:6] == ["web", cookie, "tcp 127.0.0.1:8080", "web.socket", "100", "0"]
    assert [row[:3] for row in rows(page, "Rules in force")[1:]] == [
        ["bind", "web", "tcp 192.0.2.0/24 80"],
        ["bind", "web", "tcp 192.0.2.9 90 dev eth9"],
        ["bind", "lacking", "tcp 192.0.2.0/24 443"],
    ]
    assert "pending: bind web: tcp 192.0.2.9 90 dev eth9" in text
    (plain,) = (row for row in rows(page, "What else listens") if row[1] == "0.0.0.0:80")
    assert "192.0.2.0/24" in plain[-1]
    (image,) = page.iter("img")
    kind, _, data = image.attrib["src"].partition(",")
    assert kind == "data:image/svg+xml;base64"
    assert "web.socket" in base64.b64decode(data).decode()


def test_sets_ends_and_flows(host: Host) -> None:
    until = "until=2199-01-02T03:04:05Z"
    path = host.conf(
        *SETS, "[dns]", "Bind=udp @all 53", f"Bind=tcp @all 53 {until}", name="sets.conf"
    )
    start(host, "Flows=sticky")
    with Pool(host, UDP) as pool:
        pool.add(1)
        assert set(pool.flows(7)) == {"web1"}
        page = read(host.ok("report"))
        assert f"until {until[6:]}" in host.ok("listeners")
        (rule,) = {it["until"] for it in host.json("listeners")["steered"] if it["until"]}
        assert rule == until[6:] == host.json("explain", "tcp", "192.0.2.5", "53")["until"]
    assert rows(page, "Sets of prefixes")[1:] == [
        ["@all", "2", "192.0.2.1, 192.0.2.4/30", f"{path}:2", f"{path}:5, {path}:6"],
        ["@lost", "1", "192.0.2.9", f"{path}:3", "nothing"],
    ]
    found = {row[2]: row[4] for row in rows(page, "Rules in force")[1:]}
    assert found["udp 192.0.2.1 53"] == "-"
    assert found["tcp 192.0.2.4/30 53"].startswith(f"{until[6:]}, ")
    head, member = rows(page, "Sockets and their health")
    assert member[head.index("flows")] == "7"
    assert "7 UDP flows with a member, room for " in "".join(page.itertext())


def test_it_needs_nothing_and_runs_nothing_whatever_the_names(named: Host) -> None:
    page = named.ok("report")
    assert "<script" not in page
    assert not re.search(r"""(src|href|url)\s*[=(]\s*["']?(?!data:)[^"'\s]*:""", page)
    there = read(page)
    shown = "".join(there.itertext())
    assert LABEL in shown
    assert r"\x1b[2Jb\u202e" in shown
    assert HOSTILE not in shown
    assert {part.tag for part in there.iter()} <= {
        "html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "b", "ul", "li", "div",
        "code", "pre", "img", "table", "thead", "tbody", "tr", "th", "td",
    }  # fmt: skip


def test_more_rules_than_a_page_shows(host: Host) -> None:
    host.load("[web]", *(f"Bind=tcp 192.0.{at // 250}.{at % 250} 80" for at in range(1500)))
    page = host.ok("report")
    assert len(rows(read(page), "Rules in force")) == 1001
    assert "and 500 more rules: <code>sockreg rules</code>" in page


def test_where_it_goes(host: Host, tmp_path: Path) -> None:
    assert host.run("report").status == EXIT_NOT_LOADED
    host.load(*RULES)
    target = tmp_path / "report.html"
    assert host.ok("report", "--output", str(target)) == ""
    assert target.read_text().startswith("<!DOCTYPE html>")
    assert [path.name for path in tmp_path.glob("*report*")] == ["report.html"]
    assert "No such file" in host.run("report", "--output", str(tmp_path / "a/b.html")).err
    assert "take --json" in host.fails(EXIT_USAGE, "--json", "report")
    host.ok("unload", "--keep")
    assert "Nothing is in force" in host.ok("report")
