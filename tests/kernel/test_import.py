"""Rules that were imported steer as they did where they come from."""

from __future__ import annotations

import json
from contextlib import ExitStack

from tests.kernel.host import Host
from tests.netns import TCP, UDP


def test_an_imported_file_steers_as_tubular_did(host: Host) -> None:
    old = host.root / "old.json"
    bindings = [
        ("net", "192.0.2.1/24", 0),
        ("web", "192.0.2.0/24", 80),
        ("one", "192.0.2.9/32", 0),
        ("dns", "192.0.2.9", 53),
        ("six", "2001:db8::/64", 0),
        ("web", "2001:db8::/64", 80),
        ("web", "2001:db8::7/128", 443),
    ]
    members = [{"label": label, "prefix": to, "port": port} for label, to, port in bindings]
    old.write_text(json.dumps({"bindings": members}))
    conf = host.root / "etc/sockreg/old.conf"
    host.ok("import", "tubular", str(old), "--output", str(conf))
    host.ok("load")
    with ExitStack() as servers:
        for label in ("net", "web", "one", "dns"):
            for protocol in (TCP, UDP):
                servers.enter_context(host.serve(label, "127.0.0.1", protocol=protocol))
        for label in ("six", "web"):
            for protocol in (TCP, UDP):
                servers.enter_context(host.serve(label, "::1", protocol=protocol))
        # Port 0 is any port, and tcp and udp are bound alike.
        assert host.both("192.0.2.7", 1234) == ("net", "net")
        # The exact port wins over any port of the same prefix.
        assert host.both("192.0.2.7", 80) == ("web", "web")
        # The longer prefix wins over the exact port.
        assert host.both("192.0.2.9", 80) == ("one", "one")
        assert host.both("192.0.2.9", 53) == ("dns", "dns")
        assert host.both("2001:db8::7", 1234) == ("six", "six")
        assert host.both("2001:db8::7", 80) == ("web", "web")
        assert host.both("2001:db8::7", 443) == ("web", "web")
        assert host.both("2001:db8::8", 443) == ("six", "six")
    # A label without a socket refuses.
    assert host.both("192.0.2.7", 80) == ("refused", "refused")
