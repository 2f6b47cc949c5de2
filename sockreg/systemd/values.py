"""Values of settings, as systemd reads them."""


def boolean(value: str) -> bool:
    """As parse_boolean() of systemd's basic/parse-util.c. ValueError for anything else."""
    word = value.lower()
    if word in ("1", "yes", "y", "true", "t", "on"):
        return True
    if word in ("0", "no", "n", "false", "f", "off"):
        return False
    raise ValueError("'yes' or 'no' expected")


def number(value: str, allowed: range) -> int:
    """A decimal number in a range. ValueError for anything else."""
    found = int(value) if value.isascii() and value.isdigit() and len(value) < 10 else -1
    if found not in allowed:
        raise ValueError(f"a number from {allowed[0]} to {allowed[-1]} expected")
    return found
