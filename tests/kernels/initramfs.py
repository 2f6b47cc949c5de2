"""The initramfs of the guests: an archive in which the kernel finds all that tests need.

It is a cpio archive of the "new ASCII format" (Documentation/driver-api/early-userspace/
buffer-format.rst). Archives may follow each other, so what all kernels share is made once, and
each kernel's modules are appended.
"""

from __future__ import annotations

import lzma
import os
import re
import stat
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from tests.kernel.foreign import compiled
from tests.tree import ROOT

GUEST_TREE = Path("/sockreg")
# Each after those that it needs. What a kernel has built in, it has no file for.
MODULES = ("veth", "inet_diag", "tcp_diag", "udp_diag", "unix_diag", "vrf", "tls", "bonding")

# What sockreg needs, and the commands that tests run.
_PACKAGES = (
    "bash", "bpftool", "coreutils", "iproute2", "libbpf1", "libpython3.11-minimal",
    "libpython3.11-stdlib", "python3-minimal", "python3-numpy", "python3-pyelftools",
    "python3-systemd", "python3.11-minimal", "strace", "util-linux",
)  # fmt: skip
_LEFT_OUT = re.compile(
    r"/usr/share/(doc|man|locale|bash-completion|lintian|info)/|/numpy/.*/tests/"
)
# Of .venv: pytest, what it imports, and libbpf. The linters are large, and of no use in there.
_TEST_TOOLS = (
    "_pytest", "iniconfig", "packaging", "pluggy", "pygments", "pylibbpf", "pylibbpf.libs", "py.py",
    "pytest",
)  # fmt: skip
_LIBRARY = re.compile(r"(/\S+) \(0x")
_DIRECTORIES = ("/dev", "/proc", "/root", "/run", "/sys", "/tmp", "/var/tmp")
_TEXT_FILES = {
    "/etc/passwd": "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534::/:/bin/false\n",
    "/etc/group": "root:x:0:\nnogroup:x:65534:\n",
}


class Archive:
    """Writes cpio entries; a file's parent directories come by themselves.

    Links are stored as links, and what they point to is added as well.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._seen = {"/"}

    def add(self, source: Path, target: str | None = None) -> None:
        """Add a file, link or directory (without what is in it), by default under its own name."""
        name = target or str(source)
        if name in self._seen:
            return
        about = source.lstat()
        if stat.S_ISLNK(about.st_mode):
            self._entry(name, about.st_mode, os.fsencode(os.readlink(source)), 0)
            if target is None:
                self.add(Path(os.path.normpath(source.parent / os.readlink(source))))
        elif stat.S_ISDIR(about.st_mode):
            self._entry(name, about.st_mode, b"", about.st_mtime)
        elif stat.S_ISREG(about.st_mode):
            self._entry(name, about.st_mode, source.read_bytes(), about.st_mtime)

    def add_tree(self, source: Path, target: str, left_out: Iterable[str] = ()) -> None:
        """Add a directory and all below it but the names left out at its top."""
        self.add(source, target)
        for entry in sorted(source.iterdir()):
            if entry.name in left_out:
                continue
            if entry.is_dir() and not entry.is_symlink():
                self.add_tree(entry, f"{target}/{entry.name}")
            else:
                self.add(entry, f"{target}/{entry.name}")

    def text(self, name: str, content: bytes, mode: int = 0o644) -> None:
        """Add a file with this content."""
        self._entry(name, stat.S_IFREG | mode, content, 0)

    def directory(self, name: str) -> None:
        """Add an empty directory."""
        self._entry(name, stat.S_IFDIR | 0o755, b"", 0)

    def link(self, name: str, target: str) -> None:
        """Add a symbolic link."""
        self._entry(name, stat.S_IFLNK | 0o777, target.encode(), 0)

    def end(self) -> None:
        """Write the entry that ends an archive."""
        self._write(b"TRAILER!!!", 0, b"", 0)

    def _entry(self, name: str, mode: int, content: bytes, mtime: float) -> None:
        if name in self._seen:
            return
        self._parents(name)
        self._seen.add(name)
        self._write(os.fsencode(name.lstrip("/")), mode, content, int(mtime))

    def _parents(self, name: str) -> None:
        parent = os.path.dirname(name)
        if parent not in self._seen:
            # /bin and /lib are links into /usr here.
            if os.path.islink(parent):
                self.add(Path(parent))
            else:
                self.directory(parent)

    def _write(self, name: bytes, mode: int, content: bytes, mtime: int) -> None:
        # magic, inode, mode, user, group, links, time, size, device, special device,
        # size of the name, checksum: eight hexadecimal digits each
        numbers = (len(self._seen), mode, 0, 0, 1, mtime, len(content), 0, 0, 0, 0)
        header = b"070701" + b"".join(b"%08x" % number for number in (*numbers, len(name) + 1, 0))
        self._file.write(_padded(header + name + b"\0"))
        self._file.write(_padded(content))


def write_shared(file: IO[bytes]) -> None:
    """Write what all kernels share: Python, commands, libraries, and the working tree."""
    archive = Archive(file)
    for name in _DIRECTORIES:
        archive.directory(name)
    for name, text in _TEXT_FILES.items():
        archive.text(name, text.encode())
    files = list(_package_files())
    for each in files:
        archive.add(each)
    for library in _libraries(files):
        archive.add(library)
    guest_tree = str(GUEST_TREE)
    archive.add_tree(ROOT, guest_tree, {".git", ".venv", "build", ".mypy_cache"})
    _add_compiled(archive, guest_tree)
    _add_test_tools(archive, f"{guest_tree}/.venv")
    archive.link("/bin/sh", "bash")
    archive.link("/init", f"{guest_tree}/tests/kernels/init.py")
    archive.end()


def append_own(file: IO[bytes], kernel: Path, arguments: Iterable[str]) -> None:
    """Append what one kernel has for itself: its modules, and the arguments of pytest.

    ``kernel`` is where its package is unpacked.
    """
    archive = Archive(file)
    archive.text("/arguments", "\n".join(arguments).encode())
    archive.directory("/modules")
    for number, name in enumerate(MODULES):
        for found in kernel.rglob(f"{name}.ko*"):
            archive.text(f"/modules/{number}-{name}.ko", _module(found))
    archive.end()


def _module(path: Path) -> bytes:
    if path.suffix == ".xz":
        return lzma.decompress(path.read_bytes())
    if path.suffix == ".zst":
        return subprocess.run(["zstd", "-dc", path], stdout=subprocess.PIPE, check=True).stdout
    return path.read_bytes()


def _add_compiled(archive: Archive, guest_tree: str) -> None:
    """Programs of tests, which the guests have no compiler for."""
    with tempfile.TemporaryDirectory() as directory:
        built = compiled(Path(directory))
        archive.add(built, f"{guest_tree}/tests/kernel/{built.name}")


def _add_test_tools(archive: Archive, target: str) -> None:
    venv = ROOT / ".venv"
    for name in ("bin/python", "bin/python3", "pyvenv.cfg"):
        archive.add(venv / name, f"{target}/{name}")
    site = next(venv.glob("lib/python*/site-packages"))
    for name in _TEST_TOOLS:
        tool, place = site / name, f"{target}/{site.relative_to(venv)}/{name}"
        if tool.is_dir():
            archive.add_tree(tool, place)
        else:
            archive.add(tool, place)


def _package_files() -> Iterator[Path]:
    listed = subprocess.run(
        ["dpkg-query", "--listfiles", *_PACKAGES], capture_output=True, text=True, check=True
    )
    for line in listed.stdout.splitlines():
        path = Path(line)
        if not line.startswith("/") or _LEFT_OUT.search(line) or path.is_dir():
            continue
        yield path
        # Compiled at installation, so no package lists them; compiling takes long in QEMU.
        yield from path.parent.glob(f"__pycache__/{path.stem}.cpython-*.pyc")


def _libraries(files: Iterable[Path]) -> set[Path]:
    """The shared libraries that programs and libraries are linked with (ldd(1))."""
    linked = [
        str(path) for path in files if path.is_file() and path.open("rb").read(4) == b"\x7fELF"
    ]
    # It fails for a file that is not dynamic, and goes on to the others.
    told = subprocess.run(["ldd", *linked], capture_output=True, text=True, check=False)
    return {Path(name) for name in _LIBRARY.findall(told.stdout)}


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 4)
