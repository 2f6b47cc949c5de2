"""Instances of a template that share the traffic of one label, operated by systemctl alone."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from tests.asking import asking
from tests.sandbox import Sandbox
from tests.systemd.conftest import MakeBox
from tests.systemd.units import UNITS, messages, service_unit, socket_unit

RULES = ("Bind=tcp 127.0.0.2 80",)
ANSWERS = {f"web{number} 127.0.0.2:80" for number in (1, 2)}
# As docs/pools.md has it.
ROLLING = (
    "ExecStartPost=-/usr/bin/sockreg weight web --unit web@%i.socket",
    "ExecStop=-/usr/bin/sockreg drain web web@%i.socket",
)


def template(*settings: str) -> dict[str, str]:
    """The files of web@.socket, which listens on port 808%i, and of web@.service."""
    return {
        f"{UNITS}/web@.socket": socket_unit("127.0.0.1:808%i", rules=RULES),
        f"{UNITS}/web@.service": service_unit(
            "event_loop web%i", settings=settings, dependencies=["Requires=web@%i.socket"]
        ),
    }


def companion(number: int) -> str:
    return f"sockreg@web@{number}.service"


def pair(make_box: MakeBox, *settings: str) -> Sandbox:
    """A box in which web@1 and web@2 are enabled, and have been asked at their own address."""
    box = make_box(files=template(*settings))
    box.systemctl("enable", "--now", companion(1), companion(2))
    for number in (1, 2):
        assert box.ask("127.0.0.1", 8080 + number) == f"web{number} 127.0.0.1:{8080 + number}"
    box.systemctl("start", "web@1.service", "web@2.service")  # until ExecStartPost= is done
    return box


def weights(box: Sandbox) -> dict[str, int]:
    """Unit -> weight of the label's members, as status shows them."""
    lines = box.run(["sockreg", "status", "--lines", "0"]).stdout.splitlines()
    found = (re.search(r"(\d+) +(web@\d\.socket)$", line) for line in lines)
    return {line[2]: int(line[1]) for line in found if line}


def cookies(box: Sandbox) -> set[str]:
    """Those of the label's members."""
    return set(re.findall(r"sk:[0-9a-f]+", box.run(["sockreg", "status", "--lines", "0"]).stdout))


def asked(box: Sandbox, times: int) -> Counter[str]:
    return Counter(box.ask("127.0.0.2", 80) for _ in range(times))


def test_instances_with_one_name_share_the_traffic_also_after_a_reboot(make_box: MakeBox) -> None:
    box = pair(make_box)
    assert weights(box) == {"web@1.socket": 100, "web@2.socket": 100}
    assert set(asked(box, 50)) == ANSWERS
    box.reboot()
    assert set(asked(box, 50)) == ANSWERS
    pooled = [text for text in messages(box, "-b", "-t", "sockreg") if "share its flows" in text]
    assert len(pooled) == 1
    assert pooled[0].endswith("one of 2 sockets that share its flows")


def test_an_instance_that_stops_leaves_its_traffic_to_the_other(make_box: MakeBox) -> None:
    box = pair(make_box)
    with asking(lambda: box.ask("127.0.0.2", 80)) as answers:
        for number in (1, 2):
            box.systemctl("stop", companion(number))
            box.systemctl("start", companion(number))
            box.systemctl("restart", companion(number))
    assert set(answers) == ANSWERS
    box.systemctl("stop", "web@2.socket")
    assert weights(box) == {"web@1.socket": 100}
    assert set(asked(box, 30)) == {"web1 127.0.0.2:80"}
    box.systemctl("stop", "web@1.socket")
    assert set(asked(box, 3)) == {"refused"}


def test_a_rolling_restart_of_the_servers_refuses_nobody(make_box: MakeBox) -> None:
    box = pair(make_box, *ROLLING)
    pids = [box.show(f"web@{number}.service", "MainPID") for number in (1, 2)]
    with asking(lambda: box.ask("127.0.0.2", 80)) as answers:
        for number in (1, 2, 1, 2):
            box.systemctl("restart", f"web@{number}.service")
    assert set(answers) == ANSWERS
    assert weights(box) == {"web@1.socket": 100, "web@2.socket": 100}
    after = [box.show(f"web@{number}.service", "MainPID") for number in (1, 2)]
    assert not set(pids) & set(after)
    drained = [text for text in messages(box, "-t", "sockreg") if text.endswith("drained")]
    assert len(drained) == 4


def test_a_rolling_restart_of_the_sockets_refuses_nobody(make_box: MakeBox) -> None:
    """The sockets are new afterwards, as after a change of their units."""
    box = pair(make_box, *ROLLING)
    before = cookies(box)
    with asking(lambda: box.ask("127.0.0.2", 80)) as answers:
        for number in (1, 2):
            box.systemctl("restart", f"web@{number}.socket")
            box.systemctl("start", companion(number), f"web@{number}.service")
    assert set(answers) == ANSWERS
    assert weights(box) == {"web@1.socket": 100, "web@2.socket": 100}
    assert len(before | cookies(box)) == 4


@pytest.mark.long
def test_a_stopped_server_gets_nothing_until_it_is_started(make_box: MakeBox) -> None:
    box = pair(make_box, *ROLLING)
    with asking(lambda: box.ask("127.0.0.2", 80)) as answers:
        box.systemctl("stop", "web@1.service")
        before = answers["web1 127.0.0.2:80"]
        assert weights(box) == {"web@1.socket": 0, "web@2.socket": 100}
        box.wait(lambda: answers["web2 127.0.0.2:80"] > 50)
        assert answers["web1 127.0.0.2:80"] == before
        assert box.show("web@1.service", "ActiveState") == "inactive"
        box.systemctl("start", "web@1.service")
        box.wait(lambda: answers["web1 127.0.0.2:80"] > before, "an answer of the first")
    assert set(answers) == ANSWERS


def test_a_server_that_dies_is_not_drained(make_box: MakeBox) -> None:
    box = pair(make_box, *ROLLING)
    box.systemctl("kill", "--signal=KILL", "web@1.service")
    box.wait(lambda: box.show("web@1.service", "ActiveState") == "failed", "the end")
    assert weights(box) == {"web@1.socket": 100, "web@2.socket": 100}
    assert set(asked(box, 50)) == ANSWERS


def test_a_server_that_ends_by_itself_is_drained(make_box: MakeBox) -> None:
    """Which is why docs/pools.md advises against it for those that start on demand."""
    box = pair(make_box, *ROLLING)
    box.write(f"{UNITS}/web@1.service.d/end.conf", "[Service]\nExecStart=\nExecStart=sleep 0.1\n")
    box.systemctl("daemon-reload")
    box.systemctl("restart", "web@1.service")
    box.wait(lambda: box.show("web@1.service", "ActiveState") == "inactive", "the end")
    assert weights(box) == {"web@1.socket": 0, "web@2.socket": 100}
    assert set(asked(box, 50)) == {"web2 127.0.0.2:80"}


@pytest.mark.long
@pytest.mark.parametrize(
    "verb", [("restart", companion(2)), ("reload", "sockreg.service")], ids=" ".join
)
def test_a_weight_in_a_drop_in_takes_effect(make_box: MakeBox, verb: tuple[str, ...]) -> None:
    box = pair(make_box, *ROLLING)
    box.write(f"{UNITS}/web@2.socket.d/canary.conf", "[X-Sockreg]\nWeight=1\n")
    box.systemctl("daemon-reload")
    assert weights(box) == {"web@1.socket": 100, "web@2.socket": 100}
    with asking(lambda: box.ask("127.0.0.2", 80)) as answers:
        box.systemctl(*verb)
    assert set(answers) == ANSWERS
    assert weights(box) == {"web@1.socket": 100, "web@2.socket": 1}
    # 20 of 2000 are to be expected; chance alone leaves these bounds once in a million times.
    assert 1 <= asked(box, 2000)["web2 127.0.0.2:80"] <= 45
    # Whatever comes to the server, the weight stays that of the files.
    box.systemctl("restart", "web@2.service")
    assert weights(box) == {"web@1.socket": 100, "web@2.socket": 1}
    box.reboot()
    assert weights(box) == {"web@1.socket": 100, "web@2.socket": 1}
