"""The entry of the units of one socket, and of the loader when it stops, run as a file:

    python3 -I -S companion/__main__.py register UNIT.socket RECORD
    python3 -I -S companion/__main__.py start    UNIT.socket SOCKREG
    python3 -I -S companion/__main__.py stop     UNIT.socket SOCKREG
    python3 -I -S companion/__main__.py open     UNIT.socket SOCKREG
    python3 -I -S companion/__main__.py leave    UNIT.service SOCKREG WORD...
    python3 -I -S companion/__main__.py boot     INSTANCE RECORD
    python3 -I -S companion/__main__.py generate DIRECTORY

RECORD is the file of recorded descriptor flags (sockreg/companion/flags.py). SOCKREG is the path of
the full command. ``open`` registers and starts in one process, for sockets that register
themselves; no flags are changed. ``leave`` is ExecStop= of the loader: it runs that command,
unless the unit restarts. ``boot`` registers the sockets of all units that ``generate`` has written
below DIRECTORY for INSTANCE of sockreg-boot@.service (boot.py). SOCKREG_BPFFS= names another bpffs
than /sys/fs/bpf. This runs at boot: -I and -S keep the interpreter from searching for files, and
only the imports that the verb needs are made.
"""

import gc
import posix
import sys


def main(arguments: list[str]) -> int:
    verb, subject, *words = arguments
    if verb == "open":
        # If a socket cannot be registered, the rules count all the same.
        registered = _do("receive", subject, words)
        return _do("start", subject, words) or registered
    if verb in ("register", "boot"):
        # Before anything else, including the other imports: see sockreg/companion/flags.py.
        from sockreg.companion import flags

        count = posix.environ.get(b"LISTEN_FDS", b"")
        if count.isdigit() and len(count) < 8:
            flags.restore(words[0], range(3, 3 + int(count)))
    return _do(verb, subject, words)


def _do(verb: str, subject: str, words: list[str]) -> int:
    from sockreg.errors import SockregError
    from sockreg.registry.directory import named_bpffs
    from sockreg.systemd import journal

    bpffs = named_bpffs()
    try:
        if verb == "receive":
            from sockreg.registry import registration
            from sockreg.systemd import listen_fds

            registration.register(listen_fds.received(), subject, bpffs, root="/")
        elif verb == "register":
            from sockreg.companion import registering

            registering.register(subject, bpffs, "/")
        elif verb == "boot":
            from sockreg.companion import boot

            boot.register_all(subject, bpffs, "/")
        elif verb == "generate":
            from sockreg.companion import boot_units

            boot_units.write(subject, "/")
        elif verb == "leave":
            from sockreg.companion import loader

            loader.leave(subject, bpffs, words)
        else:
            from sockreg.companion import lifecycle

            if verb == "start":
                lifecycle.start(subject, bpffs, "/", _full(words[0], bpffs, "--start", subject))
            else:
                lifecycle.leave(subject, bpffs, "/", _full(words[0], bpffs, "--stop", subject))
    except SockregError as error:
        journal.say(
            error.entry,
            journal.REFUSED,
            journal.ERR,
            journal.unit_fields(subject),
        )
        return error.status
    except OSError as error:
        journal.say(
            f"{subject}: {verb} failed: {error}",
            journal.REFUSED,
            journal.ERR,
            journal.unit_fields(subject),
        )
        return 1
    return 0


def _full(sockreg: str, bpffs: str, option: str, unit: str) -> list[str]:
    return [sockreg, "--bpffs", bpffs, "apply", option, unit]


if __name__ == "__main__":
    # Each saves a hundredth of the run time: nothing is collected, and no directory is tried as
    # a zip file.
    gc.disable()
    del sys.path_hooks[0]
    sys.path.insert(0, __file__.rpartition("/sockreg/")[0])
    status = main(sys.argv[1:])
    # An orderly exit of the interpreter would take a seventh of the run time; stderr is written
    # line by line.
    posix._exit(status)
