"""Arguments that several verbs take, and their values."""

from __future__ import annotations

import argparse
import math

from sockreg.terms import WEIGHT_MAX


def add_force(parser: argparse.ArgumentParser) -> None:
    """--force, for everything that puts new rules in force."""
    parser.add_argument(
        "--force",
        action="store_true",
        help="apply even if a rule takes the port of ssh, or --root is another than before",
    )


def port(text: str) -> int:
    number = _number(text)
    if not 0 < number < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: a number from 1 to 65535")
    return number


def pid(text: str) -> int:
    number = _number(text)
    if not 0 < number < 2**31:
        raise argparse.ArgumentTypeError(f"{text!r} is not a process ID")
    return number


def weight(text: str) -> int:
    number = _number(text)
    if not 0 <= number <= WEIGHT_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is not a weight from 0 to {WEIGHT_MAX}")
    return number


def cookie(text: str) -> int:
    digits = text.removeprefix("sk:")
    try:
        number = int(digits, 16)
    except ValueError:
        number = 0
    if not digits.isalnum() or not 0 < number < 2**64:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a cookie such as sk:1a2b ('ss -tulne' and 'sockreg status' show them)"
        )
    return number


def seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1
    if number < 0 or not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return number


def count(text: str) -> int:
    number = _number(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return number


def _number(text: str) -> int:
    """A decimal number, or -1."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else -1
