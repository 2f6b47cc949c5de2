"""Values of settings, read as systemd reads them."""


def boolean(value: str) -> bool:
    """Like parse_boolean() of systemd's basic/parse-util.c. Raises ValueError otherwise."""
    word = value.lower()
    if word in ("1", "yes", "y", "true", "t", "on"):
        return True
    if word in ("0", "no", "n", "false", "f", "off"):
        return False
    raise ValueError("'yes' or 'no' expected")


def port_number(value: str) -> int:
    """A port number; 0 if it is none."""
    try:
        return number(value, range(1, 65536))
    except ValueError:
        return 0


def number(value: str, allowed: range) -> int:
    """A decimal number in a range. Raises ValueError otherwise."""
    found = int(value) if value.isascii() and value.isdigit() and len(value) < 10 else -1
    if found not in allowed:
        raise ValueError(f"expected a number from {allowed[0]} to {allowed[-1]}")
    return found
