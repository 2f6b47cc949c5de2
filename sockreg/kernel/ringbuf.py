"""Reading a BPF_MAP_TYPE_RINGBUF, which has one consumer (kernel/bpf/ringbuf.c, Linux 5.8).

The first page holds the position of the consumer, the second that of the producers. The data
follows, mapped twice in a row, so that no record is in two pieces. Positions only grow. A record is

    u32  length, with BUSY while it is being written, or DISCARD
    u32  the kernel's
    ...  as many bytes, padded to 8
"""

import mmap
import struct
from collections.abc import Iterator

_POSITION = struct.Struct("=Q")
_HEAD = struct.Struct("=II")
_BUSY, _DISCARD = 1 << 31, 1 << 30
_LENGTH = _DISCARD - 1


class Ring:
    """The consumer of a ring of ``size`` bytes. poll(2) on the map's descriptor waits for more."""

    def __init__(self, fd: int, size: int) -> None:
        self._size = size
        self._own = mmap.mmap(fd, mmap.PAGESIZE)
        self._data = mmap.mmap(
            fd, mmap.PAGESIZE + 2 * size, prot=mmap.PROT_READ, offset=mmap.PAGESIZE
        )

    def close(self) -> None:
        self._own.close()
        self._data.close()

    def read(self) -> Iterator[bytes]:
        """The records that are there, each of which makes room once it has been taken."""
        (at,) = _POSITION.unpack_from(self._own)
        (end,) = _POSITION.unpack_from(self._data)
        while at < end:
            start = mmap.PAGESIZE + at % self._size
            head, _ = _HEAD.unpack_from(self._data, start)
            if head & _BUSY:
                return
            length = head & _LENGTH
            record = self._data[start + _HEAD.size : start + _HEAD.size + length]
            at += _HEAD.size + -(-length // 8) * 8
            _POSITION.pack_into(self._own, 0, at)
            if not head & _DISCARD:
                yield record
