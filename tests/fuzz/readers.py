"""The readers of input, each with its oracle: an error of ours, or a value that reads back.

A reader takes bytes and returns nothing. Any other exception than those that its module promises is
a fault, and so is a value that is not the same when it is written and read again.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import posix
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import cache
from pathlib import Path
from unittest import mock

from sockreg import streams
from sockreg.cli import main as command_line
from sockreg.companion import flags
from sockreg.config import bindfile
from sockreg.config.ruleset import examine_rule_set, read_rule_set
from sockreg.errors import ConfigError, SockregError, UsageError
from sockreg.guards import ssh_config, ssh_kept
from sockreg.host import packetfilter
from sockreg.model import Action, Binding, Place
from sockreg.receive import protocol
from sockreg.registry import generation_record, kept, trial
from sockreg.rules import tubular
from sockreg.rules.syntax import format_line, format_rule, parse_rule
from sockreg.systemd import listen_fds
from sockreg.systemd.keyfile import read_sections
from sockreg.systemd.unit_label import of_files
from sockreg.systemd.unit_of import cgroup_paths, unit_of_cgroup
from sockreg.terms import NO_UNIT, TCP, is_unit_name, label_problem
from sockreg.views import ahead

_PLACE = Place("/etc/sockreg/a.conf", 1)
_LABEL = "web"
HOME = "SOCKREG_FUZZ_HOME"  # the directory for files, which others remove


@cache
def _root() -> Path:
    """A directory in memory that stands for ``/``; the process removes it when it ends."""
    import atexit

    made = tempfile.mkdtemp(prefix="sockreg-fuzz-", dir=os.environ.get(HOME, "/dev/shm"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    for directory in ("etc/sockreg", "etc/systemd/system", "etc/ssh", "run/sockreg", "state"):
        os.makedirs(f"{made}/{directory}")
    return Path(made)


@contextlib.contextmanager
def _file(name: str, content: bytes) -> Iterator[Path]:
    path = _root() / name
    path.write_bytes(content)
    try:
        yield path
    finally:
        path.unlink()


def _meanings(bindings: list[Binding]) -> list[Binding]:
    return sorted((binding._replace(place=_PLACE) for binding in bindings), key=repr)


def rule(data: bytes) -> None:
    text = data.decode(errors="surrogateescape")
    for action in Action:
        try:
            bindings = parse_rule(action, text, _LABEL, _PLACE, [])
        except ValueError as error:
            _sentence(str(error))
            continue
        for binding in bindings:
            assert parse_rule(action, format_rule(binding), _LABEL, _PLACE, []) == [binding]


def keyfile(data: bytes) -> None:
    lines = data.count(b"\n") + 1
    sections = read_sections(data)
    for section in sections:
        assert all(1 <= entry.line <= entry.end <= lines for entry in section.entries)
        for _, text in section.problems:
            _sentence(text)
    sound = [section for section in sections[1:] if not section.problems]
    text = "\n".join(
        line
        for section in sound
        for line in (f"[{section.name}]", *(f"{it.key}={it.value}" for it in section.entries))
    )
    if any(it.value.endswith("\\") or it.key[:1] in "[#;" for s in sound for it in s.entries):
        return  # was put together from several lines: no line of its own says it
    again = read_sections(text.encode(errors="surrogateescape"))[1:]
    assert [(s.name, [it[2:] for it in s.entries]) for s in again] == [
        (s.name, [it[2:] for it in s.entries]) for s in sound
    ]


def conf(data: bytes) -> None:
    with _file("etc/sockreg/a.conf", data):
        _rules_read_back()


def unit(data: bytes) -> None:
    with _file("etc/systemd/system/web.socket", data):
        _rules_read_back("web.socket")
        with contextlib.suppress(ConfigError):
            found = of_files(str(_root()), "web.socket")
            assert found is None or not label_problem(found[1])


def _rules_read_back(*active: str) -> None:
    rules, report = examine_rule_set(str(_root()), active)
    for problem in report.problems:
        _sentence(problem.text)
    try:
        sound = read_rule_set(str(_root()), active)
    except ConfigError:
        assert report.problems
        return
    assert sound.bindings == rules.bindings
    text = "".join(
        f"[{binding.label}]\n{format_line(binding)}\n"
        if binding.action is Action.BIND
        else f"[x]\n{format_line(binding)}\n"
        for binding in sound.bindings
    )
    before = _root() / "etc/sockreg"
    with contextlib.ExitStack() as stack:
        for name in ("etc/sockreg/a.conf", "etc/systemd/system/web.socket"):
            path = _root() / name
            if path.exists():
                content = path.read_bytes()
                path.unlink()
                stack.callback(path.write_bytes, content)
        stack.enter_context(_file(str(before / "b.conf"), text.encode()))
        again = read_rule_set(str(_root())).bindings
    own = {binding.label for binding in again if binding.action is not Action.BIND} - {"x"}
    assert not own
    assert [b._replace(label="") for b in _meanings(again)] == [
        b._replace(label="") for b in _meanings(sound.bindings)
    ]


def bind_file(data: bytes) -> None:
    """What an operator has in the file that bind writes stays, and the rule is added."""
    words = ["tcp", "192.0.2.0/24,@all", "80"]
    with _file("etc/sockreg/90-bind.conf", data) as path:
        files = bindfile.BindFiles(str(_root()))
        try:
            files.add(_LABEL, words, runtime=False, notices=[])
        except ConfigError:
            return
        changes = files.changes()
        if changes:
            text = changes[str(path)]
            assert text is not None
            path.write_bytes(text.encode(errors="surrogateescape"))
        again = bindfile.BindFiles(str(_root()))
        again.add(_LABEL, words, runtime=False, notices=[])
        assert not again.changes()


def tubular_json(data: bytes) -> None:
    try:
        document = tubular.read_document(data, "bindings.json")
    except ConfigError as error:
        for line in error.lines:
            _sentence(line)
        return
    text = tubular.conf_text(document.entries)
    for section in read_sections(text.encode()):
        assert not section.problems
        for entry in section.entries:
            assert parse_rule(Action.BIND, entry.value, section.name, _PLACE, [])


def record(data: bytes) -> None:
    """The kept file: with a digest that is right, so that what it covers is read."""
    rest = bytes(32) + data
    with _file("state/rules", b"sockkpt1" + hashlib.sha256(rest).digest() + rest):
        try:
            found = kept.read(str(_root() / "state"))
        except ValueError:
            return
    assert found is not None
    header, packed = found
    again = generation_record.encode(header, packed.records)
    assert generation_record.decode(again) == packed
    assert len(generation_record.unpack(packed)) == header.count


def ssh_ports(data: bytes) -> None:
    directory = str(_root() / "state")
    with _file(os.path.relpath(ssh_kept.path_in(directory), _root()), data):
        try:
            found = ssh_kept.read(directory)
        except ValueError:
            return
    assert found is not None
    json.dumps(asdict(found))


def descriptor_flags(data: bytes) -> None:
    with _file("state/flags", data) as path:
        flags.restore(str(path), range(0))


def passed_names(data: bytes) -> None:
    count, _, names = data.partition(b"\n")
    environment = {b"LISTEN_FDNAMES": names.replace(b"\0", b""), b"LISTEN_FDS": count}
    with (
        mock.patch.object(listen_fds, "_sd_listen_fds", return_value=len(count)),
        mock.patch.dict(posix.environ, environment),
    ):
        try:
            found = listen_fds.received()
        except UsageError as error:
            _sentence(error.message)
            return
    assert ":".join(name for _, name in found) == names.replace(b"\0", b"").decode(
        "ascii", "surrogateescape"
    )


def receiver(data: bytes) -> None:
    ours, peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, peer, open("/dev/null", "rb") as nothing:
        for part in data.split(b"\n"):
            if part and len(part) < 2000:
                with contextlib.suppress(OSError):
                    peer.settimeout(0.01)
                    socket.send_fds(peer, [part], [nothing.fileno()])
        peer.close()
        request = protocol.Request()
        with request:
            try:
                request.receive(ours, 0.01)
            except SockregError as error:
                _sentence(error.message)
                return
            assert not label_problem(request.label)
            assert request.fds


def cgroup_text(data: bytes) -> None:
    for path in cgroup_paths(data).values():
        found = unit_of_cgroup(path)
        assert found == NO_UNIT or is_unit_name(found)
        assert found == NO_UNIT or found in path.split("/") or f"_{found}" in path.split("/")


def sshd_config(data: bytes) -> None:
    with _file("etc/ssh/sshd_config", data):
        for found in ssh_config.configured(str(_root()), "/etc/ssh/sshd_config"):
            assert 0 < found.port < 65536
            if found.address is not None:
                ssh_config.address_and_port(f"[{found.address}]:{found.port}")


def _walk_filter(ruleset: packetfilter.Ruleset) -> None:
    flow = ahead.flow_of(TCP, (2, 0xC0000200, 24), (80, 80), None)
    found = ahead.Filter(ruleset)
    for effect in found.effects(flow):
        ahead.sentence(effect)


def nftables(data: bytes) -> None:
    def answer(_: object, command: tuple[str, ...], __: str) -> str | None:
        return data.decode(errors="surrogateescape") if command[0] == "nft" else None

    with mock.patch.object(packetfilter, "_output", answer):
        _walk_filter(packetfilter.read())


def iptables(data: bytes) -> None:
    def answer(_: object, command: tuple[str, ...], __: str) -> str | None:
        return data.decode(errors="surrogateescape") if "iptables" in command[0] else None

    with (
        mock.patch.object(packetfilter, "_output", answer),
        mock.patch.object(packetfilter, "_lists", return_value=True),
    ):
        _walk_filter(packetfilter.read())


def trial_name(data: bytes) -> None:
    text = data.decode(errors="surrogateescape")
    try:
        found = trial.parse_token(text)
    except UsageError:
        return
    assert found.token.lstrip("0") == text.lstrip("0") or trial.parse_token(found.token) == found


def arguments(data: bytes) -> None:
    words = data.decode(errors="surrogateescape").split("\n")
    with (
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
    ):
        streams.begin()
        try:
            command_line._parse(words)
        except SystemExit as ended:
            done = ended.code
        except UsageError as error:
            done = error.status
            for line in error.lines:
                streams.err(line)
        else:
            done = 0
        assert done in (0, 2)
    for text in (out.getvalue(), err.getvalue()):
        assert all(line.isprintable() for line in text.split("\n"))


def _sentence(text: str) -> None:
    """What an operator reads is of a length that can be read."""
    assert len(text) < 10_000, len(text)


READERS: dict[str, Callable[[bytes], None]] = {
    reader.__name__: reader
    for reader in (
        rule, keyfile, conf, unit, bind_file, tubular_json, record, ssh_ports, descriptor_flags,
        passed_names, receiver, cgroup_text, sshd_config, nftables, iptables, trial_name,
        arguments,
    )
}  # fmt: skip
