"""One page for a team: all that sockreg knows of a host, as HTML that needs nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sockreg.context import Context


def of(context: Context) -> str:
    """The page. Raises SockregError if nothing is loaded or it cannot be read."""
    from sockreg.report.gather import gather
    from sockreg.report.page import html

    return html(gather(context))


def write(path: str, text: str) -> None:
    """Replace a file with the page, in one step. Raises OSError."""
    from sockreg.host import files

    files.replace(path, text.encode(), create_directory=False)
