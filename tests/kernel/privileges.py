"""Commands of a host with only some capabilities."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from tests import tree
from tests.kernel.host import HasFileno, Host, Outcome

LOADING = "+bpf,+net_admin,+perfmon"  # what loading the program takes


def run(
    host: Host,
    capabilities: str,
    *arguments: str,
    sockets: Sequence[tuple[str, HasFileno]] = (),
    prefix: Sequence[str] = (),
) -> Outcome:
    """Run a command as root with only these capabilities, such as ``+bpf,+net_admin``.

    It starts inside of the host's namespace: without capabilities it may not open that of
    another process (/proc/PID/fd, proc(5)).
    """
    allowed = ",".join(filter(None, ("-all", capabilities)))
    own = ["--bpffs", str(host.bpffs), "--root", str(host.root)]
    with host.passing(sockets) as (wrapper, fds), host.namespace.entered():
        done = subprocess.run(
            [
                *wrapper,
                *prefix,
                *("setpriv", f"--bounding-set={allowed}", "--inh-caps=-all"),
                *("/usr/bin/python3", "-m", "sockreg", *own, *arguments),
            ],
            capture_output=True,
            text=True,
            check=False,
            pass_fds=fds,
            cwd=tree.public(),
        )
    return Outcome(done.returncode, done.stdout, done.stderr)
