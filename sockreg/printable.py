"""Text that others choose, such as the names of processes, on its way to a terminal or a log."""


def printable(text: str) -> str:
    """The text, with an escape sequence of Python for each character that cannot be shown."""
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )
