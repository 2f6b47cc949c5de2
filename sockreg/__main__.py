"""Run as ``python3 -m sockreg``."""

import sys

from sockreg.cli.main import main

sys.exit(main())
