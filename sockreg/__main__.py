"""Run as ``python3 -m sockreg``, or as a file, with ``python3 -I``."""

import sys

if not __package__:
    sys.path.insert(0, __file__.rpartition("/sockreg/")[0])

from sockreg.cli.main import command

command()
