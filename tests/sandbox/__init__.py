"""A real systemd as PID 1 in throw-away namespaces, over the host's own files.

    with Sandbox(files={"/etc/systemd/system/web.socket": "[Socket]\nListenStream=80\n"}) as box:
        box.systemctl("start", "web.socket")
        assert box.scan("127.0.0.1") == [80]

What happens inside stays inside: files, mounts, network, processes and cgroups are the
box's own and end with it, also when the process that made it is killed.
"""

from tests.sandbox.box import Sandbox
from tests.sandbox.plan import Lack, Refusal
from tests.sandbox.stage import stage

__all__ = ["Lack", "Refusal", "Sandbox", "stage"]
