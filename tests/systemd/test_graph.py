"""The picture in the README is the one that the demo makes."""

from __future__ import annotations

import re

from tests.demo.picture import drawn
from tests.tree import ROOT


def shape(picture: str) -> str:
    """The picture without what differs from one time to the next: cookies and numbers."""
    return re.sub(r"sk:[0-9a-f]+|[\d,.]+", "#", picture)


def test_the_picture_in_the_readme_is_that_of_the_demo() -> None:
    assert shape((ROOT / "docs/graph.svg").read_text()) == shape(drawn())
