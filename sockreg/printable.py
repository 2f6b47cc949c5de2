"""Text that others choose, such as the names of processes and files, on its way out.

There is a function for each kind of output. What they return is text that does nothing where it is
shown: it moves no cursor, reorders no line, ends no line and no string, and can be encoded.
Terminals get everything through sockreg/streams.py and the journal through
sockreg/systemd/journal.py, which call these functions for every text.

On the companion's start-up path.
"""

_MARKS = 2  # combining characters that may follow one character, as in Vietnamese
_PLAIN_WORD = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%+=:,./-_"
_LONGEST = 8000  # characters of a message


def printable(text: str) -> str:
    """The text as one line for a terminal or a log.

    Each character that cannot be shown is an escape sequence of Python: control characters, also
    those that reorder a line, line ends, and bytes that are not UTF-8. So is a combining character
    without a character before it, or after too many others.
    """
    if text.isascii() and text.isprintable():
        return text
    from unicodedata import combining

    shown: list[str] = []
    marks = _MARKS
    for one in text:
        marks = marks + 1 if combining(one) else 0
        if marks > _MARKS or not one.isprintable():
            one = one.encode("unicode_escape").decode()
        shown.append(one)
    return "".join(shown)


def printable_lines(text: str) -> str:
    """Text of several lines that were put together here, each of them printable."""
    # Of what can be shown, only newlines are left out; others are found line by line.
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    return "\n".join(map(printable, text.split("\n")))


def message(line: str) -> str:
    """One line for an operator, printable and of a length that can be read."""
    return printable(shortened(line, _LONGEST))


def shortened(text: str, longest: int) -> str:
    """The text, or its beginning and its end, if it has more than so many characters."""
    half = longest // 2
    if len(text) <= 2 * half:
        return text
    return f"{text[:half]}[{len(text) - 2 * half} characters left out]{text[-half:]}"


def xml(text: str) -> str:
    """The text between two tags of XML, such as in SVG."""
    shown = printable(text)
    return shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def dot(text: str) -> str:
    """The text inside a quoted string of Graphviz."""
    return printable(text).replace("\\", "\\\\").replace('"', '\\"')


def shell(text: str) -> str:
    """The text as one word of a command that an operator copies to his shell.

    What cannot be shown is in the notation of bash(1) for it, ``$'...'``.
    """
    if text == printable(text):
        if text and not text.strip(_PLAIN_WORD):
            return text
        return "'" + text.replace("'", "'\"'\"'") + "'"
    written = "".join(
        chr(byte) if 0x20 <= byte < 0x7F and byte not in b"\\'" else f"\\x{byte:02x}"
        for byte in text.encode("utf-8", "surrogateescape")
    )
    return f"$'{written}'"


def shell_words(*words: str) -> str:
    """The words of a command that an operator copies to his shell; see shell()."""
    return " ".join(map(shell, words))
