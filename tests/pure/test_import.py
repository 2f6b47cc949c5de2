"""tubular's JSON bindings as a conf file."""

from __future__ import annotations

import json
import random
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from sockreg.cli.main import main
from sockreg.config.ruleset import read_rule_set
from sockreg.errors import EXIT_CONFIG, EXIT_FAILURE, EXIT_OK, EXIT_USAGE, SockregError
from sockreg.model import INET, INET6, TCP, UDP, Packet
from sockreg.rules.oracle import decide
from sockreg.rules.tubular import conf_text, read_document


def document(*bindings: Any) -> bytes:
    return json.dumps({"bindings": bindings}).encode()


def imported(*bindings: Any) -> tuple[list[str], list[str]]:
    """The lines of the conf file, and the remarks without the name of the file."""
    found = read_document(document(*bindings), "old.json")
    assert all(remark.startswith("old.json: ") for remark in found.remarks)
    remarks = [remark.removeprefix("old.json: ") for remark in found.remarks]
    return conf_text(found.entries).splitlines(), remarks


def refusal(content: bytes) -> list[str]:
    with pytest.raises(SockregError) as refused:
        read_document(content, "old.json")
    assert refused.value.status == EXIT_CONFIG
    assert refused.value.hint == "nothing was imported"
    return refused.value.message.splitlines()


def test_each_binding_is_about_tcp_and_udp() -> None:
    lines, remarks = imported(
        {"label": "web", "prefix": "192.0.2.0/24", "port": 80},
        {"label": "dns", "prefix": "2001:db8::/64", "port": 53},
        {"label": "web", "prefix": "198.51.100.7", "port": 0},
    )
    assert lines == [
        "[web]",
        "Bind=tcp 192.0.2.0/24 80",
        "Bind=udp 192.0.2.0/24 80",
        "Bind=tcp 198.51.100.7 *",
        "Bind=udp 198.51.100.7 *",
        "",
        "[dns]",
        "Bind=tcp 2001:db8::/64 53",
        "Bind=udp 2001:db8::/64 53",
    ]
    assert remarks == []


def test_without_a_port_as_in_early_versions() -> None:
    lines, remarks = imported(
        {"label": "foo", "prefix": "127.0.0.1/32"}, {"label": "bar", "prefix": "fd00::/64"}
    )
    assert lines[:3] == ["[foo]", "Bind=tcp 127.0.0.1 *", "Bind=udp 127.0.0.1 *"]
    assert remarks == [
        "2 of 2 bindings have no port and apply to any port, as in early versions of tubular"
    ]


def test_what_is_read_otherwise_than_it_is_written_is_told() -> None:
    lines, remarks = imported(
        {"label": "web", "prefix": "192.0.2.7/24", "port": 80},
        {"label": "web", "prefix": "192.0.2.0/24", "port": 80},
        {"label": "all", "prefix": "::1/64", "port": 0},
    )
    assert lines == [
        "[web]",
        "Bind=tcp 192.0.2.0/24 80",
        "Bind=udp 192.0.2.0/24 80",
        "",
        "[all]",
        "Bind=tcp ::/64 *",
        "Bind=udp ::/64 *",
    ]
    assert remarks == [
        ".bindings[0]: 192.0.2.7/24 has host bits set and is read as 192.0.2.0/24",
        ".bindings[1] repeats .bindings[0]",
        ".bindings[2]: ::1/64 has host bits set and is read as ::/64",
        (
            ".bindings[2]: in tubular, ::/64 also takes IPv4 packets, as addresses such as "
            "::ffff:192.0.2.1; here it does not: bind 0.0.0.0/0 as well if you want them"
        ),
    ]


def test_everything_wrong_is_told_at_once() -> None:
    good = {"label": "web", "prefix": "192.0.2.0/24", "port": 80}
    content = document(
        good,
        {**good, "label": "a:b"},
        {**good, "prefix": "192.0.2.0/33"},
        {**good, "port": 65536},
        {**good, "port": True},
        {**good, "port": "80"},
        {**good, "weight": 3},
        {**good, "label": None},
        {"label": "web", "port": 80},
        "web",
        {**good, "prefix": "::ffff:192.0.2.1"},
        {**good, "label": "other"},
    )
    assert refusal(content) == [
        "old.json: .bindings[1]: the label 'a:b' contains ':'",
        "old.json: .bindings[2]: prefix '192.0.2.0/33': the length must be from 0 to 32",
        "old.json: .bindings[3]: port: expected a number from 0 to 65535",
        "old.json: .bindings[4]: port: expected a number from 0 to 65535",
        "old.json: .bindings[5]: port: expected a number from 0 to 65535",
        "old.json: .bindings[6]: unknown member 'weight': label, port, prefix expected",
        "old.json: .bindings[7]: label: expected a string, not null",
        "old.json: .bindings[8]: prefix is missing",
        "old.json: .bindings[9]: expected an object, not a string",
        (
            "old.json: .bindings[10]: prefix '::ffff:192.0.2.1': IPv4-mapped IPv6 never matches; "
            "write 192.0.2.1"
        ),
        (
            "old.json: .bindings[11]: 192.0.2.0/24 80 is bound to 'other', and to 'web' in "
            ".bindings[0]"
        ),
    ]


def test_very_many_problems_are_summed_up() -> None:
    lines = refusal(document(*[{}] * 50))
    assert len(lines) == 21
    assert lines[-1] == "and 30 more"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (
            b'{"bindings": [\n  {"label" "web"}]}',
            "old.json:2:12: not JSON: Expecting ':' delimiter",
        ),
        (b'{"bindings": []} {}', "old.json:1:18: not JSON: Extra data"),
        (b'{"bindings":\n"\xff"}', "old.json:2: not UTF-8"),
        (b"[]", "old.json: expected an object, not a list"),
        (b"{}", "old.json: .bindings: expected a list, not null"),
        (b'{"bindings": {}}', "old.json: .bindings: expected a list, not an object"),
        (b'{"rules": []}', "old.json: unknown member 'rules': bindings expected"),
        (
            b'{"bindings": [{"label": "a", "prefix": "::1", "port": 1, "Port": 2}]}',
            "old.json: .bindings[0]: member 'Port' is given twice",
        ),
    ],
)
def test_no_such_document(content: bytes, problem: str) -> None:
    assert refusal(content) == [problem]


@pytest.mark.parametrize("content", [b"[" * 100_000, b"1" * 5000], ids=["deep", "huge"])
def test_what_is_too_much_for_the_parser(content: bytes) -> None:
    (problem,) = refusal(content)
    assert problem.startswith("old.json: cannot be read as JSON: ")


def test_names_are_read_as_go_reads_them() -> None:
    content = b'\xef\xbb\xbf{"Bindings": [{"LABEL": "a", "Prefix": "::1", "port": 1}]}'
    assert read_document(content, "old.json").entries == [("a", "::1", "1")]


# What a packet meets


def tubular_says(bindings: list[dict[str, Any]], packet: Packet) -> str | None:
    """The label that tubular's program gives a packet to.

    It looks up its address with the packet's port and with port 0, the longest prefix each
    time. Of the two the longer one wins, and the one with the port if they are as long.
    """
    address = ip_address(packet.address.to_bytes(4 if packet.family == INET else 16, "big"))
    matching = [
        (ip_network(it["prefix"], strict=False).prefixlen, it["port"], it["label"])
        for it in bindings
        if address in ip_network(it["prefix"], strict=False) and it["port"] in (0, packet.port)
    ]
    return max(matching)[2] if matching else None


@pytest.mark.parametrize("seed", range(20))
def test_every_packet_goes_where_tubular_gave_it(seed: int, tmp_path: Path) -> None:
    source = random.Random(seed)
    found: dict[tuple[Any, int], dict[str, Any]] = {}
    for _ in range(60):
        if source.random() < 0.5:
            prefix = f"192.0.{source.randrange(4)}.{source.randrange(8)}/{source.randint(20, 32)}"
        else:
            prefix = (
                f"2001:db8::{source.randrange(4)}:{source.randrange(8)}/{source.randint(100, 128)}"
            )
        port = source.choice([0, 53, 80])
        binding = {"label": f"label {source.randrange(9)}", "prefix": prefix, "port": port}
        found.setdefault((ip_network(prefix, strict=False), port), binding)
    bindings = list(found.values())
    conf = tmp_path / "etc/sockreg/old.conf"
    conf.parent.mkdir(parents=True)
    conf.write_text(conf_text(read_document(document(*bindings), "old.json").entries))
    rules = read_rule_set(str(tmp_path)).bindings
    assert len(rules) == 2 * len(bindings)
    outcomes = set()
    for _ in range(300):
        text = (
            f"192.0.{source.randrange(5)}.{source.randrange(9)}"
            if source.random() < 0.5
            else f"2001:db8::{source.randrange(5)}:{source.randrange(9)}"
        )
        packet = Packet(
            source.choice([TCP, UDP]),
            INET6 if ":" in text else INET,
            int(ip_address(text)),
            source.choice([53, 80, 443]),
        )
        winner = decide(rules, packet)
        assert (winner.label if winner else None) == tubular_says(bindings, packet), packet
        outcomes.add(winner)
    assert len(outcomes) > 10


# The command


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(["import", "tubular", *arguments])
    told = capsys.readouterr()
    return status, told.out, told.err


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "old.json"
    path.write_bytes(document({"label": "web", "prefix": "192.0.2.7/24", "port": 80}))
    return path


def test_the_file_goes_to_standard_output(capsys: pytest.CaptureFixture[str], old: Path) -> None:
    status, out, err = run(capsys, str(old))
    assert status == EXIT_OK
    assert out.splitlines() == [
        f"# Imported from tubular's bindings in '{old}'.",
        "",
        "[web]",
        "Bind=tcp 192.0.2.0/24 80",
        "Bind=udp 192.0.2.0/24 80",
    ]
    assert err == (
        f"sockreg: note: {old}: .bindings[0]: 192.0.2.7/24 has host bits set and is read as "
        "192.0.2.0/24\n"
    )


def test_a_file_that_exists_is_replaced_only_by_force(
    capsys: pytest.CaptureFixture[str], old: Path, tmp_path: Path
) -> None:
    conf = tmp_path / "etc/sockreg/old.conf"
    status, out, _ = run(capsys, str(old), "--output", str(conf))
    assert status == EXIT_OK
    assert out == (
        f"wrote {conf}: 2 rules to 1 label; 'sockreg apply --check' says what they change\n"
    )
    assert len(read_rule_set(str(tmp_path)).bindings) == 2
    conf.write_text("mine\n")
    status, _, err = run(capsys, str(old), "--output", str(conf))
    assert status == EXIT_USAGE
    assert err.splitlines()[0] == f"sockreg: {conf} already exists"
    assert conf.read_text() == "mine\n"
    assert run(capsys, str(old), "--output", str(conf), "--force")[0] == EXIT_OK
    assert len(read_rule_set(str(tmp_path)).bindings) == 2


def test_nothing_is_written_if_anything_is_wrong(
    capsys: pytest.CaptureFixture[str], old: Path, tmp_path: Path
) -> None:
    good = {"label": "web", "prefix": "192.0.2.0/24", "port": 80}
    old.write_bytes(document(good, {**good, "prefix": "192.0.2"}))
    conf = tmp_path / "old.conf"
    status, out, err = run(capsys, str(old), "--output", str(conf))
    assert (status, out) == (EXIT_CONFIG, "")
    assert err.startswith(f"sockreg: {old}: .bindings[1]: prefix '192.0.2': ")
    assert not conf.exists()


def test_what_cannot_be_read_or_makes_no_sense(
    capsys: pytest.CaptureFixture[str], old: Path
) -> None:
    status, _, err = run(capsys, f"{old}.not")
    assert status == EXIT_FAILURE
    assert err == f"sockreg: {old}.not: cannot be read: No such file or directory\n"
    status, _, err = run(capsys, str(old), "--force")
    assert (status, err) == (EXIT_USAGE, "sockreg: --force only applies to --output\n")
