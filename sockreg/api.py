"""The registry of a network namespace, for programs: the API of ``import sockreg``.

docs/api.md has examples, and says what is stable. Importing this module is cheap. A method imports
what it needs when it is called.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from sockreg import context as contexts
from sockreg.context import Context

if TYPE_CHECKING:
    from socket import socket

    from sockreg.check.finding import Finding
    from sockreg.commands.change import Change
    from sockreg.commands.load import Loaded
    from sockreg.model import Binding
    from sockreg.views.explain import Explanation
    from sockreg.views.flows import FlowTable
    from sockreg.views.inspect import Details
    from sockreg.views.listeners import Listeners
    from sockreg.views.sets import SetOfPrefixes
    from sockreg.views.status import Status


@contextlib.contextmanager
def open_registry(
    netns: str | None = None, *, bpffs: str | None = None, root: str = "/"
) -> Iterator[Registry]:
    """The registry of a network namespace, loaded or not.

    ``netns`` is a name of ip-netns(8) or a path such as ``/proc/PID/ns/net``; None is the namespace
    of this process. The calling thread is in that namespace until the context ends. ``bpffs`` is
    the directory where registries are pinned. ``root`` is the directory below which units and rule
    files are read and written. Raises UsageError if there is no such namespace, and AccessError
    without permission to enter it.
    """
    with contexts.opened(netns, bpffs=bpffs, root=root) as opened:
        yield Registry(opened)


class Registry:
    """What can be read and changed. Every method may raise SockregError or OSError.

    ``context`` is for the command line, and may change.

    NotLoadedError means that nothing is loaded; AccessError means that a permission is missing.
    A change that fails leaves everything unchanged. Changes are logged to the journal.
    """

    def __init__(self, context: Context) -> None:
        self.context = context

    @property
    def path(self) -> str:
        """The directory in the bpffs, whether it exists or not."""
        return self.context.registry

    @property
    def is_loaded(self) -> bool:
        return self.context.is_loaded

    def load(self, *, force: bool = False, units: bool = False, state: str | None = None) -> Loaded:
        """Attach the program with the configured rules in force; if loaded already, apply.

        Units and files that are wrong only cost their own rules; see ``left_out`` of the change.
        ``force`` lets rules take the port that ssh listens on. ``units`` also registers what
        started units of systemd have open and the registry lacks. ``state`` is the directory where
        the rules in force are kept for the next boot, by default /var/lib/sockreg in the network
        namespace of systemd, and nowhere in others.
        """
        from sockreg.commands.load import load

        return load(self.context, force=force, units=units, state=state)

    def unload(self, *, keep: bool = False) -> str:
        """Detach; forget sockets, rules in force and counters. Returns what was done.

        ``keep`` only detaches: sockets and counters are there at the next load().
        """
        from sockreg.commands.load import unload

        return unload(self.context, keep=keep)

    def status(self) -> Status:
        """What is attached, the labels with their sockets, and the counters."""
        from sockreg.views import status

        return status.read(self.context)

    def rules(self) -> list[Binding]:
        """The rules of the generation in force, in the order in which they were read.

        Those that pending() returns wait for an interface. See format_rule().
        """
        from sockreg.views import rules

        return rules.read(self.context).bindings

    def pending(self) -> list[Binding]:
        """The rules that are pending, because the interface that they name is not there."""
        from sockreg.views import rules

        return rules.read(self.context).pending

    def sets(self) -> list[SetOfPrefixes]:
        """The sets of prefixes that rules may name, as the files have them now."""
        from sockreg.views import sets

        return sets.read(self.context)

    def explain(
        self,
        protocol: str,
        address: str,
        port: int,
        *,
        source: str | None = None,
        source_port: int = 0,
        interface: str | None = None,
    ) -> Explanation:
        """Where a packet goes and why. Runs the live program, and counts as one lookup.

        ``protocol`` is ``tcp`` or ``udp``; ``source`` None is the unspecified address. Raises
        UsageError if these are not a packet.
        """
        from sockreg.views import explain

        query = explain.query_of(
            protocol, address, port, source=source, source_port=source_port, interface=interface
        )
        return explain.explain(self.context, query)

    def listeners(self) -> Listeners:
        """Ordinary sockets and steered prefixes: what listens where."""
        from sockreg.views.listeners import read_listeners

        return read_listeners(self.context)

    def inspect(self, label: str) -> list[Details]:
        """Details of a label's sockets: options, queue, processes."""
        from sockreg.views import inspect

        return inspect.read(self.context, label)

    def flows(self, label: str | None = None) -> FlowTable:
        """The UDP flows that Flows=sticky keeps with their members, of one label or of all."""
        from sockreg.views import flows

        return flows.read(self.context, label)

    def report(self) -> str:
        """All of this as one HTML page, which needs no network and no script."""
        from sockreg import report

        return report.of(self.context)

    def check(self, *, files_only: bool = False, probe: bool = False) -> list[Finding]:
        """Problems, present and future, most severe first.

        ``files_only`` checks units and rule files, but not this kernel. ``probe`` sends a datagram
        to UDP servers through a rule, to see where answers come from, and connects to TCP servers
        from a network namespace of its own; this may start them.
        """
        from sockreg import garbage
        from sockreg.check.gather import gather, gather_files
        from sockreg.check.run import run

        with garbage.paused():
            if files_only:
                return run(gather_files(self.context.root))
            return run(gather(self.context, probe=probe))

    def preview(self, *, force: bool = False) -> Change:
        """What apply() would change. Raises ConfigError and RefusedError as apply() does."""
        from sockreg.commands.apply import preview

        return preview(self.context, force=force)

    def apply(self, *, force: bool = False) -> Change:
        """Put the configured rules in force, in one step. Raises ConfigError if they are wrong.

        Raises RefusedError if they take the port that ssh listens on, or if the rules in force were
        read below another root, unless ``force`` is true.
        """
        from sockreg.commands.apply import apply

        return apply(self.context, force=force)

    def bind(
        self,
        label: str,
        rule: str,
        *,
        runtime: bool = False,
        force: bool = False,
        replace: bool = False,
        lasting: float | str | None = None,
    ) -> Change:
        """Add a rule, ``tcp 192.0.2.0/24 80``, to the file of such rules, and apply.

        A ``runtime`` rule lasts until the next boot. ``force`` is as in apply(). ``replace``
        replaces the rules for exactly the same packets that bind() added for other labels, in the
        same step. A rule with ``lasting`` ends by itself after this time, by the wall clock and
        across boots: seconds, or a time span as in systemd.time(7), ``1h 30min``.
        """
        from sockreg.commands.bind import Typed, bind

        return bind(
            self.context,
            [Typed(label, rule.split())],
            runtime,
            force=force,
            replace=replace,
            lasting=lasting,
        )

    def bind_all(
        self,
        rules: Iterable[tuple[str, str]],
        *,
        runtime: bool = False,
        force: bool = False,
        replace: bool = False,
        lasting: float | str | None = None,
    ) -> Change:
        """Add rules, each with its label before it, and apply once: all come into force, or none.

        An error names the rule by its number, from 1. The rest is as in bind().
        """
        from sockreg.commands.bind import Typed, bind

        many = [Typed(label, rule.split(), at) for at, (label, rule) in enumerate(rules, 1)]
        return bind(self.context, many, runtime, force=force, replace=replace, lasting=lasting)

    def unbind(self, label: str, rule: str, *, force: bool = False) -> Change:
        """Remove a rule that bind() added, and apply. ``force`` is as in apply()."""
        from sockreg.commands.bind import Typed, unbind

        return unbind(self.context, [Typed(label, rule.split())], force=force)

    def unbind_all(self, rules: Iterable[tuple[str, str]], *, force: bool = False) -> Change:
        """Remove rules that bind() added, as in bind_all(), and apply once."""
        from sockreg.commands.bind import Typed, unbind

        many = [Typed(label, rule.split(), at) for at, (label, rule) in enumerate(rules, 1)]
        return unbind(self.context, many, force=force)

    def rollback(self, *, force: bool = False) -> Change:
        """Put the previous generation back in force. Files stay as they are.

        ``force`` lets its rules take the port of ssh, and units take labels back that others have
        a socket under now.
        """
        from sockreg.commands.rollback import rollback

        return rollback(self.context, force=force)

    def register(
        self,
        sockets: Sequence[socket | int],
        label: str,
        *,
        unit: str | None = None,
        weight: int | None = None,
    ) -> list[str]:
        """Register listening TCP or bound UDP sockets, or their descriptors.

        Returns a sentence about each one that cannot be registered, and was left out.

        They remain the caller's. A socket stays in the registry until its last descriptor is
        closed. ``unit`` is the unit that they are registered for, by default the unit of this
        process; its earlier socket under the label is replaced. ``weight`` is their share of the
        label's new flows, 0 to 65535, by default the weight in the unit's files, or 100. Raises
        UsageError if an argument is wrong, and RefusedError if none of them can be registered.
        """
        from sockreg.commands import names, register

        names.check_label(label)
        if unit is not None:
            names.check_unit_name(unit)
        if weight is not None:
            names.check_weight(weight)
        received = [(sock if isinstance(sock, int) else sock.fileno(), label) for sock in sockets]
        return register.register(self.context, received, unit=unit, weight=weight)

    def unregister(self, label: str, *, unit: str | None = None) -> int:
        """Remove the sockets of a label, or only those of a unit. Returns how many slots it
        empties.
        """
        from sockreg.commands.unregister import unregister

        return unregister(self.context, label, unit)

    def weigh(self, label: str, weight: int | None, *, unit: str | None = None) -> int:
        """Change the weight of a label's sockets, or only of a unit's. Returns how many.

        Weight 0 drains: nothing new arrives. None is the weight in the unit's files.
        """
        from sockreg.commands.weigh import weigh

        return weigh(self.context, label, unit, weight)
