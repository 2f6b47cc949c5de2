"""The sockets passed to a process: sockreg and libsystemd see the same in any environment."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sockreg.errors import UsageError
from sockreg.systemd import listen_fds

ROOT = Path(__file__).resolve().parents[2]

# For each environment: what sockreg says, what libsystemd says, and which of the descriptors
# are closed when another program is executed. OWN stands for the number of the process.
COMPARE = r"""
import json, os, sys
from systemd import daemon
from sockreg.errors import UsageError
from sockreg.systemd import listen_fds

null = os.open("/dev/null", os.O_RDONLY)
high = os.dup2(null, 100)

def ours():
    try:
        return listen_fds.received()
    except UsageError as error:
        return f"{error.message} ({error.hint})"

def libsystemd():
    try:
        return list(daemon.listen_fds_with_names(False).items())
    except (OSError, SystemError) as error:  # the latter of names that are not UTF-8
        return type(error).__name__

def ask(variables, passed):
    os.closerange(3, 100)
    for fd in passed:
        os.dup2(high, fd)
    for name in [name for name in os.environ if name.startswith("LISTEN_")]:
        del os.environ[name]
    for name, value in variables.items():
        os.environ[name] = value.replace("OWN", str(os.getpid()))
    own = ours()
    closed_on_exec = [fd for fd in passed if not os.get_inheritable(fd)]
    package = sys.modules.pop("systemd")
    sys.modules["systemd"] = None
    assert ours() == own, "without systemd-python"
    sys.modules["systemd"] = package
    return own, libsystemd(), closed_on_exec

print(json.dumps({name: ask(*case) for name, case in json.load(sys.stdin).items()}))
"""

PASSED = {"LISTEN_PID": "OWN", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "web:dns"}
RECEIVED = {
    "two sockets": (PASSED, [[3, "web"], [4, "dns"]]),
    "one name for both": ({**PASSED, "LISTEN_FDNAMES": "web:web"}, [[3, "web"], [4, "web"]]),
    "no names": (
        {"LISTEN_PID": "OWN", "LISTEN_FDS": "2"},
        [[3, "unknown"], [4, "unknown"]],
    ),
    "an empty name": ({**PASSED, "LISTEN_FDNAMES": ":dns"}, [[3, ""], [4, "dns"]]),
    "an empty name at the end": ({**PASSED, "LISTEN_FDNAMES": "web:"}, [[3, "web"], [4, ""]]),
    "one empty name": (
        {"LISTEN_PID": "OWN", "LISTEN_FDS": "1", "LISTEN_FDNAMES": ""},
        [[3, ""]],
    ),
    "names with spaces": ({**PASSED, "LISTEN_FDNAMES": "a b: c "}, [[3, "a b"], [4, " c "]]),
    "names with quotes": ({**PASSED, "LISTEN_FDNAMES": "'a:b\""}, [[3, "'a"], [4, 'b"']]),
    "fewer than are open": (
        {"LISTEN_PID": "OWN", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "web"},
        [[3, "web"]],
    ),
    "numbers as libsystemd reads them": (
        {**PASSED, "LISTEN_FDS": " +0x2"},
        [[3, "web"], [4, "dns"]],
    ),
}
# Here libsystemd loses something, and sockreg must not.
VERBATIM = {
    "escaped unit names": r"a\x2db.socket:c\x20d.socket",
    "a backslash at the end": "a:b\\",
    "not UTF-8": "a:\udcff",
    "not ASCII": "a:\u00fc",
}
REFUSED = {
    "nothing": ({}, "no sockets were passed: LISTEN_FDS is not set"),
    "no number of sockets": (
        {"LISTEN_PID": "OWN", "LISTEN_FDNAMES": "web"},
        "no sockets were passed: LISTEN_FDS is not set",
    ),
    "no process": (
        {"LISTEN_FDS": "1"},
        "the passed sockets are for process (empty) (LISTEN_PID), not for this one, OWN",
    ),
    "another process": (
        {**PASSED, "LISTEN_PID": "1"},
        "the passed sockets are for process 1 (LISTEN_PID), not for this one, OWN",
    ),
    "a garbled process": (
        {**PASSED, "LISTEN_PID": "OWN\u00fc"},
        r"the passed sockets are for process OWN\xc3\xbc (LISTEN_PID), not for this one, OWN",
    ),
    "zero": ({**PASSED, "LISTEN_FDS": "0"}, "LISTEN_FDS=0 is not a number of sockets"),
    "negative": ({**PASSED, "LISTEN_FDS": "-1"}, "LISTEN_FDS=-1 is not a number of sockets"),
    "a word": ({**PASSED, "LISTEN_FDS": "one"}, "LISTEN_FDS=one is not a number of sockets"),
    "a number and more": (
        {**PASSED, "LISTEN_FDS": "2 3"},
        "LISTEN_FDS=2 3 is not a number of sockets",
    ),
    "the largest integer": (
        {**PASSED, "LISTEN_FDS": "2147483647"},
        "LISTEN_FDS=2147483647 is not a number of sockets",
    ),
    "beyond integers": (
        {**PASSED, "LISTEN_FDS": "9" * 5000},
        f"LISTEN_FDS={'9' * 5000} is not a number of sockets",
    ),
    "more than are open": (
        {**PASSED, "LISTEN_FDS": "999999999"},
        "LISTEN_FDS=999999999, but descriptor 5 is not open",
    ),
    "too many names": (
        {**PASSED, "LISTEN_FDNAMES": "a:b:c"},
        "LISTEN_FDNAMES has 3 names for 2 sockets",
    ),
    "too few names": (
        {**PASSED, "LISTEN_FDNAMES": "a"},
        "LISTEN_FDNAMES has 1 names for 2 sockets",
    ),
}
HINT = "run it from a unit with Sockets=, or under systemd-socket-activate(1)"


class Answers:
    """What a process with these environments and descriptors 3 and 4 says of each."""

    def __init__(self) -> None:
        named = {name: {**PASSED, "LISTEN_FDNAMES": names} for name, names in VERBATIM.items()}
        cases = {
            **{name: (variables, [3, 4]) for name, (variables, _) in RECEIVED.items()},
            **{name: (variables, [3, 4]) for name, variables in named.items()},
            **{name: (variables, [3, 4]) for name, (variables, _) in REFUSED.items()},
            "a gap": (PASSED, [4]),
        }
        process = subprocess.Popen(
            [sys.executable, "-c", COMPARE],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        answers, _ = process.communicate(json.dumps(cases), timeout=60)
        assert process.returncode == 0
        self.pid = process.pid
        self.of: dict[str, tuple[Any, Any, list[int]]] = json.loads(answers)


@pytest.fixture(scope="module")
def answers() -> Answers:
    return Answers()


@pytest.mark.parametrize("case", RECEIVED)
def test_what_libsystemd_accepts_is_received(answers: Answers, case: str) -> None:
    _, sockets = RECEIVED[case]
    ours, libsystemd, closed_on_exec = answers.of[case]
    assert ours == libsystemd == sockets
    assert closed_on_exec == [fd for fd, _ in sockets]


@pytest.mark.parametrize("case", VERBATIM)
def test_names_arrive_as_they_are(answers: Answers, case: str) -> None:
    """Bytes that are not ASCII stand as surrogates; no label has any."""
    ours, libsystemd, _ = answers.of[case]
    expected = VERBATIM[case].encode("utf-8", "surrogateescape")
    assert ":".join(name for _, name in ours).encode("ascii", "surrogateescape") == expected
    assert [fd for fd, _ in ours] == [3, 4]
    assert libsystemd != ours, "if libsystemd has learnt it, it can read the names"


@pytest.mark.parametrize("case", REFUSED)
def test_what_libsystemd_refuses_is_told(answers: Answers, case: str) -> None:
    _, sentence = REFUSED[case]
    ours, libsystemd, _ = answers.of[case]
    assert ours == f"{sentence.replace('OWN', str(answers.pid))} ({HINT})"
    assert libsystemd in ([], "OSError")


def test_a_descriptor_that_is_not_open(answers: Answers) -> None:
    ours, libsystemd, _ = answers.of["a gap"]
    assert ours == f"LISTEN_FDS=2, but descriptor 3 is not open ({HINT})"
    assert libsystemd == "OSError"


@pytest.mark.parametrize(
    ("answer", "pidfd_id", "sentence"),
    [
        (0, "4711", "the passed sockets are for another process, which had the number "),
        (OSError(errno.EINVAL, ""), "a word", "LISTEN_PIDFDID=a word is not a number"),
    ],
)
def test_a_process_that_has_the_number_of_an_earlier_one(
    monkeypatch: pytest.MonkeyPatch, answer: int | OSError, pidfd_id: str, sentence: str
) -> None:
    """From systemd 258 on. The answer is that of its libsystemd, which older ones do not give."""

    def sd_listen_fds() -> int:
        if isinstance(answer, OSError):
            raise answer
        return answer

    variables = {**PASSED, "LISTEN_PID": str(os.getpid()), "LISTEN_PIDFDID": pidfd_id}
    given: Any = {name.encode(): value.encode() for name, value in variables.items()}
    monkeypatch.setattr("posix.environ", given)
    monkeypatch.setattr(listen_fds, "_sd_listen_fds", sd_listen_fds)
    with pytest.raises(UsageError) as refused:
        listen_fds.received()
    assert refused.value.message.startswith(sentence)
