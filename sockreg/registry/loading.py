"""Loading the program with its table into the kernel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sockreg.errors import AccessError, SockregError
from sockreg.host import bpf_access
from sockreg.kernel import libbpf, objects
from sockreg.registry.directory import DENIED, TABLE
from sockreg.registry.pins import closing

if TYPE_CHECKING:  # imports numpy, which most commands do not need
    from sockreg.compile import Tables

PROGRAM_NAME = "sockreg"  # its name in the object, and in bpftool prog
TABLE_MAP = ".rodata.table"
CONFIG_MAP = ".rodata.config"


def check_object(path: Path) -> str:
    """Like objects.check()."""
    return objects.check(path, objects.SK_LOOKUP)


def open_object(path: Path) -> libbpf.Object:
    try:
        return libbpf.Object(str(path))
    except libbpf.LoadError as error:
        raise SockregError(
            f"cannot read the object {path}: {error.reason()}", "reinstall sockreg"
        ) from None


def load_program(obj: libbpf.Object, tables: Tables) -> None:
    """Set the table and the constants of an opened object, and load it into the kernel."""
    table = tables.table_bytes()
    try:
        with closing(libbpf.create_constant(TABLE, table)) as fd:
            obj.reuse_map(TABLE_MAP, fd)
        obj.set_initial_value(CONFIG_MAP, tables.config)
        obj.load()
    except OSError as error:
        raise refusal(error, len(table)) from None


def is_denial(error: OSError) -> bool:
    """Whether bpf(2) was refused for want of a right: by the kernel, a filter, or a module."""
    return error.is_denial if isinstance(error, libbpf.LoadError) else error.errno in DENIED


def refusal(error: OSError, table_bytes: int) -> SockregError:
    """One sentence that says why the kernel refused the program or its maps."""
    if is_denial(error):
        return AccessError(
            f"the kernel does not let this process load the program: {error.strerror}",
            bpf_access.remedy(loading=True),
        )
    if table_bytes > 4 << 20 and not isinstance(error, libbpf.LoadError):
        return SockregError(
            f"the kernel refuses a table of {table_bytes} bytes: {error.strerror}",
            "before Linux 6.0, a table is limited to 4 MiB; otherwise there is not enough memory",
        )
    reason = error.reason() if isinstance(error, libbpf.LoadError) else error.strerror
    return SockregError(
        f"the kernel refuses the program: {reason}",
        "it needs Linux 5.9 with CONFIG_BPF_SYSCALL and CONFIG_INET; -v shows the full log",
    )


def messages() -> str:
    """What libbpf and the verifier have said in this process, in lines."""
    return libbpf.log_text()
