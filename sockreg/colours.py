"""Whether the output of a command has colours, as systemctl decides it (systemctl(1), ENVIRONMENT).

Loaded when the first line that has a colour is printed.
"""

from __future__ import annotations

from collections.abc import Mapping

_YES = {"1", "yes", "y", "true", "t", "on", "16", "256", "24bit"}
_NO = {"0", "no", "n", "false", "f", "off"}


def wanted(environment: Mapping[str, str], *, on_terminal: bool) -> bool:
    """SYSTEMD_COLORS decides, then NO_COLOR, then where the output goes.

    Values of SYSTEMD_COLORS that begin with ``auto-`` only limit the number of colours, and sockreg
    uses few. A value that is not known counts as none.
    """
    asked = environment.get("SYSTEMD_COLORS", "").lower()
    if asked in _YES:
        return True
    if asked in _NO or "NO_COLOR" in environment:
        return False
    return on_terminal and environment.get("TERM", "dumb") not in {"", "dumb"}
