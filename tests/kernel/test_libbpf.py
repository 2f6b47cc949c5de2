"""Both libraries that sockreg can stand on do all that it asks of them."""

from __future__ import annotations

import ctypes
import io
import socket

import pytest
from elftools.elf.elffile import ELFFile

from sockreg import shipped
from sockreg.errors import EXIT_FAILURE
from sockreg.kernel import bpf, libbpf, testrun
from tests.kernel.host import Host, cookie

LIBRARIES = {"system": libbpf.SYSTEM_LIBRARY, "bundled": libbpf.bundled_library()}


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ctypes.CDLL:
    """Let the commands of the test use this libbpf."""
    path = LIBRARIES[request.param]
    assert path is not None, "pylibbpf is not installed"
    opened = libbpf.open_library(path)
    monkeypatch.setattr(libbpf, "_library", lambda: opened)
    return opened


def test_load_swap_run_and_unload(host: Host, library: ctypes.CDLL) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    with host.serve("web", "127.0.0.1", 8080) as server:
        assert host.ask("192.0.2.7", 80) == "web"
        host.apply("[web]", "Bind=tcp 192.0.2.0/24 81", "Reject=tcp 192.0.2.9 *")
        assert [host.ask("192.0.2.7", port) for port in (80, 81)] == ["refused", "web"]
        assert verdict(host, "192.0.2.7", 81) == (True, cookie(server.sock))
        assert verdict(host, "192.0.2.7", 80) == (True, "sk:0")
        assert verdict(host, "192.0.2.9", 81) == (False, "sk:0")
    host.ok("unload")
    assert libbpf.attached_programs(host.namespace.fd) == []


def verdict(host: Host, address: str, port: int) -> tuple[bool, str]:
    """What the program of the second generation says in a test run."""
    pin = str(host.registry / "generations/2/program")
    with bpf.Pinned(pin) as program, host.namespace.entered():
        passed, selected = testrun.ask(
            program,
            testrun.Question(
                family=socket.AF_INET,
                protocol=socket.IPPROTO_TCP,
                local=(address, port),
                remote=("192.0.2.1", 1234),
            ),
        )
    return passed, f"sk:{selected:x}"


def test_what_the_kernel_refuses_is_told_by_each(host: Host, library: ctypes.CDLL) -> None:
    """A program that the verifier rejects: its own last word is in the message."""
    broken = host.root / "broken.o"
    content = shipped.object_path().read_bytes()
    elf = ELFFile(io.BytesIO(content))
    at = elf.get_section_by_name("sk_lookup")["sh_offset"]
    # BPF_EXIT | BPF_JMP as the first instruction (RFC 9669, 4.3): nothing behind it is reached.
    broken.write_bytes(content[:at] + b"\x95" + bytes(7) + content[at + 8 :])
    host.conf()
    said = host.fails(EXIT_FAILURE, "--object", str(broken), "load")
    assert "the kernel refuses the program: " in said
    assert "unreachable insn 1" in said
    assert "-v shows the full log" in said
    verbose = host.run("-v", "--object", str(broken), "load")
    assert len(verbose.err.splitlines()) > len(said.splitlines())


def test_no_library_at_all(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libbpf, "SYSTEM_LIBRARY", "libbpf.so.0-nowhere")
    monkeypatch.setattr(libbpf, "bundled_library", lambda: None)
    monkeypatch.setattr(libbpf, "_library", libbpf._library.__wrapped__)
    host.conf()
    said = host.fails(EXIT_FAILURE, "load")
    assert "neither libbpf.so.0-nowhere nor the libbpf of the Python package pylibbpf" in said
    assert "cannot open shared object file" in said
    assert "'apt install libbpf1'" in said
    assert "'pip install pylibbpf'" in said


def test_a_library_without_the_functions(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a libbpf that is too old."""
    monkeypatch.setattr(libbpf, "SYSTEM_LIBRARY", "libc.so.6")
    monkeypatch.setattr(libbpf, "bundled_library", lambda: None)
    monkeypatch.setattr(libbpf, "_library", libbpf._library.__wrapped__)
    host.conf()
    said = host.fails(EXIT_FAILURE, "load")
    assert "undefined symbol: libbpf_set_print" in said
    assert "the Python package pylibbpf is not installed" in said
