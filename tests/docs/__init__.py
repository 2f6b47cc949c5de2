"""The documents as tests read them, so that what they show stays true.

README.md, the man page and docs/ are played from top to bottom: every section that shows a
command or a file is a scene with a fresh box (tests/sandbox) of its own. Of its code blocks

- one whose first or second line is a comment with an absolute path is that file, and written;
- a ``console`` block holds commands of root, after ``# ``, and below each what it prints. A
  command must succeed; what is shown must be what it prints, where ``...`` on a line of its
  own stands for any lines, and numbers that differ from run to run are not compared;
- a line of it after ``client$ `` is typed on another machine (docs/recipes only);
- a ``text`` block is a drawing or a form, and left alone.

The boxes have sockreg as a package installs it, the servers of root/ that the units in the
documents run, and the source tree in /root/sockreg, where the commands run.
"""

from tests.docs.document import (
    DOCUMENTS,
    MAN_PAGE,
    RECIPES,
    Block,
    Command,
    File,
    Scene,
    blocks,
    place,
    scenes,
)

__all__ = [
    "DOCUMENTS",
    "MAN_PAGE",
    "RECIPES",
    "Block",
    "Command",
    "File",
    "Scene",
    "blocks",
    "place",
    "scenes",
]
