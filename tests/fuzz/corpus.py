"""What the fuzzers begin with: a few inputs for each reader, sound and not."""

from __future__ import annotations

import zlib
from itertools import count
from pathlib import Path

from sockreg.model import Action, Binding, Place
from sockreg.registry import generation_record

_WRONG = [
    b"",
    b"\0",
    b"\xff\xfe[\0w\0",
    b"\xef\xbb\xbf[web]\r\nBind=tcp 192.0.2.0/24 80\r\n",
    "[web]\nBind=tcp\u00a0192.0.2.0/24\u200380\u2028\x85".encode(),
    "[web]\nBind=tcp 192.0.2.0/24 ٨٠\n".encode(),
    b"[web]\nBind=tcp 192.0.2.0/24 " + b"9" * 5000,
    b"[" * 2000,
    b'{"a":' * 2000,
    b"\\\n" * 100,
    b"1e999",
    b"\xc0\x80\xed\xa0\x80",
]

_SOUND: dict[str, list[bytes]] = {
    "rule": [
        b"tcp 192.0.2.0/24 80,443 from 198.51.100.0/24 dev eth0 missing=pass to 8080",
        b"udp 2001:db8::/32 53-54",
        b"tcp 0.0.0.0/0 *",
    ],
    "keyfile": [b"# a\n[web]\nBind=tcp 192.0.2.0/24 \\\n  80\n;b\n[x\n[:registry]\nCounters=no\n"],
    "conf": [
        (b"[web]\nBind=tcp 192.0.2.0/24 80\nBind=\nReject=udp 2001:db8::/64 *\nPass=tcp ::/0 22\n"
        b"[:registry]\nCounters=no\nTakeSsh=yes\n"),
        b"[a]\nBind=tcp 192.0.2.0/24 80 dev eth0\n[b]\nBind=tcp 192.0.2.0/24 80\n",
    ],
    "unit": [
        (b"[Socket]\nListenStream=127.0.0.1:8080\nListenDatagram=[::1]:53\nFileDescriptorName=web\n"
        b"[X-Sockreg]\nBind=tcp 192.0.2.0/24 80\nLabel=%p\nWeight=10\n"),
        b"[Unit]\nWants=sockreg@%p.service %i %j\n[Socket]\nListenStream=80\n[X-Sockreg]\n",
    ],
    "bind_file": [b"# mine\n[web]\nBind=tcp 192.0.2.0/24 81 # no\n[other]\nBind=udp ::/0 53\n"],
    "tubular_json": [
        (b'{"bindings":[{"label":"web","prefix":"192.0.2.0/24","port":80},'
        b'{"label":"dns","prefix":"2001:db8::/32"}]}'),
        b'{"bindings":[{"Label":"a","LABEL":"b"}],"bindings":null}',
        b'{"bindings":[{"label":"\\ud83d","prefix":"1/1","port":1.0}]}',
    ],
    "ssh_ports": [b'{"version":1,"ports":[["192.0.2.1",22,[2,10]]],"addresses":[],"labels":["a"]}'],
    "descriptor_flags": [b"pos:\t0\nflags:\t02004002\nmnt_id:\t9\nino:\t4242\nscm_fds: 0\n"],
    "passed_names": [b"xx\nweb:dns", b"x\n"],
    "receiver": [b"web#", b"w\neb#\n", b"we\0b#", b"a" * 300 + b"#"],
    "cgroup_text": [
        b"0::/system.slice/web.service\n",
        b"1:name=systemd:/user.slice/user-1000.slice/user@1000.service/app.slice/a\x0c0::/b.service\n",
        "0::/x\u20280::/system.slice/ssh.service\n".encode(),
    ],
    "sshd_config": [
        (b"Port 22\nListenAddress [2001:db8::1]:2222\nListenAddress 0.0.0.0\nAddressFamily inet\n"
        b"Include /etc/ssh/sshd_config\nMatch User a\nPort 1\n"),
        b"Include a\0b\n",
        b"Port=2222 # x\nPort \"22\nInclude *\n",
    ],
    "nftables": [
        (b'{"nftables":[{"chain":{"family":"inet","table":"f","name":"in","hook":"input","prio":0,'
        b'"type":"filter","policy":"drop"}},{"set":{"family":"inet","table":"f","name":"s","elem":'
        b'[80,{"range":[1,2]}]}},{"rule":{"family":"inet","table":"f","chain":"in","expr":[{"match":'
        b'{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":"@s"}},'
        b'{"vmap":{"key":{"meta":{"key":"iifname"}},"data":{"set":[["lo",{"accept":null}]]}}},'
        b'{"jump":{"target":"in"}}]}}]}')
    ],
    "iptables": [
        (b"*filter\n:INPUT DROP [0:0]\n:a - [0:0]\n-A INPUT -d 192.0.2.0/24 -p tcp -m tcp "
            b"--dport 80:90"
        b' -m comment --comment "x \\" y" -j a\n-A a ! -i lo -j a\n'
            b'-A a -j REDIRECT --to-ports 1\nCOMMIT\n')
    ],
    "trial_name": [b"1-2", b"\xd9\xa1-\xd9\xa2"],
    "arguments": [
        b"--netns\nblue\nbind\nweb\ntcp\n192.0.2.0/24\n80",
        b"register\n--weight\n\xd9\xa1",
        b"status\n-n\n\xd9\xa1\n--watch\nnan",
        b"apply\n--confirm\n1e400",
        b"--json\ntop\n--interval\ninf",
    ],
}  # fmt: skip


def seeds(reader: str) -> list[bytes]:
    """The inputs for a reader."""
    own = [_record()] if reader == "record" else _SOUND[reader]
    return [*own, *_WRONG]


def write(reader: str, directory: Path) -> None:
    """Write them as files, as libFuzzer takes them."""
    numbers = count()
    for seed in seeds(reader):
        (directory / f"{next(numbers)}").write_bytes(seed)


def _record() -> bytes:
    binding = Binding(
        "web",
        Action.BIND,
        6,
        2,
        0xC0000200,
        24,
        80,
        80,
        None,
        "eth0",
        False,
        Place("/a.conf", 1),
        0,
    )
    packed = generation_record.pack([binding])
    header = generation_record.Header(
        "0.1.0", 1, "f", "s", 1, 4096, True, None, [("web", 2, 6, 0, 1)],
        packed.labels, packed.paths, packed.interfaces, None, [3], [1], [], [], None,
    )  # fmt: skip
    record = generation_record.encode(header, packed.records)
    assert zlib.decompress(record[-len(zlib.compress(packed.records, 1)) :]) == packed.records
    return record


NAMES = ("record", *_SOUND)
