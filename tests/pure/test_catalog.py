"""Every kind of journal entry has a text in the catalog, and no text is left over."""

from __future__ import annotations

import re
import uuid

from sockreg.systemd import journal
from tests.tree import ROOT

CATALOG = ROOT / "units" / "sockreg.catalog"
MESSAGE_ID = re.compile(r"[0-9a-f]{32}")


def entries() -> dict[str, str]:
    """MESSAGE_ID -> the entry's header and text. Fails on one that comes twice."""
    _, *pieces = re.split(r"^-- ", CATALOG.read_text(), flags=re.MULTILINE)
    texts = dict(piece.split("\n", 1) for piece in pieces)
    assert len(texts) == len(pieces)
    return texts


def test_every_message_id_has_its_own_entry() -> None:
    ids = [
        value
        for value in vars(journal).values()
        if isinstance(value, str) and MESSAGE_ID.fullmatch(value)
    ]
    assert ids
    assert len(set(ids)) == len(ids)
    assert entries().keys() == set(ids)
    # As systemd-id128(1) makes them.
    assert {uuid.UUID(value).version for value in ids} == {4}


def test_entries_have_a_header_a_text_and_short_lines() -> None:
    for message_id, entry in entries().items():
        header, _, text = entry.partition("\n\n")
        keys = [line.partition(": ")[0] for line in header.splitlines()]
        assert keys == ["Subject", "Defined-By", "Documentation"], message_id
        assert len(text.split()) > 20, f"{message_id} says too little"
        # journalctl -x puts "-- " before every line.
        assert max(map(len, entry.splitlines())) <= 92, message_id
