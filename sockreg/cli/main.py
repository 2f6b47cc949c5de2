"""The command line: parses, calls, prints. Exit statuses are in sockreg/errors.py."""

import argparse
import functools
import os
import sys
from pathlib import Path

from sockreg import __version__
from sockreg.cli import progress, verbs
from sockreg.context import Context
from sockreg.errors import (
    EXIT_FAILURE,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_PERMISSION,
    SockregError,
    UsageError,
    missing,
)
from sockreg.host import netns
from sockreg.kernel import libbpf, shipped
from sockreg.registry import readers
from sockreg.registry.directory import BPFFS


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    own, command = _split(sys.argv[1:] if arguments is None else arguments)
    options = parser().parse_args(own)
    options.command = command
    try:
        if command == [] or (command and not options.takes_command):
            raise UsageError(
                f"{options.verb}: '--' is followed by {'a' if command else 'no'} command",
                "sockreg register [LABEL]... -- COMMAND [ARGUMENT]...",
            )
        with netns.entered(options.netns) as namespace:
            context = Context(
                namespace,
                options.bpffs or readers.usual_bpffs(),
                options.root,
                Path(options.object) if options.object else shipped.object_path(),
                progress.steps_on(sys.stderr),
            )
            options.run(context, options)
        sys.stdout.flush()
        if command:
            # Outside of --netns: the command runs where it would without us.
            from sockreg.commands.wrap import become

            become(command)
    except SockregError as error:
        _fail(error.message, error.hint)
        return error.status
    except ImportError as error:
        told = missing(error)
        _fail(told.message, told.hint)
        return told.status
    except BrokenPipeError:
        # Whoever reads has seen enough. The interpreter will flush once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except OSError as error:
        _fail(f"{options.verb}: {error}", "")
        return EXIT_PERMISSION if isinstance(error, PermissionError) else EXIT_FAILURE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    finally:
        if options.verbose:
            print(libbpf.log_text(), file=sys.stderr, end="")
    return EXIT_OK


def _split(arguments: list[str]) -> tuple[list[str], list[str] | None]:
    """What is for us and the command after ``--``, which argparse cannot tell apart."""
    if "--" not in arguments:
        return arguments, None
    at = arguments.index("--")
    return arguments[:at], arguments[at + 1 :]


def _fail(message: str, hint: str) -> None:
    """Print to standard error; several problems are several lines."""
    for line in [*message.splitlines(), *hint.splitlines()]:
        print(f"sockreg: {line}", file=sys.stderr)


def parser() -> argparse.ArgumentParser:
    """All commands and options. Global options are taken before and after the verb."""
    main_parser = argparse.ArgumentParser(
        prog="sockreg",
        usage="sockreg [OPTION...] VERB ...",
        formatter_class=functools.partial(argparse.HelpFormatter, max_help_position=18),
        description="Steer TCP and UDP traffic to labelled sockets by prefix and port.",
        epilog="Rules are read from .socket units and /etc/sockreg/*.conf; see sockreg(8).",
    )
    main_parser.add_argument("--version", action="version", version=f"sockreg {__version__}")
    _add_global(main_parser, defaults=True)
    sub = main_parser.add_subparsers(dest="verb", metavar="VERB", required=True, prog="sockreg")
    for verb in verbs.VERBS:
        command = sub.add_parser(verb.name, help=verb.summary, description=verb.description)
        _add_global(command, defaults=False)
        command.set_defaults(run=verb.run, takes_command=False)
        verb.add_arguments(command)
    return main_parser


def _add_global(target: argparse.ArgumentParser, *, defaults: bool) -> None:
    group = target.add_argument_group("global options") if not defaults else target

    def add(*names: str, default: object, **rest: object) -> None:
        group.add_argument(*names, default=default if defaults else argparse.SUPPRESS, **rest)  # type: ignore[arg-type]

    add("--netns", default=None, metavar="NETNS", help="network namespace, by name or path")
    add("--bpffs", default=None, metavar="DIR", help=f"where state is pinned ({BPFFS})")
    add("--root", default="/", metavar="DIR", help="read configuration below DIR")
    add("--object", default=None, metavar="FILE", help="load another object file")
    add("--json", default=False, action="store_true", help="print JSON")
    add("-v", "--verbose", default=False, action="store_true", help="show libbpf's messages")


if __name__ == "__main__":
    sys.exit(main())
