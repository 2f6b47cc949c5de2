"""The entry of sockreg-receive@.service, run as a file with a connection as descriptor 3:

python3 -I -S receive/__main__.py
"""

import posix
import sys

if __name__ == "__main__":
    sys.path.insert(0, __file__.rpartition("/sockreg/")[0])
    # A separate module, because it is compiled once and not at every run.
    from sockreg.receive.connection import main

    # As in companion/__main__.py: an orderly exit of the interpreter takes too long.
    posix._exit(main())
