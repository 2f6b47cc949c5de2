"""Paths of the files that sockreg ships beside its Python: BPF objects, units, manual page."""

from __future__ import annotations

from pathlib import Path

from sockreg.errors import SockregError

PACKAGE = Path(__file__).resolve().parent


def object_path() -> Path:
    """The compiled BPF object."""
    return _shipped("bpf", "bpf") / "sockreg.bpf.o"


def sock_ops_object_path() -> Path:
    """The compiled BPF object of the sock_ops program."""
    return _shipped("bpf", "bpf") / "sockops.bpf.o"


def tracing_object_path() -> Path:
    """The compiled BPF object of the program that tells what it decides."""
    return _shipped("bpf", "bpf") / "trace.bpf.o"


def units_path() -> Path:
    """The directory of the systemd units, with the catalog, the group and the completion."""
    return _shipped("units", "units")


def man_page_path() -> Path:
    """The manual page, in roff."""
    return _shipped("man", "docs/man") / "sockreg.8"


def _shipped(name: str, in_tree: str) -> Path:
    # An installed sockreg has its data inside the package. In a source tree, which may also
    # be installed with `pip install -e`, the data is beside the package.
    for path in (PACKAGE / "data" / name, PACKAGE.parent / in_tree):
        if path.is_dir():
            return path
    raise SockregError(
        f"{PACKAGE}: the {name} files of sockreg are missing",
        "the installation is incomplete: install sockreg again",
    )
