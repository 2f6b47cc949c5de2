"""bpf(2) for pinned maps, without libbpf: what the companion needs and readers share.

A map here is a file descriptor; keys and values are bytes of exactly the map's sizes.
Errors are OSError with the kernel's errno. On the companion's start-up path: it imports
only the C halves of ctypes and struct (importing ctypes would double the start-up time).
"""

import _ctypes
import _struct as struct
import errno
import posix  # os without the modules that it imports

from sockreg.terms import INET

# The number of the system call: arch/*/entry/syscalls/*.tbl; others use the generic table.
_NUMBERS = {"x86_64": 321, "i686": 357, "armv7l": 386, "s390x": 351, "ppc64le": 361}
_BPF = _NUMBERS.get(posix.uname().machine, 280)

# enum bpf_cmd, linux/bpf.h
_MAP_LOOKUP_ELEM = 1
_MAP_UPDATE_ELEM = 2
_MAP_DELETE_ELEM = 3
_MAP_GET_NEXT_KEY = 4
_OBJ_PIN = 6
_OBJ_GET = 7
_PROG_TEST_RUN = 10
_OBJ_GET_INFO_BY_FD = 15

# Flags of map_update.
ANY = 0
NOEXIST = 1

# Flags of obj_get: request no more than the pin's mode allows.
READ_WRITE = 0
READ_ONLY = 1 << 3

_ATTR_ELEM = struct.Struct("=I4xQQQ")  # map_fd, key, value (or next_key), flags
_ATTR_OBJ = struct.Struct("=QII")  # pathname, bpf_fd, file_flags
_ATTR_INFO = struct.Struct("=IIQ")  # bpf_fd, info_len, info
_MAP_INFO = struct.Struct("=IIIII")  # type, id, key_size, value_size, max_entries
# prog_fd, retval, data_size_in, data_size_out, data_in, data_out, repeat, duration,
# ctx_size_in, ctx_size_out, ctx_in, ctx_out
_ATTR_RUN = struct.Struct("=IIIIQQIIIIQQ")
# struct bpf_sk_lookup up to local_ip4, of which family, remote_ip4 and local_ip4
_RUN_CONTEXT = struct.Struct("=8xI4xI20xI")
SK_PASS = 1  # enum sk_action

_TOO_LARGE = 1 << 20  # bytes of attributes: more than a page of any architecture
_REPEATS_MAX = 1 << 20  # keys that map_keys() reads again: 16 times those of the largest map


class _Long(_ctypes._SimpleCData):  # type: ignore[type-arg]  # not generic at run time
    _type_ = "l"


class _Char(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "c"


class _Function(_ctypes.CFuncPtr):
    _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO
    _restype_ = _Long


# dlopen(3): None is the program itself, which includes the C library.
_syscall = _Function(_ctypes.dlsym(_ctypes.dlopen(None, 0), "syscall"))  # type: ignore[arg-type]


def _bpf(command: int, attr: bytes) -> int:
    return _bpf_at(command, Buffer(attr))


def _bpf_at(command: int, attr: "Buffer") -> int:
    """Like _bpf(), for a command that writes its answer into the attributes."""
    result: int = _syscall(_Long(_BPF), _Long(command), _Long(attr.address), _Long(attr.size))
    if result < 0:
        number = _ctypes.get_errno()
        raise OSError(number, posix.strerror(number))
    return result


def filter_error() -> int:
    """The errno with which a filter of system calls (seccomp(2)) answers bpf(2).

    0 if the kernel itself answers: it refuses too large attributes before it looks at rights
    (__sys_bpf()). Before Linux 5.19, that takes CAP_BPF.
    """
    if _syscall(_Long(_BPF), _Long(_MAP_LOOKUP_ELEM), _Long(0), _Long(_TOO_LARGE)) >= 0:
        return 0
    number = _ctypes.get_errno()
    return 0 if number == errno.E2BIG else number


class Buffer:
    """Memory that the kernel may read and write: a copy of ``content``."""

    def __init__(self, content: bytes) -> None:
        self._memory = (_Char * len(content)).from_buffer_copy(content)
        self.address = _ctypes.addressof(self._memory)
        self.size = len(content)

    def content(self) -> bytes:
        return bytes(self._memory)


def obj_get(path: str, flags: int = READ_WRITE) -> int:
    """Open a pin. Returns a descriptor that the caller closes. ENOENT, EACCES, EPERM."""
    name = Buffer(path.encode("utf-8", "surrogateescape") + b"\0")
    try:
        return _bpf(_OBJ_GET, _ATTR_OBJ.pack(name.address, 0, flags))
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None


class Pinned:
    """A descriptor of a pin, closed with the block. Opening it raises what obj_get() raises."""

    def __init__(self, path: str, flags: int = READ_WRITE) -> None:
        self._fd = obj_get(path, flags)

    def __enter__(self) -> int:
        return self._fd

    def __exit__(self, *_: object) -> None:
        posix.close(self._fd)


def obj_pin(fd: int, path: str) -> None:
    """Pin a map, program or link under ``path``. EEXIST if the name is taken."""
    name = Buffer(path.encode("utf-8", "surrogateescape") + b"\0")
    try:
        _bpf(_OBJ_PIN, _ATTR_OBJ.pack(name.address, fd, 0))
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None


def map_lookup(fd: int, key: bytes, value_size: int) -> bytes | None:
    """The value of ``key``, or None. ``value_size`` covers all CPUs for a per-CPU map."""
    k, value = Buffer(key), Buffer(bytes(value_size))
    try:
        _bpf(_MAP_LOOKUP_ELEM, _ATTR_ELEM.pack(fd, k.address, value.address, 0))
    except OSError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    return value.content()


def map_update(fd: int, key: bytes, value: bytes, flags: int = ANY) -> None:
    """Store ``value`` under ``key`` in one step. EEXIST with NOEXIST."""
    k, v = Buffer(key), Buffer(value)
    _bpf(_MAP_UPDATE_ELEM, _ATTR_ELEM.pack(fd, k.address, v.address, flags))


def map_delete(fd: int, key: bytes) -> bool:
    """Remove ``key``. Returns False if it was not there."""
    k = Buffer(key)
    try:
        _bpf(_MAP_DELETE_ELEM, _ATTR_ELEM.pack(fd, k.address, 0, 0))
    except OSError as error:
        # SOCKMAP returns EINVAL for an empty slot, hash maps return ENOENT.
        if error.errno in (errno.ENOENT, errno.EINVAL):
            return False
        raise
    return True


def map_keys(fd: int, key_size: int) -> list[bytes]:
    """All keys of a hash map, each once.

    Keys added or removed meanwhile may be missing or included.
    EBUSY if keys are removed faster than they can be read.
    """
    keys: dict[bytes, None] = {}
    previous = None
    repeats = 0
    while repeats < _REPEATS_MAX:
        following = Buffer(bytes(key_size))
        start = previous.address if previous is not None else 0
        try:
            _bpf(_MAP_GET_NEXT_KEY, _ATTR_ELEM.pack(fd, start, following.address, 0))
        except OSError as error:
            if error.errno == errno.ENOENT:
                return list(keys)
            raise
        # If ``previous`` was deleted in the meantime, the kernel starts over: known keys repeat.
        key = following.content()
        repeats += key in keys
        keys[key] = None
        previous = following
    raise OSError(errno.EBUSY, "the keys of the map change faster than they can be read")


def map_capacity(fd: int) -> int:
    """The maximum number of entries in a map."""
    return _map_info(fd)[4]


def map_sizes(fd: int) -> tuple[int, int]:
    """The bytes of a map's keys and values. EINVAL if the descriptor is not of a map."""
    _, _, key_size, value_size, _ = _map_info(fd)
    return key_size, value_size


def _map_info(fd: int) -> tuple[int, int, int, int, int]:
    info = Buffer(bytes(_MAP_INFO.size))
    _bpf(_OBJ_GET_INFO_BY_FD, _ATTR_INFO.pack(fd, info.size, info.address))
    kind, number, key_size, value_size, max_entries = _MAP_INFO.unpack(info.content())
    return kind, number, key_size, value_size, max_entries


def run_sk_lookup(fd: int, remote: int, local: int) -> bool:
    """Run an sk_lookup program on a packet between two IPv4 addresses. Returns whether it passes.

    The program sees the numbers unchanged. EINVAL on kernels without test runs (before Linux 5.13).
    """
    context = Buffer(_RUN_CONTEXT.pack(INET, remote, local))
    attr = Buffer(_ATTR_RUN.pack(fd, 0, 0, 0, 0, 0, 1, 0, context.size, 0, context.address, 0))
    _bpf_at(_PROG_TEST_RUN, attr)
    return int(_ATTR_RUN.unpack(attr.content())[1]) == SK_PASS
