"""The command line: parses, calls, prints. Exit statuses are in sockreg/errors.py."""

import argparse
import contextlib
import functools
import sys
from collections.abc import Iterable
from typing import NoReturn

from sockreg import __version__, context, streams
from sockreg.api import Registry
from sockreg.cli import progress
from sockreg.cli.verb import Group, Verb
from sockreg.cli.verbs import WHERE, verb_named
from sockreg.errors import (
    EXIT_FAILURE,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_PERMISSION,
    EXIT_USAGE,
    SockregError,
    UsageError,
    missing,
)


def command() -> NoReturn:
    """Be the command of this process, and carry its name, for those who look at processes."""
    with contextlib.suppress(OSError), open("/proc/self/comm", "w", encoding="ascii") as name:
        name.write("sockreg")
    sys.exit(main())


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Returns its exit status."""
    streams.begin()
    own, command = _split(sys.argv[1:] if arguments is None else arguments)
    try:
        options = _parse(own)
    except SystemExit as done:  # with help, or with what is wrong
        return _unless_unheard(int(done.code or 0), only_shows=True)
    except UsageError as error:
        _fail(error, as_json="--json" in own)
        return _unless_unheard(error.status, only_shows=True)
    if options is None:
        return _unless_unheard(EXIT_OK, only_shows=True)
    options.command = command
    return _unless_unheard(_run(options, command), only_shows=_only_shows(options))


def _run(options: argparse.Namespace, command: list[str] | None) -> int:
    try:
        if command == [] or (command and not options.takes_command):
            raise UsageError(
                f"{options.verb} takes no command after '--'"
                if command
                else f"{options.verb}: a command must follow '--'",
                "sockreg register [LABEL]... -- COMMAND [ARGUMENT]...",
            )
        with context.opened(
            options.netns,
            bpffs=options.bpffs,
            root=options.root,
            object_path=options.object,
            step=progress.steps(),
        ) as opened:
            options.run(Registry(opened), options)
        if command:
            # Outside of --netns: the command runs in its original namespace.
            from sockreg.commands.inherit import become

            become(command)
    except SockregError as error:
        _fail(error, as_json=options.json)
        return error.status
    except ImportError as error:
        lacking = missing(error)
        _fail(lacking, as_json=options.json)
        return lacking.status
    except OSError as error:
        from sockreg.cli.unforeseen import unforeseen

        told = context.damage(error) or unforeseen(error, options.verb)
        _fail(told, as_json=options.json)
        return EXIT_PERMISSION if isinstance(error, PermissionError) else EXIT_FAILURE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    finally:
        if options.verbose:
            for line in context.libbpf_messages().splitlines():
                streams.err(line)
    return EXIT_OK


def _split(arguments: list[str]) -> tuple[list[str], list[str] | None]:
    """The arguments for sockreg, and the command after ``--``, which argparse cannot tell apart."""
    if "--" not in arguments:
        return arguments, None
    at = arguments.index("--")
    return arguments[:at], arguments[at + 1 :]


def _fail(error: SockregError, *, as_json: bool) -> None:
    """Print to standard error; several problems are several lines.

    A program that has asked for JSON gets the same on standard output, unless it has got something
    already: what a command prints is one object.
    """
    if as_json and not streams.has_printed():
        from sockreg.cli.printing import print_json

        print_json("error", {"status": error.status, "problems": error.lines, "hint": error.hint})
    for line in error.lines:
        if line:
            streams.err(f"sockreg: {line}", "bad")
    if error.hint:
        streams.err(f"sockreg: {error.hint}")


def _only_shows(options: argparse.Namespace) -> bool:
    """Whether the command did nothing but print."""
    if options.verb == "import":
        return options.output is None
    tried = any(getattr(options, name, False) for name in ("check", "dry_run"))
    return tried or bool(options.only_shows)


def _unless_unheard(status: int, *, only_shows: bool) -> int:
    """The exit status, for a command whose output may not have been written.

    A reader who closes his pipe has seen enough. What a command has changed is changed, even if
    nobody hears of it.
    """
    streams.flush()
    lost = streams.lost()
    if lost is None or isinstance(lost, BrokenPipeError):
        return status
    why = f"standard output cannot be written: {lost.strerror}"
    if only_shows:
        streams.err(f"sockreg: {why}")
        return status or EXIT_FAILURE
    if status == EXIT_OK:
        streams.err(f"sockreg: done, but {why}")
    return status


_WORDS_FOR_HELP = ("help", "version")
_GLOBAL_WITH_VALUE = ("--netns", "--bpffs", "--root", "--object")


class _IncompleteError(Exception):
    """A parser with some of the verbs does not understand the arguments."""


class _Parser(argparse.ArgumentParser):
    """A parser whose help and complaints go where all output goes."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        streams.err(f"{self.prog}: error: {message}")
        sys.exit(EXIT_USAGE)

    def _print_message(self, message: str, file: object = None) -> None:
        if file is sys.stdout:
            streams.out_document(message)
        else:
            for line in message.removesuffix("\n").split("\n"):
                streams.err(line)


class _SomeVerbs(_Parser):
    """A parser that leaves help and complaints to one that has all verbs."""

    def _get_formatter(self) -> argparse.HelpFormatter:
        # Each argument is tried with one. The width would take the terminal's, and shutil.
        return argparse.HelpFormatter(self.prog, width=80)

    def error(self, message: str) -> NoReturn:
        raise _IncompleteError(message)


def _parse(arguments: list[str]) -> argparse.Namespace | None:
    """Parse with the verbs among the arguments; with all verbs if that does not do.

    Returns None if the command was to explain a topic, and has. Raises UsageError for a verb, an
    option or an argument that there is not.
    """
    at = _verb_at(arguments)
    if at is not None and arguments[at] == "help" and _explained(arguments[at + 1 :]):
        return None
    if at is not None and arguments[at] in _WORDS_FOR_HELP:
        arguments = _as_option(arguments, at)
    elif at is not None and arguments[at] not in WHERE:
        raise _no_verb(arguments[at])
    named = [name for name in WHERE if name in arguments]
    if (named or "--version" in arguments) and not {"-h", "--help"}.intersection(arguments):
        try:
            return parser(named, _SomeVerbs).parse_args(arguments)
        except _IncompleteError:
            pass
    options, unknown = parser().parse_known_args(arguments)
    if unknown:
        raise _not_understood(options.verb, unknown)
    return options


def _verb_at(arguments: list[str]) -> int | None:
    """Where the verb is, behind global options and their values."""
    takes_value = False
    for at, word in enumerate(arguments):
        if takes_value:
            takes_value = False
        elif word in _GLOBAL_WITH_VALUE:
            takes_value = True
        elif not word.startswith("-"):
            return at
    return None


def _explained(words: list[str]) -> bool:
    """Print the topic that the first of these words names. False if it names none."""
    from sockreg.cli.topics import TOPICS

    if not words or words[0] not in TOPICS:
        return False
    streams.out_document(TOPICS[words[0]])
    return True


def _as_option(arguments: list[str], at: int) -> list[str]:
    """``help bind`` as ``bind --help``, and ``version`` as ``--version``."""
    before, word, rest = arguments[:at], arguments[at], arguments[at + 1 :]
    if word == "version":
        return [*before, "--version", *rest]
    for verb in rest[:1]:
        if verb not in WHERE:
            raise _no_help(verb)
    return [*before, *rest[:1], "--help"]


def _no_verb(word: str) -> UsageError:
    near = _near(word, [*WHERE, *_WORDS_FOR_HELP])
    return UsageError(f"there is no verb {word!r}{near}", "'sockreg help' lists the verbs")


def _no_help(word: str) -> UsageError:
    from sockreg.cli.topics import TOPICS

    near = _near(word, [*WHERE, *TOPICS])
    return UsageError(
        f"there is no verb or topic {word!r}{near}", "'sockreg help' lists verbs and topics"
    )


def _not_understood(verb: str, words: list[str]) -> UsageError:
    """The verb was understood, and these of its arguments were not."""
    word = words[0]
    if not word.startswith("-"):
        what = f"{verb}: argument {word!r} is too much"
    else:
        option = word.partition("=")[0]
        known = [
            name
            for action in _parser_of(verb)._actions
            for name in action.option_strings
            if name.startswith("--")
        ]
        what = f"{verb}: there is no option {option}{_near(option, known)}"
    usage = " ".join(_parser_of(verb).format_usage().split())
    return UsageError([what, usage], f"'sockreg help {verb}' explains it")


def _parser_of(verb: str) -> argparse.ArgumentParser:
    for action in parser([verb])._actions:
        if isinstance(action, argparse._SubParsersAction):
            found: argparse.ArgumentParser = action.choices[verb]
            return found
    raise AssertionError(verb)


def _near(word: str, known: Iterable[str]) -> str:
    import difflib

    found = difflib.get_close_matches(word, known, 1)
    return f"; did you mean {found[0]}?" if found else ""


def parser(
    names: Iterable[str] = WHERE, kind: type[argparse.ArgumentParser] = _Parser
) -> argparse.ArgumentParser:
    """These verbs and all options. Global options may be given before and after the verb."""
    verbs = [verb_named(name) for name in names]
    main_parser = kind(
        prog="sockreg",
        usage="sockreg [OPTION...] VERB ...",
        formatter_class=functools.partial(_InGroups, verbs=verbs, max_help_position=21),
        description="Steer TCP and UDP traffic to labelled sockets by prefix and port.",
        epilog=_epilog() if kind is _Parser else None,
    )
    main_parser.add_argument("--version", action="version", version=f"sockreg {__version__}")
    _add_global(main_parser, defaults=True)
    sub = main_parser.add_subparsers(
        dest="verb", metavar="VERB", required=True, prog="sockreg", title="verbs"
    )
    for verb in verbs:
        command = sub.add_parser(
            verb.name, help=verb.summary, description=verb.description, usage=verb.usage
        )
        _add_global(command, defaults=False)
        command.set_defaults(run=verb.run, takes_command=verb.takes_command)
        command.set_defaults(only_shows=verb.group is Group.LOOK)
        verb.add_arguments(command)
    return main_parser


def _epilog() -> str:
    from sockreg.cli.topics import TOPICS

    return (
        "'sockreg help VERB' explains a verb, 'sockreg help TOPIC' what belongs to none: "
        f"{', '.join(TOPICS)}. Rules are read from .socket units and /etc/sockreg/*.conf; see "
        "sockreg(8)."
    )


class _InGroups(argparse.HelpFormatter):
    """The list of verbs with a heading for each group."""

    def __init__(self, prog: str, *, verbs: list[Verb], max_help_position: int) -> None:
        super().__init__(prog, max_help_position=max_help_position)
        self._first = {verb.group.value: verb for verb in reversed(verbs)}

    def _format_action(self, action: argparse.Action) -> str:
        text = super()._format_action(action)
        for heading, first in self._first.items():
            if action.dest == first.name:
                return f"  {heading}:\n{text}"
        return text


def _add_global(target: argparse.ArgumentParser, *, defaults: bool) -> None:
    group = target.add_argument_group("global options") if not defaults else target

    def add(*names: str, default: object, **rest: object) -> None:
        group.add_argument(*names, default=default if defaults else argparse.SUPPRESS, **rest)  # type: ignore[arg-type]

    add("--netns", default=None, metavar="NETNS", help="network namespace, by name or path")
    add(
        "--bpffs",
        default=None,
        metavar="DIR",
        help=f"bpffs with the pinned state ({context.BPFFS})",
    )
    add("--root", default="/", metavar="DIR", help="read and write configuration below DIR")
    add(
        "--object",
        default=None,
        metavar="FILE",
        help="load this object file instead of the installed one",
    )
    add("--json", default=False, action="store_true", help="print JSON")
    add(
        "-v",
        "--verbose",
        default=False,
        action="store_true",
        help="show the messages of libbpf and the verifier",
    )


if __name__ == "__main__":
    sys.exit(main())
