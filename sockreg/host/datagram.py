"""Asking UDP servers of this host, to see where their answers come from."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from sockreg.terms import INET

# A rule hardly ever steers these, so that answers get back.
CLIENT = {INET: "127.0.0.1", int(socket.AF_INET6): "::1"}
_ROOM = 2048


class Question(NamedTuple):
    """A datagram for a local address and port."""

    family: int
    address: str
    port: int
    text: bytes


class Answer(NamedTuple):
    """Where the first datagram that came back is from. Without one, ``why`` says so."""

    address: str
    port: int
    why: str = ""


def ask(
    questions: Sequence[Question], patience: float, is_steered: Callable[[int, int], bool]
) -> list[Answer]:
    """The answers, in the order of the questions, after at most ``patience`` seconds.

    Nothing is sent from a port that ``is_steered`` (family, port): the answer would not come back,
    and a server that gets its own answer might answer that.
    """
    answers = [Answer("", 0, f"no answer came within {patience:g} s") for _ in questions]
    with ExitStack() as stack:
        waiting: dict[int, tuple[int, socket.socket]] = {}
        for number, question in enumerate(questions):
            try:
                client = stack.enter_context(socket.socket(question.family, socket.SOCK_DGRAM))
                client.bind((CLIENT[question.family], 0))
                if is_steered(question.family, client.getsockname()[1]):
                    why = f"rules also take what is sent to {CLIENT[question.family]}"
                    answers[number] = Answer("", 0, f"{why}, so nothing was sent")
                    continue
                client.sendto(question.text, (question.address, question.port))
            except OSError as error:
                answers[number] = Answer("", 0, f"it could not be sent: {error.strerror}")
                continue
            waiting[client.fileno()] = number, client
        end = time.monotonic() + patience
        poll = select.poll()
        for descriptor in waiting:
            poll.register(descriptor, select.POLLIN)
        while waiting and (left := end - time.monotonic()) > 0:
            for descriptor, _ in poll.poll(left * 1000):
                number, client = waiting.pop(descriptor)
                poll.unregister(descriptor)
                try:
                    _, sender = client.recvfrom(_ROOM, socket.MSG_DONTWAIT)
                except OSError as error:
                    answers[number] = Answer("", 0, f"no answer came: {error.strerror}")
                else:
                    answers[number] = Answer(sender[0], sender[1])
    return answers
