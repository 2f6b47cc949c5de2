"""A typed layer over the part of libbpf's public C API that sockreg needs.

No ctypes object leaves this module. Errors are OSError with libbpf's errno. The library is the
system's libbpf.so.1, or else the libbpf inside pylibbpf's extension module, which exports the same
C symbols. That file is opened as a plain shared library, because importing the package takes 30 ms
and its Python interface has neither links nor pins.

Option structs follow LIBBPF_OPTS (libbpf_common.h): ``sz`` comes first. A struct shorter than the
library's own is valid, so one definition serves old and new libraries.
"""

import contextlib
import ctypes
import errno
import functools
import mmap
import os
import struct
import sys
from collections.abc import Iterator
from ctypes import POINTER, byref, c_bool, c_char_p, c_int, c_size_t, c_uint32, c_void_p
from pathlib import Path
from typing import NamedTuple

from sockreg import interrupts
from sockreg.errors import MissingError

SYSTEM_LIBRARY = "libbpf.so.1"

# linux/bpf.h
ATTACH_CGROUP_SOCK_OPS, ATTACH_SK_LOOKUP = 3, 36  # enum bpf_attach_type
# enum bpf_map_type
MAP_TYPE_ARRAY, MAP_TYPE_PROG_ARRAY, MAP_TYPE_LRU_HASH, MAP_TYPE_SOCKMAP = 2, 3, 9, 15
PROG_TYPE_SK_LOOKUP = 30  # enum bpf_prog_type
MAP_RDONLY_PROG = 1 << 7  # BPF_F_RDONLY_PROG
MAP_MMAPABLE = 1 << 10
_BATCH = 4096  # entries that read_hash() reads at once
LINK_REPLACE = 1 << 2  # BPF_F_REPLACE

_PROGRAM_INFO = struct.Struct("=II8sIIQQQIIQ16s")  # struct bpf_prog_info, up to name
_MAP_COUNT_AT = 52  # in struct bpf_prog_info, before the address of the ids
_MAP_INFO = struct.Struct("=IIIIII16s")  # struct bpf_map_info, up to name
_LINK_INFO = struct.Struct("=III4xII")  # struct bpf_link_info with its netns part
_PROGRAMS_MAX = 64  # the kernel's own limit per hook (BPF_CGROUP_MAX_PROGS; netns has no more)


class ProgramInfo(NamedTuple):
    id: int
    tag: str  # hex
    name: str
    map_count: int
    loaded: int  # ns since boot


class LinkInfo(NamedTuple):
    id: int
    program_id: int
    netns_inode: int  # 0 when the namespace is gone


class TestRun(NamedTuple):
    verdict: int
    context: bytes
    duration: int  # ns of one repetition


class LoadError(OSError):
    """The kernel or libbpf refused the object; ``log`` is libbpf's and the verifier's text."""

    def __init__(self, number: int, log: str) -> None:
        super().__init__(number, os.strerror(number))
        self.log = log

    @property
    def is_denial(self) -> bool:
        """Whether a right was missing, not the verifier's approval, which returns EACCES, too."""
        return self.errno in (errno.EPERM, errno.EACCES) and "processed " not in self.log

    def reason(self) -> str:
        """The most useful line of the log: the verifier's last line, or else libbpf's."""
        lines = [line.strip() for line in self.log.splitlines() if line.strip()]
        for index, line in enumerate(lines):
            if line.startswith("processed ") and "insns" in line and index:
                return lines[index - 1]
        return lines[-1] if lines else str(self.strerror)


class _MapCreateOpts(ctypes.Structure):
    _fields_ = (
        ("sz", c_size_t),
        ("btf_fd", c_uint32),
        ("btf_key_type_id", c_uint32),
        ("btf_value_type_id", c_uint32),
        ("btf_vmlinux_value_type_id", c_uint32),
        ("inner_map_fd", c_uint32),
        ("map_flags", c_uint32),
    )


class _ProgramLoadOpts(ctypes.Structure):
    _fields_ = (("sz", c_size_t), ("attempts", c_int), ("expected_attach_type", c_uint32))


class _LinkUpdateOpts(ctypes.Structure):
    _fields_ = (("sz", c_size_t), ("flags", c_uint32), ("old_prog_fd", c_uint32))


class _TestRunOpts(ctypes.Structure):
    _fields_ = (
        ("sz", c_size_t),
        ("data_in", c_void_p),
        ("data_out", c_void_p),
        ("data_size_in", c_uint32),
        ("data_size_out", c_uint32),
        ("ctx_in", c_void_p),
        ("ctx_out", c_void_p),
        ("ctx_size_in", c_uint32),
        ("ctx_size_out", c_uint32),
        ("retval", c_uint32),
        ("repeat", c_int),
        ("duration", c_uint32),
        ("flags", c_uint32),
        ("cpu", c_uint32),
        ("batch_size", c_uint32),
    )


_PRINT = ctypes.CFUNCTYPE(c_int, c_int, c_char_p, c_void_p)
_log: list[str] = []
_libc = ctypes.CDLL(None)
_libc.vsnprintf.argtypes = (c_void_p, c_size_t, c_char_p, c_void_p)


_LOG_MAX = 1 << 24  # the most that libbpf lets the verifier write, passed on in one piece
_INFO = 1  # enum libbpf_print_level; debug output is above it


@_PRINT  # type: ignore[untyped-decorator]
def _print(level: int, pattern: bytes, arguments: int) -> int:
    if level > _INFO:
        return 0
    # libbpf passes a va_list: on every ABI that it supports, that is one pointer.
    # Mapped, not created by ctypes, which would write to every byte of it.
    text = (ctypes.c_char * _LOG_MAX).from_buffer(mmap.mmap(-1, _LOG_MAX))
    _libc.vsnprintf(text, len(text), pattern, arguments)
    _log.append(text.value.decode("utf-8", "replace"))
    return 0


def bundled_library() -> str | None:
    """The path of pylibbpf's extension module for this interpreter, or None."""
    from importlib.util import find_spec

    spec = find_spec("pylibbpf")
    version = f"cpython-{sys.version_info[0]}{sys.version_info[1]}-"
    for folder in (spec.submodule_search_locations if spec else None) or ():
        for file in sorted(Path(folder).glob("*.so")):
            if version in file.name:
                return str(file)
    return None


def open_library(path: str) -> ctypes.CDLL:
    """Open one libbpf by path or soname, and declare the functions that are called.

    Raises OSError if it cannot be opened, and AttributeError if it lacks one of these functions.
    """
    lib = ctypes.CDLL(path, use_errno=True)
    pointer, path_or_name = c_void_p, c_char_p
    for name, result, arguments in (
        ("libbpf_set_print", pointer, (_PRINT,)),
        ("libbpf_num_possible_cpus", c_int, ()),
        ("bpf_object__open_file", pointer, (path_or_name, pointer)),
        ("bpf_object__load", c_int, (pointer,)),
        ("bpf_object__find_map_by_name", pointer, (pointer, path_or_name)),
        ("bpf_object__find_program_by_name", pointer, (pointer, path_or_name)),
        ("bpf_object__next_map", pointer, (pointer, pointer)),
        ("bpf_object__next_program", pointer, (pointer, pointer)),
        ("bpf_object__btf_fd", c_int, (pointer,)),
        ("bpf_map__fd", c_int, (pointer,)),
        ("bpf_map__reuse_fd", c_int, (pointer, c_int)),
        ("bpf_map__set_max_entries", c_int, (pointer, c_uint32)),
        ("bpf_map__set_initial_value", c_int, (pointer, c_char_p, c_size_t)),
        ("bpf_program__fd", c_int, (pointer,)),
        ("bpf_program__set_autoload", c_int, (pointer, c_bool)),
        ("bpf_link_create", c_int, (c_int, c_int, c_int, pointer)),
        ("bpf_link_update", c_int, (c_int, c_int, POINTER(_LinkUpdateOpts))),
        ("bpf_link_detach", c_int, (c_int,)),
        ("bpf_obj_get_info_by_fd", c_int, (c_int, c_void_p, POINTER(c_uint32))),
        ("bpf_map_get_fd_by_id", c_int, (c_uint32,)),
        ("bpf_prog_get_fd_by_id", c_int, (c_uint32,)),
        ("bpf_prog_query", c_int, (c_int, c_int, c_uint32, pointer, pointer, pointer)),
        ("bpf_prog_test_run_opts", c_int, (c_int, POINTER(_TestRunOpts))),
        (
            "bpf_prog_load",
            c_int,
            (c_uint32, path_or_name, path_or_name, c_char_p, c_size_t, POINTER(_ProgramLoadOpts)),
        ),
        ("bpf_map_freeze", c_int, (c_int,)),
        ("bpf_map_update_elem", c_int, (c_int, pointer, pointer, ctypes.c_uint64)),
        (
            "bpf_map_lookup_batch",
            c_int,
            (c_int, pointer, pointer, pointer, pointer, POINTER(c_uint32), pointer),
        ),
        (
            "bpf_map_create",
            c_int,
            (c_int, path_or_name, c_uint32, c_uint32, c_uint32, POINTER(_MapCreateOpts)),
        ),
    ):
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    lib.libbpf_set_print(_print)
    return lib


@functools.cache
def _library() -> ctypes.CDLL:
    why = []
    for find in (lambda: SYSTEM_LIBRARY, bundled_library):
        path = find()
        if path is None:
            why.append("the Python package pylibbpf is not installed")
            continue
        try:
            return open_library(path)
        except (OSError, AttributeError) as error:  # AttributeError if a function is missing
            why.append(str(error))
    raise MissingError(
        f"neither {SYSTEM_LIBRARY} nor the libbpf of the Python package pylibbpf can be used: "
        f"{'; '.join(why)}",
        "install one: 'apt install libbpf1' or 'pip install pylibbpf'",
    )


def log_text() -> str:
    """The messages of libbpf and the verifier so far in this process (shown by -v)."""
    return "".join(_log)


def _checked(result: int) -> int:
    if result < 0:
        # libbpf 1.x returns -errno and also sets errno; the bpf(2) wrappers do the same.
        number = -result if result < -1 else ctypes.get_errno() or errno.EPERM
        raise OSError(number, os.strerror(number))
    return result


class Object:
    """One opened object file. Its maps are adjusted by name before ``load``.

    At the end of the block its descriptors are closed. Its memory stays until the process
    ends: bpf_object__close() of libbpf 1.1 unmaps the wrong size when a map of global data was
    reused with another size.
    """

    def __init__(self, path: str) -> None:
        self._lib = _library()
        _log.clear()
        with interrupts.delayed():
            self._object = self._lib.bpf_object__open_file(os.fsencode(path), None)
        if not self._object:
            raise LoadError(ctypes.get_errno() or errno.EINVAL, log_text())

    def __enter__(self) -> "Object":
        return self

    def __exit__(self, *_: object) -> None:
        lib = self._lib
        opened = [lib.bpf_object__btf_fd(self._object)]
        for following, descriptor in (
            (lib.bpf_object__next_map, lib.bpf_map__fd),
            (lib.bpf_object__next_program, lib.bpf_program__fd),
        ):
            item = following(self._object, None)
            while item:
                opened.append(descriptor(item))
                item = following(self._object, item)
        for fd in opened:
            if fd >= 0:
                os.close(fd)

    def _map(self, name: str) -> int:
        found: int | None = self._lib.bpf_object__find_map_by_name(self._object, name.encode())
        if not found:
            raise KeyError(name)
        return found

    def reuse_map(self, name: str, fd: int) -> None:
        """Use an existing map instead of creating one."""
        _checked(self._lib.bpf_map__reuse_fd(self._map(name), fd))

    def set_max_entries(self, name: str, count: int) -> None:
        _checked(self._lib.bpf_map__set_max_entries(self._map(name), count))

    def set_initial_value(self, name: str, value: bytes) -> None:
        """The content of a .rodata or .data section; its size must be the section's."""
        _checked(self._lib.bpf_map__set_initial_value(self._map(name), value, len(value)))

    def leave_out(self, name: str) -> None:
        """Do not load the program of that name."""
        _checked(self._lib.bpf_program__set_autoload(self._program(name), False))

    def load(self) -> None:
        """Create the maps and load the programs. Raises LoadError with the log."""
        # libbpf calls back what it has to say, and loses an exception from there.
        with interrupts.delayed():
            result = self._lib.bpf_object__load(self._object)
        if result < 0:
            raise LoadError(-result, log_text())

    def map_fd(self, name: str) -> int:
        """A descriptor that belongs to the object; valid after ``load``."""
        return _checked(self._lib.bpf_map__fd(self._map(name)))

    def program_fd(self, name: str) -> int:
        """A descriptor that belongs to the object; valid after ``load``."""
        return _checked(self._lib.bpf_program__fd(self._program(name)))

    def _program(self, name: str) -> int:
        found: int | None = self._lib.bpf_object__find_program_by_name(self._object, name.encode())
        if not found:
            raise KeyError(name)
        return found


def create_constant(name: str, content: memoryview) -> int:
    """An ARRAY whose one value nobody can change any more: neither programs nor bpf(2).

    The verifier knows its content, as with a .rodata section. ``content`` must be writable: ctypes
    takes the address of no other buffer.
    """
    # Mappable only for its content to start at a page, so that no element of a table lies across
    # two cache lines. The kernel maps no such array for writing (bpf_map_mmap()).
    fd = create_array(name, len(content), flags=MAP_MMAPABLE | MAP_RDONLY_PROG)
    try:
        value = (ctypes.c_char * len(content)).from_buffer(content)
        _checked(_library().bpf_map_update_elem(fd, byref(c_uint32(0)), value, 0))
        _checked(_library().bpf_map_freeze(fd))
    except OSError:
        os.close(fd)
        raise
    return fd


def create_array(
    name: str, value_size: int, max_entries: int = 1, flags: int = MAP_MMAPABLE
) -> int:
    """An ARRAY of u32 -> ``value_size`` bytes (values start 8-byte aligned)."""
    return create_map(MAP_TYPE_ARRAY, name, value_size, max_entries, flags)


def create_map(
    kind: int, name: str, value_size: int, max_entries: int = 1, flags: int = 0, key_size: int = 4
) -> int:
    """A map; its keys are usually of type u32."""
    opts = _MapCreateOpts(sz=ctypes.sizeof(_MapCreateOpts), map_flags=flags)
    return _checked(
        _library().bpf_map_create(
            kind, name.encode(), key_size, value_size, max_entries, byref(opts)
        )
    )


def read_hash(fd: int, key_size: int, value_size: int) -> Iterator[tuple[bytes, bytes]]:
    """All entries of a hash map, bucket by bucket: each once, whatever others add or remove.

    Those added or removed meanwhile may be missing or included. EINVAL before Linux 5.6.
    """
    place, following = ctypes.create_string_buffer(8), ctypes.create_string_buffer(8)
    keys = ctypes.create_string_buffer(key_size * _BATCH)
    values = ctypes.create_string_buffer(value_size * _BATCH)
    start = None
    while True:
        count = ctypes.c_uint32(_BATCH)
        at_end = False
        try:
            _checked(
                _library().bpf_map_lookup_batch(
                    fd, start, following, keys, values, byref(count), None
                )
            )
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
            at_end = True
        some, theirs = keys.raw, values.raw
        for at in range(count.value):
            yield (
                some[at * key_size : (at + 1) * key_size],
                theirs[at * value_size : (at + 1) * value_size],
            )
        if at_end:
            return
        place, following = following, place
        start = place


def load_sk_lookup(name: str, instructions: bytes) -> int:
    """Load a program from its instructions of 8 bytes each."""
    opts = _ProgramLoadOpts(
        sz=ctypes.sizeof(_ProgramLoadOpts), expected_attach_type=ATTACH_SK_LOOKUP
    )
    return _checked(
        _library().bpf_prog_load(
            PROG_TYPE_SK_LOOKUP,
            name.encode(),
            b"Dual MIT/GPL",
            instructions,
            len(instructions) // 8,
            byref(opts),
        )
    )


def write_array(fd: int, content: bytes | memoryview, size: int) -> None:
    """Fill an mmapable ARRAY of ``size`` bytes from its start, in one copy."""
    with mmap.mmap(fd, _pages(size)) as memory:
        view = memoryview(content).cast("B")
        memory[: len(view)] = view


def _pages(size: int) -> int:
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE


def create_link(program_fd: int, netns_fd: int) -> int:
    """Attach a program to a network namespace; the link ends with its last descriptor or pin."""
    return _checked(_library().bpf_link_create(program_fd, netns_fd, ATTACH_SK_LOOKUP, None))


def create_cgroup_link(program_fd: int, cgroup_fd: int) -> int:
    """Attach a sock_ops program to a cgroup and those below it, beside existing programs."""
    return _checked(_library().bpf_link_create(program_fd, cgroup_fd, ATTACH_CGROUP_SOCK_OPS, None))


def update_link(link_fd: int, new_program_fd: int, old_program_fd: int) -> None:
    """Replace the program in one step, if the old one is still attached (otherwise EPERM)."""
    opts = _LinkUpdateOpts(
        sz=ctypes.sizeof(_LinkUpdateOpts), flags=LINK_REPLACE, old_prog_fd=old_program_fd
    )
    _checked(_library().bpf_link_update(link_fd, new_program_fd, byref(opts)))


def detach_link(link_fd: int) -> None:
    """Detach the program now, even while other processes have the link open. May be repeated."""
    _checked(_library().bpf_link_detach(link_fd))


def detach_if_link(fd: int) -> None:
    """detach_link(), unless this is something else that somebody has pinned under its name."""
    try:
        detach_link(fd)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise


def _info(fd: int, layout: struct.Struct) -> tuple[int | bytes, ...]:
    buffer = ctypes.create_string_buffer(layout.size)
    size = c_uint32(layout.size)
    _checked(_library().bpf_obj_get_info_by_fd(fd, buffer, byref(size)))
    return layout.unpack(buffer.raw)


def _name(field: int | bytes) -> str:
    return bytes(field).split(b"\0", 1)[0].decode("ascii", "replace")


def program_info(fd: int) -> ProgramInfo:
    _, id_, tag, _, _, _, _, loaded, _, map_count, _, name = _info(fd, _PROGRAM_INFO)
    return ProgramInfo(int(id_), bytes(tag).hex(), _name(name), int(map_count), int(loaded))


@contextlib.contextmanager
def map_of_program(fd: int, name: str) -> Iterator[int]:
    """A descriptor of the map of this name that a program uses; needs CAP_SYS_ADMIN (EPERM).

    Raises OSError (ENOENT) if there is none.
    """
    count = program_info(fd).map_count
    ids = (c_uint32 * count)()
    request = bytearray(_PROGRAM_INFO.size)
    struct.pack_into("=IQ", request, _MAP_COUNT_AT, count, ctypes.addressof(ids))
    buffer = ctypes.create_string_buffer(bytes(request), len(request))
    size = c_uint32(len(request))
    _checked(_library().bpf_obj_get_info_by_fd(fd, buffer, byref(size)))
    for number in ids:
        opened = _checked(_library().bpf_map_get_fd_by_id(number))
        try:
            if _name(_info(opened, _MAP_INFO)[-1]) == name:
                yield opened
                return
        finally:
            os.close(opened)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def link_info(fd: int) -> LinkInfo:
    _, id_, program_id, inode, _ = _info(fd, _LINK_INFO)
    return LinkInfo(int(id_), int(program_id), int(inode))


def program_by_id(program_id: int) -> int:
    """A descriptor of a program by its id; needs CAP_SYS_ADMIN (EPERM)."""
    return _checked(_library().bpf_prog_get_fd_by_id(program_id))


def attached_programs(netns_fd: int) -> list[int]:
    """Ids of all sk_lookup programs of a network namespace, in the order they run.

    Needs CAP_NET_ADMIN (EPERM); EINVAL on a kernel without sk_lookup (before 5.9).
    """
    ids, count = (c_uint32 * _PROGRAMS_MAX)(), c_uint32(_PROGRAMS_MAX)
    _checked(_library().bpf_prog_query(netns_fd, ATTACH_SK_LOOKUP, 0, None, ids, byref(count)))
    return list(ids[: count.value])


def test_run(program_fd: int, context: bytes, repeat: int = 1) -> TestRun:
    """Run a program on a context made by the kernel (BPF_PROG_TEST_RUN)."""
    given = ctypes.create_string_buffer(context, len(context))
    out = ctypes.create_string_buffer(len(context))
    opts = _TestRunOpts(
        sz=ctypes.sizeof(_TestRunOpts),
        ctx_in=ctypes.addressof(given),
        ctx_out=ctypes.addressof(out),
        ctx_size_in=len(context),
        ctx_size_out=len(context),
        repeat=repeat,
    )
    _checked(_library().bpf_prog_test_run_opts(program_fd, byref(opts)))
    return TestRun(opts.retval, out.raw, opts.duration)


def possible_cpus() -> int:
    """How many values a per-CPU map has for each key (kernel: num_possible_cpus())."""
    return _checked(_library().libbpf_num_possible_cpus())
