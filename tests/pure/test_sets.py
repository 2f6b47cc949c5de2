"""Sets of prefixes: what they are made of, and what is wrong with them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

import pytest

from sockreg.compile import compile_rules
from sockreg.config.ruleset import examine_rule_set, read_rule_set, read_sound
from sockreg.errors import ConfigError
from sockreg.model import INET, TCP, Packet
from sockreg.rules.oracle import decide
from sockreg.rules.syntax import format_rule
from tests.pure.emulator import look_up
from tests.rulesets import destination_of, slots

CONF = "etc/sockreg"
UNITS = "etc/systemd/system"


def write(root: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def rules(root: Path, files: Mapping[str, str], active: tuple[str, ...] = ()) -> list[str]:
    write(root, files)
    return [f"{it.label}: {format_rule(it)}" for it in read_rule_set(str(root), active).bindings]


def problems(root: Path, files: Mapping[str, str]) -> list[str]:
    write(root, files)
    with pytest.raises(ConfigError) as caught:
        read_rule_set(str(root))
    return caught.value.message.replace(f"{root}/", "").splitlines()


def test_a_set_is_its_prefixes_wherever_it_is(tmp_path: Path) -> None:
    """Files are read in the order of their names, and the sets of all before any rule."""
    found = rules(tmp_path, {
        f"{CONF}/10-rules.conf": "[web]\nBind=tcp @anycast 443\nBind=tcp 192.0.2.7,@one 80\n",
        f"{CONF}/20-sets.conf": "[:prefixes]\nanycast=192.0.2.0/24 2001:db8::/32\n",
        f"{CONF}/30-sets.conf": "[:prefixes]\nanycast=198.51.100.0-198.51.100.5\none=@two\n"
                                "two=203.0.113.9\n",
    })  # fmt: skip
    assert found == [
        "web: tcp 192.0.2.0/24 443",
        "web: tcp 2001:db8::/32 443",
        "web: tcp 198.51.100.0/30 443",
        "web: tcp 198.51.100.4/31 443",
        "web: tcp 192.0.2.7 80",
        "web: tcp 203.0.113.9 80",
    ]


def test_units_name_sets(tmp_path: Path) -> None:
    found = rules(tmp_path, {
        f"{CONF}/sets.conf": "[:prefixes]\nall=192.0.2.0/24\n",
        f"{UNITS}/web.socket": "[Socket]\nListenStream=8080\n[X-Sockreg]\n"
                               "Bind=tcp @all https\nReject=udp @all *\n",
    }, ("web.socket",))  # fmt: skip
    assert found == ["web.socket: tcp 192.0.2.0/24 443", "web.socket: udp 192.0.2.0/24 *"]


def test_an_empty_value_drops_what_was_before(tmp_path: Path) -> None:
    found = rules(tmp_path, {
        f"{CONF}/a.conf": "[:prefixes]\nall=192.0.2.1 192.0.2.2\n[web]\nBind=tcp @all 80\n",
        f"{CONF}/b.conf": "[:prefixes]\nall=\nall=192.0.2.3\n",
    })  # fmt: skip
    assert found == ["web: tcp 192.0.2.3 80"]


def test_a_set_of_a_file(tmp_path: Path) -> None:
    found = rules(tmp_path, {
        f"{CONF}/a.conf": "[:prefixes]\nall=file:/etc/lists/all.txt\n[web]\nBind=tcp @all 80\n",
        "etc/lists/all.txt": "# ours\n192.0.2.1 # one\n\n192.0.2.4-192.0.2.5\n192.0.2.1/32\n",
    })  # fmt: skip
    assert found == ["web: tcp 192.0.2.1 80", "web: tcp 192.0.2.4/31 80"]


def test_a_set_of_a_file_that_another_system_wrote(tmp_path: Path) -> None:
    (tmp_path / "all.txt").write_bytes(
        b"\xef\xbb\xbf192.0.2.1\r\n\r\n192.0.2.3, # two\r\n2001:db8::1"
    )
    found = rules(tmp_path, {
        f"{CONF}/a.conf": "\ufeff[:prefixes]\r\nall=file:/all.txt\r\n[web]\r\nBind=tcp @all 80\r\n",
    })  # fmt: skip
    assert found == ["web: tcp 192.0.2.1 80", "web: tcp 192.0.2.3 80", "web: tcp 2001:db8::1 80"]


def test_commas_separate_the_items_of_a_set_as_well(tmp_path: Path) -> None:
    found = rules(tmp_path, {
        f"{CONF}/a.conf": "[:prefixes]\none=192.0.2.1,192.0.2.3, 192.0.2.5\n"
                          "all=@one,::1,file:/a,b\n"
                          "[web]\nBind=tcp @all 80\n",
        "a,b": "192.0.2.7\n",
    })  # fmt: skip
    assert [it.split()[2] for it in found] == [
        "192.0.2.1", "192.0.2.3", "192.0.2.5", "::1", "192.0.2.7"
    ]  # fmt: skip


def test_a_file_of_prefixes_names_no_sets(tmp_path: Path) -> None:
    (said,) = problems(tmp_path, {
        f"{CONF}/a.conf": "[:prefixes]\none=192.0.2.1\nall=file:/all\n", "all": "192.0.2.3\n@one\n",
    })  # fmt: skip
    assert said == f"{CONF}/a.conf:3: set all: all:2: @one: only conf files name sets"


def test_a_file_of_a_set_that_is_not_there(tmp_path: Path) -> None:
    (said,) = problems(tmp_path, {f"{CONF}/a.conf": "[:prefixes]\nall=file:/none\n"})
    assert said.startswith(f"{CONF}/a.conf:2: set all: ")
    assert said.endswith("none: cannot be read: No such file or directory")


def test_an_empty_set_makes_no_rule_and_says_so(tmp_path: Path) -> None:
    write(tmp_path, {f"{CONF}/a.conf": "[:prefixes]\nall=\n[web]\nBind=tcp @all 80\n"})
    found = read_rule_set(str(tmp_path))
    assert found.bindings == []
    assert [notice.text for notice in found.notices] == ["set @all is empty"]


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        ("", ["a.conf:2: Bind=tcp @all 80: there is no set @all"]),
        ("office=192.0.2.1", ["a.conf:2: Bind=tcp @all 80: there is no set @all"]),
        ("al=192.0.2.1", ["a.conf:2: Bind=tcp @all 80: there is no set @all; did you mean @al?"]),
        ("all=192.0.2.300", [
            ("a.conf:2: Bind=tcp @all 80: set @all of ROOT/etc/sockreg/b.conf:2: prefix "
            "'192.0.2.300': expected an IPv4 or IPv6 address with or without /LENGTH"),
            ("b.conf:2: set all: prefix '192.0.2.300': expected an IPv4 or IPv6 address with or "
            "without /LENGTH"),
        ]),
        ("all=@more", [
            "a.conf:2: Bind=tcp @all 80: there is no set @more",
            "b.conf:2: set all: there is no set @more",
        ]),
        ("all=@more\nmore=@all", [
            "a.conf:2: Bind=tcp @all 80: a set cannot be in itself: @all names @more names @all",
            "b.conf:2: set all: a set cannot be in itself: @all names @more names @all",
            "b.conf:3: set more: a set cannot be in itself: @more names @all names @more",
        ]),
        ("all=file:lists/all", [
            ("a.conf:2: Bind=tcp @all 80: set @all of ROOT/etc/sockreg/b.conf:2: file:lists/all: a "
            "path that begins with '/' is expected"),
            "b.conf:2: set all: file:lists/all: a path that begins with '/' is expected",
        ]),
        ("all=224.0.0.0/24", [
            ("a.conf:2: Bind=tcp @all 80: prefix '224.0.0.0/24 of @all' never matches: packets to "
            "multicast addresses never meet a rule"),
        ]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_of_the_set_and_of_each_use(
    tmp_path: Path, sets: str, said: list[str]
) -> None:
    found = problems(tmp_path, {
        f"{CONF}/a.conf": "[web]\nBind=tcp @all 80\n", f"{CONF}/b.conf": f"[:prefixes]\n{sets}\n",
    })  # fmt: skip
    expected = [f"{CONF}/{line}".replace("ROOT/", "") for line in said]
    if "224" in sets:
        assert found[0].startswith(expected[0].rpartition(": ")[0])
    else:
        assert found == expected


@pytest.mark.parametrize("name", ["we b", "a@b", "ä", "x/y", "a,b"])
def test_names_that_no_set_can_have(tmp_path: Path, name: str) -> None:
    (said,) = problems(tmp_path, {f"{CONF}/a.conf": f"[:prefixes]\n{name}=192.0.2.1\n"})
    assert "is no name of a set" in said


def test_a_file_of_a_set_that_others_may_write_is_not_trusted(tmp_path: Path) -> None:
    write(tmp_path, {f"{CONF}/a.conf": "[:prefixes]\nall=file:/etc/all.txt\n",
                     "etc/all.txt": "192.0.2.1\n"})  # fmt: skip
    (tmp_path / "etc/all.txt").chmod(0o666)
    (said,) = problems(tmp_path, {})
    assert "etc/all.txt: can be written by everybody" in said


def test_a_part_with_a_wrong_set_stays_as_it_was(tmp_path: Path) -> None:
    """All other parts count, and so does the state of the set's files in that of the part."""
    files = {
        f"{CONF}/a.conf": "[web]\nBind=tcp @all 80\n",
        f"{CONF}/b.conf": "[other]\nBind=tcp ::1 1\n",
        f"{CONF}/c.conf": "[:prefixes]\nall=192.0.2.1\n",
    }  # fmt: skip
    write(tmp_path, files)
    before = read_sound(str(tmp_path), (), {}, dict)
    earlier = before.selection.forms
    write(tmp_path, {f"{CONF}/c.conf": "[:prefixes]\nall=192.0.2.1/99\n"})
    after = read_sound(str(tmp_path), (), {}, lambda: earlier)
    assert [format_rule(it) for it in after.bindings] == ["tcp 192.0.2.1 80", "tcp ::1 1"]
    wrong = {left.part.rpartition("/")[2]: left.earlier for left in after.left_out}
    assert wrong == {"a.conf": True, "c.conf": True}
    write(tmp_path, {f"{CONF}/c.conf": "[:prefixes]\nall=192.0.2.1/98\n"})
    again = read_sound(str(tmp_path), (), {}, lambda: earlier)
    assert [left.files for left in again.left_out] != [left.files for left in after.left_out]


@pytest.mark.parametrize("path", ["/etc/sockreg/b.conf/all", "/a\0b", "/" + "x" * 300, "/loop/all"])
def test_a_path_that_leads_nowhere_costs_only_the_parts_that_need_it(
    tmp_path: Path, path: str
) -> None:
    (tmp_path / "loop").symlink_to("loop")
    write(tmp_path, {
        f"{CONF}/a.conf": "[web]\nBind=tcp @all 80\n",
        f"{CONF}/b.conf": "[other]\nBind=tcp ::1 1\n",
        f"{CONF}/c.conf": f"[:prefixes]\nall=file:{path}\n",
    })  # fmt: skip
    found = read_sound(str(tmp_path), (), {}, dict)
    assert [format_rule(it) for it in found.bindings] == ["tcp ::1 1"]
    assert [left.part.rpartition("/")[2] for left in found.left_out] == ["a.conf", "c.conf"]


def test_the_oracle_knows_sets_and_ranges(tmp_path: Path) -> None:
    """Each line is compared with the packet's address as a number: prefixes have no part in it.

    Rules for other ports than the packet's would hide nothing, so each line has a port of its own.
    """
    chance = random.Random(12)
    base = 0x0A000000
    for number in range(40):
        wanted: dict[str, set[int]] = {}  # by name, the addresses as distances from the base
        lines = ["[:prefixes]"]
        for name in ("a", "b", "c", "d"):
            words, union = [], set[int]()
            for _ in range(chance.randint(0, 4)):
                if wanted and chance.random() < 0.3:
                    other = chance.choice(list(wanted))
                    words.append(f"@{other}")
                    union |= wanted[other]
                else:
                    low, high = sorted(chance.choices(range(256), k=2))
                    words.append(f"10.0.0.{low}-10.0.0.{high}")
                    union |= set(range(low, high + 1))
            wanted[name] = union
            lines.append(f"{name}={' '.join(words)}")
        low, high = sorted(chance.choices(range(256), k=2))
        lines += ["[web]", f"Bind=tcp @a,@d,10.0.0.{low}-10.0.0.{high} 1", "Reject=tcp @b,@c 2"]
        root = tmp_path / str(number)
        write(root, {f"{CONF}/a.conf": "\n".join(lines) + "\n"})
        bindings = read_rule_set(str(root)).bindings
        slot_of = slots(bindings)
        tables = compile_rules(bindings, slot_of)
        of_port = {
            1: wanted["a"] | wanted["d"] | set(range(low, high + 1)),
            2: wanted["b"] | wanted["c"],
            3: set[int](),
        }
        for port, addresses in of_port.items():
            for distance in range(256):
                packet = Packet(TCP, INET, base + distance, port)
                won = decide(bindings, packet)
                assert (won is not None) == (distance in addresses), (lines, packet)
                assert look_up(tables, packet, 0) == destination_of(won, slot_of)


def test_sets_agree_with_the_standard_library(tmp_path: Path) -> None:
    """Nested sets of many prefixes are the union of all."""
    chance = random.Random(11)
    for number in range(60):
        lines = ["[:prefixes]"]
        wanted: dict[int, set[IPv4Network | IPv6Network]] = {}
        for name in range(8):
            words: list[str] = []
            union: set[IPv4Network | IPv6Network] = set()
            for _ in range(chance.randint(0, 5)):
                if name and chance.random() < 0.4:
                    other = chance.randrange(name)
                    words.append(f"@s{other}")
                    union |= wanted[other]
                else:
                    bits = chance.randint(20, 32)
                    address = (0x0A000000 + chance.getrandbits(16)) >> (32 - bits) << (32 - bits)
                    network = ip_network((address, bits))
                    words.append(str(network))
                    union.add(network)
            wanted[name] = union
            lines.append(f"s{name}={' '.join(words)}")
        chance.shuffle(lines[1:])
        lines += ["[web]", *(f"Bind=tcp @s{name} {1000 + name}" for name in range(8))]
        root = tmp_path / str(number)
        write(root, {f"{CONF}/a.conf": "\n".join(lines) + "\n"})
        bindings = examine_rule_set(str(root))[0].bindings
        for name in range(8):
            found = [ip_network((b.address, b.length)) for b in bindings if b.first == 1000 + name]
            assert set(found) == wanted[name]
            assert len(found) == len(wanted[name])


def test_rules_that_multiply_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few lines with lists would take all memory. Each file that gets no room is wrong."""
    monkeypatch.setattr("sockreg.config.rulelines.RULES_MAX", 100)
    text = "more than 100 rules in all files, up to this line"
    monkeypatch.setattr("sockreg.config.rulelines.Room.problem", text)
    fits = "[a]\nBind=tcp 10.0.0.0-10.0.0.127,10.1.0.0,10.2.0.0 1,3,5,7,9\n"
    assert len(rules(tmp_path, {f"{CONF}/a.conf": fits})) == 15
    more = "[:prefixes]\ns=10.0.1.1 10.0.1.2 10.0.1.3\n[b]\nBind=tcp @s 1-3,5,7-9\n"
    many = more + "".join(
        f"Bind=tcp @s {port},{port + 2},{port + 4}\n" for port in range(11, 99, 6)
    )
    after = "[c]\nReject=udp 10.9.9.9 1\n[d]\nReject=udp 10.9.9.9 2\n"
    found = problems(tmp_path, {f"{CONF}/b.conf": many, f"{CONF}/c.conf": after})
    assert found == [f"{CONF}/b.conf:13: {text}", f"{CONF}/c.conf:2: {text}"]
