"""Whether a file is one of our BPF objects, complete and of this version.

The shipped file is known by its hash. Other files are inspected with pyelftools. The sources, whose
hash an object carries, determine its maps and programs.
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import NamedTuple

from sockreg import shipped, trust
from sockreg.errors import SockregError
from sockreg.kernel.object_source import OBJECTS, SOURCES

SOURCE_SECTION = "sockreg.source"
_LICENSE = "Dual MIT/GPL"


class Kind(NamedTuple):
    """One of our two objects. ``file`` is its name in bpf/, ``section`` that of its program."""

    file: str
    section: str


SK_LOOKUP = Kind("sockreg.bpf.o", "sk_lookup")
SOCK_OPS = Kind("sockops.bpf.o", "sockops")


class ObjectInfo(NamedTuple):
    """``source`` is the SHA-256 (hex) of the C sources that the object was built from."""

    source: str
    license: str


def read(content: bytes, kind: Kind) -> ObjectInfo:
    """Facts about the object. Raises any kind of exception if it is not a BPF object."""
    # This takes 30 ms to import, and only foreign objects need it.
    from elftools.elf.elffile import ELFFile

    elf = ELFFile(io.BytesIO(content))
    if elf["e_machine"] != "EM_BPF":
        raise ValueError(f"it is for machine {elf['e_machine']}, not for BPF")
    if elf.little_endian != (sys.byteorder == "little"):
        raise ValueError("it is of the other byte order")
    data = {}
    for name in (kind.section, "license", SOURCE_SECTION):
        section = elf.get_section_by_name(name)
        if section is None:
            raise ValueError(f"it has no section {name}")
        data[name] = bytes(section.data())
    return ObjectInfo(_text(data[SOURCE_SECTION]), _text(data["license"]))


def _text(data: bytes) -> str:
    return data.split(b"\0", 1)[0].decode("ascii")


def _content(path: Path) -> bytes:
    """The file. Raises OSError, and UntrustedError unless root or the owner of sockreg wrote it."""
    if os.stat(shipped.PACKAGE).st_uid != 0:
        return trust.read_file(str(path))  # a source tree: its owner writes this code, too
    return trust.read("/", os.path.abspath(path))


def check(path: Path, kind: Kind) -> str:
    """Read the object and compare it with what this version of sockreg expects.

    Returns the SHA-256 (hex) of the sources it was built from. SockregError says in one sentence
    what is wrong. The kernel's program tag is not compared: its computation has changed (Linux
    6.18) and may change again.
    """
    hint = "reinstall sockreg, so that the object and the commands have the same version"
    expected = SOURCES[kind.file]
    try:
        content = _content(path)
    except trust.UntrustedError as error:
        raise SockregError(
            f"the object {path} is not trusted: {error.filename} {error.strerror}", hint
        ) from None
    except FileNotFoundError:
        raise SockregError(f"the object {path} is missing", hint) from None
    except PermissionError as error:
        raise SockregError(f"cannot read the object {path}: {error.strerror}", hint) from None
    import hashlib

    if hashlib.sha256(content).hexdigest() == OBJECTS[kind.file]:
        return expected
    try:
        info = read(content, kind)
    except ImportError:
        raise  # pyelftools itself is missing
    except Exception as error:  # noqa: BLE001
        # For damaged files, pyelftools raises a dozen kinds of exception.
        raise SockregError(
            f"{path} is not an object of sockreg: {str(error) or type(error).__name__}", hint
        ) from None
    if info.license != _LICENSE:
        raise SockregError(f"{path} has licence {info.license!r}, not {_LICENSE!r}", hint)
    if info.source != expected:
        raise SockregError(
            f"{path} was built from other sources (hash {info.source[:12]}, not {expected[:12]})",
            hint,
        )
    # The verifier keeps a flipped bit from harming the kernel, but not from steering wrongly.
    # An object that others have built from the same sources may have other bytes.
    if path in (shipped.object_path(), shipped.sock_ops_object_path()):
        raise SockregError(f"{path} is damaged: it is not the file that was shipped", hint)
    return info.source
