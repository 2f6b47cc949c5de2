"""The record of a rule set: all of it comes back, and two are compared by what they mean."""

from __future__ import annotations

from dataclasses import replace

from sockreg.model import Action, Binding, Place
from sockreg.registry import generation_record
from sockreg.rules.syntax import parse_rule


def _rules(*lines: tuple[str, str], path: str = "/etc/sockreg/a.conf") -> list[Binding]:
    found = []
    for number, (label, text) in enumerate(lines, 1):
        key, _, rule = text.partition("=")
        found += parse_rule(Action[key.upper()], rule, label, Place(path, number), [])
    return found


RULES = _rules(
    ("web", "Bind=tcp 192.0.2.0/24 80"),
    ("web", "Bind=tcp 2001:db8::/32 8000-8999 to 80 from 2001:db8:1::/48 dev eth0 missing=pass"),
    ("names", "Bind=udp 0.0.0.0/0 *"),
    ("none", "Reject=tcp 192.0.2.1 22 dev eth1"),
    ("none", "Pass=udp ::1 53 from ::/1"),
)


def _header(packed: generation_record.Packed) -> generation_record.Header:
    _, labels, paths, interfaces = packed
    destinations = [("web", 2, 6, 0, 1)]
    return generation_record.Header(
        "1", 2, "3", "4", 5, 6, True, None, destinations, labels, paths, interfaces
    )


def test_every_part_of_a_rule_comes_back() -> None:
    packed = generation_record.pack(RULES)
    header = _header(packed)
    content = generation_record.encode(header, packed.records)
    assert generation_record.decode_header(content) == header
    parts = [
        generation_record.PartRecord(
            "web.socket", 2, [("web", 1)], {"counters": True}, "web", 7, True, [(2, 6, 8080)]
        )
    ]
    header = replace(header, parts=parts, ends=[("/a.conf", 3, 4)], drains=["web.socket"])
    again = generation_record.decode_header(generation_record.encode(header, packed.records))
    assert again == header
    assert repr(again.parts) == repr(parts)
    assert generation_record.decode(content) == packed
    assert generation_record.decode_bindings(content) == RULES
    assert generation_record.unpack(packed, [3, 0]) == [RULES[3], RULES[0]]


def test_rules_for_interfaces_that_are_not_there_are_pending() -> None:
    packed = generation_record.pack(RULES)
    assert generation_record.rules_for(packed) == [1, 1]
    header = replace(_header(packed), indices=[0, 4], rules_for=[1, 1])
    assert header.absent == {"eth0": 1}
    assert header.pending == 1
    content = generation_record.encode(header, packed.records)
    in_force, pending = generation_record.decode_parts(content)
    assert pending == [RULES[1]]
    assert in_force == [rule for rule in RULES if rule is not RULES[1]]


def test_records_of_versions_that_did_not_store_indices() -> None:
    header = _header(generation_record.pack(RULES))
    assert header.index_of == {"eth0": -1, "eth1": -1}, "as no interface has: a look renews them"
    assert not header.absent


def test_the_same_rules_elsewhere_and_in_another_order_make_no_difference() -> None:
    moved = [rule._replace(place=Place("/etc/sockreg/b.conf", 7)) for rule in reversed(RULES)]
    assert generation_record.difference(
        generation_record.pack(RULES), generation_record.pack(moved)
    ) == ([], [])


def test_what_differs_is_named_by_its_position() -> None:
    # Other labels and interfaces come first: the numbers that records hold mean others.
    after = [
        *_rules(("api", "Bind=tcp 192.0.2.0/24 80 dev eth1")),
        RULES[3],
        RULES[1]._replace(missing_pass=False),
        RULES[0],
        RULES[4],
    ]
    added, removed = generation_record.difference(
        generation_record.pack(RULES), generation_record.pack(after)
    )
    assert added == [0, 2]
    assert removed == [1, 2]


def test_a_label_and_an_interface_are_not_confused() -> None:
    one = _rules(("web", "Bind=tcp 192.0.2.0/24 80 dev eth0"))
    other = _rules(("webeth0", "Bind=tcp 192.0.2.0/24 80"))
    assert generation_record.difference(
        generation_record.pack(one), generation_record.pack(other)
    ) == ([0], [0])
    assert generation_record.difference(generation_record.NOTHING, generation_record.pack(one)) == (
        [0],
        [],
    )
