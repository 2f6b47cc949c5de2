"""What a label may be, and the weight of a socket under it.

On the companion's start-up path: imports nothing.
"""

LABEL_MAX = 255
DEFAULT_WEIGHT = 100  # of a socket among those of a pool
WEIGHT_MAX = 65535


def label_problem(label: str) -> str:
    """Say what is wrong with a label, or return ''.

    The rule is systemd's for FileDescriptorName= (systemd.socket(5), fdname_is_valid()
    in src/basic/fd-util.c): 1 to 255 printable ASCII characters without ':'.
    """
    if not label:
        return "is empty"
    if len(label) > LABEL_MAX:
        return f"is {len(label)} characters long; {LABEL_MAX} is the limit"
    for c in label:
        if c == ":":
            return "contains ':'"
        if not " " <= c <= "~":
            return f"contains {c!r}; only printable ASCII is allowed"
    return ""
