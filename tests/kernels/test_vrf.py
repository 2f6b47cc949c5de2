"""Packets of members of a VRF arrive from the VRF."""

from __future__ import annotations

from tests.docs import File, scenes
from tests.kernel.host import Host
from tests.kernel.test_interfaces import SERVICE, joined
from tests.kernels.test_members import RULES, client, never_matches
from tests.netns import Namespace
from tests.tree import ROOT

__all__ = ["client"]  # a fixture


def test_a_member_of_a_vrf(host: Host, client: Namespace) -> None:
    joined(host, "left", client)
    for command in (
        "link add above type vrf table 10",
        "link set above up",
        "link set left master above",
        "addr replace 10.0.1.1/24 dev left",
        "route add local 192.0.2.0/24 dev left table 10",
    ):
        host.namespace.run("ip", *command.split())
    # So that the connection is in the VRF, and answers leave by it.
    host.namespace.sysctl("net.ipv4.tcp_l3mdev_accept", "1")
    host.load(*RULES)
    with (
        host.serve("member", "127.0.0.1", 8001),
        host.serve("above", "127.0.0.1", 8002),
        host.serve("any", "127.0.0.1", 8003),
    ):
        assert client.ask(SERVICE, 80) == "above"
        never_matches(host, "in VRF above")


def test_the_recipe_for_a_vrf(host: Host, client: Namespace) -> None:
    """Its commands of ip(8), its setting and its rule, with another server than nginx."""
    (scene,) = scenes(ROOT / "docs/recipes/vrf.md")
    joined(host, "eth0", client)
    for command in scene.commands():
        if command.line.startswith("ip "):
            host.namespace.run(*command.line.split())
    files = {it.path: it.text for it in scene.actions if isinstance(it, File)}
    name, _, value = files["/etc/sysctl.d/50-vrf.conf"].splitlines()[-1].partition(" = ")
    host.namespace.sysctl(name, value)
    host.load(*files["/etc/sockreg/blue.conf"].splitlines()[1:])
    with host.serve("nginx", "127.0.0.1", 8080):
        assert client.ask(SERVICE, 80) == "nginx"
        host.namespace.sysctl(name, "0")
        assert client.ask(SERVICE, 80) != "nginx"
