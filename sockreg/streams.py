"""Standard output and standard error, which may be closed, full, or a pipe that nobody reads.

All that sockreg prints goes through here, which makes it printable. Tests hold the code to it. A
write that fails never ends a command: what it does is not less done because nobody hears of it.
The first failure of standard output is kept in lost(), for the exit status of commands that only
show something. Where standard error fails, there is nobody to tell.

On the companion's start-up path.
"""

import errno
import posix
import sys

from sockreg.printable import message, printable, printable_lines

TYPE_CHECKING = False  # that of the typing module, which takes long to import
if TYPE_CHECKING:
    from typing import Literal, LiteralString, TextIO

    # How what a line says is for the traffic. Terminals show it as green, yellow or red.
    Tone = Literal["", "good", "doubtful", "bad"]

_STANDARD = 3  # descriptors
# ECMA-48, SGR: what systemd uses for the same (bold, and one of the 16 colours).
_SEQUENCES = {"good": "\033[0;1;32m", "doubtful": "\033[0;1;33m", "bad": "\033[0;1;31m"}
_PLAIN = "\033[0m"

_lost: OSError | None = None
_printed = False


def begin() -> None:
    """Prepare the streams of a command."""
    global _lost, _printed  # of the process, like its streams
    _lost, _printed = None, False
    for fd in range(_STANDARD):
        try:
            posix.fstat(fd)
        except OSError:
            # What a command opens must not become a standard stream. The lowest number is taken.
            posix.open("/dev/null", posix.O_RDWR)
    for stream in (sys.stdout, sys.stderr):
        # Names have characters that the locale of a terminal may lack.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def out(line: str = "", tone: "Tone" = "") -> None:
    """Print one line on standard output."""
    _write_out(f"{_toned(printable(line), tone, sys.stdout)}\n")


def out_document(text: str) -> None:
    """Print text of several lines that were put together here."""
    _write_out(printable_lines(text))


def out_lines(lines: list[str], tones: "list[Tone] | None" = None) -> None:
    """Print very many lines on standard output, perhaps each with its tone."""
    if not "".join(lines).isprintable():
        lines = list(map(printable, lines))
    if tones is not None and any(tones):
        pairs = zip(lines, tones, strict=True)
        lines = [_toned(line, tone, sys.stdout) for line, tone in pairs]
    _write_out("".join([f"{line}\n" for line in lines]))


def err(line: str, tone: "Tone" = "") -> None:
    """Print one line on standard error, after what is on standard output."""
    flush()
    _write_err(f"{_toned(message(line), tone, sys.stderr)}\n")


def out_control(sequence: "LiteralString") -> None:
    """Write a control sequence to the terminal of standard output. Type checkers take only text
    of the code.
    """
    _write_out(sequence)


def err_draw(begin: "LiteralString", line: str = "") -> None:
    """Write a control sequence, and then text without a line end, to that of standard error."""
    _write_err(begin + message(line))


def out_has_colours() -> bool:
    return _has_colours(sys.stdout)


def _toned(shown: str, tone: "Tone", stream: "TextIO | None") -> str:
    """Printable text in the colour of its tone, if the stream has colours."""
    if not tone or not shown or not _has_colours(stream):
        return shown
    return f"{_SEQUENCES[tone]}{shown}{_PLAIN}"


def _has_colours(stream: "TextIO | None") -> bool:
    if stream is None:
        return False
    import os

    from sockreg import colours

    return colours.wanted(os.environ, on_terminal=stream.isatty())


def out_is_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()


def err_is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


def flush() -> None:
    """Write what is printed on standard output by now."""
    if sys.stdout is not None and _lost is None:
        try:
            sys.stdout.flush()
        except OSError as error:
            _lose(error)


def has_printed() -> bool:
    """Whether there was something for standard output since begin()."""
    return _printed


def lost() -> OSError | None:
    """The first failure to write to standard output."""
    return _lost


def _write_out(text: str) -> None:
    global _printed  # noqa: PLW0603
    _printed = True
    if _lost is not None:
        return
    if sys.stdout is None:  # it was closed when the process began
        _lose(OSError(errno.EBADF, "it is closed"))
        return
    try:
        sys.stdout.write(text)
    except OSError as error:
        _lose(error)


def _lose(error: OSError) -> None:
    global _lost  # noqa: PLW0603
    _lost = error
    _silence(sys.stdout)


def _write_err(text: str) -> None:
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        _silence(sys.stderr)


def _silence(stream: object) -> None:
    """Lead a stream nowhere: the interpreter writes once more at its end what it still holds."""
    if stream not in (sys.__stdout__, sys.__stderr__) or stream is None:
        return
    nowhere = posix.open("/dev/null", posix.O_WRONLY | posix.O_CLOEXEC)
    posix.dup2(nowhere, 1 if stream is sys.__stdout__ else 2)
    posix.close(nowhere)
