"""What a part of the measurements found: tables to read, aims met or not, figures to keep."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

from sockreg.cli.printing import print_table


class Aim(NamedTuple):
    """What was to be reached, and what was found, both in words."""

    text: str
    found: str
    met: bool


class Table(NamedTuple):
    """``notes`` stand below the table."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[object]]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Part:
    """One part of the measurements. ``figures`` go to the JSON file as they are."""

    name: str
    tables: Sequence[Table]
    figures: object
    aims: Sequence[Aim] = field(default_factory=list)


class Spread(NamedTuple):
    """The median of some values, and the quartiles around it."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Of one value, all three are that value."""
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    low, _, high = quantiles(values, n=4, method="inclusive")
    return Spread(median(values), low, high)


def ratios(values: Sequence[float], to: Sequence[float]) -> Spread:
    """Round by round: what is compared happened next to each other, in the same noise."""
    return spread([value / base for value, base in zip(values, to, strict=True)])


def at_most(text: str, found: float, limit: float, form: str) -> Aim:
    """An aim that is met up to ``limit``; ``form`` shows a value: ``{:.2f} s``."""
    return Aim(f"{text}: at most {form.format(limit)}", form.format(found), found <= limit)


def show(part: Part) -> None:
    """Print the tables, then each aim with its verdict."""
    for table in part.tables:
        print(f"\n{table.title}\n")
        print_table(table.header, table.rows)
        for note in table.notes:
            print(note)
    if part.aims:
        print()
    for aim in part.aims:
        print(verdict(aim))
    sys.stdout.flush()


def verdict(aim: Aim) -> str:
    return f"{'met    ' if aim.met else 'NOT MET'}  {aim.text} ({aim.found})"


def machine() -> str:
    """The processor, how many of it, and the kernel."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cpu = names[0] if names else platform.machine()
    return f"{cpu}, {os.cpu_count()} CPUs, Linux {platform.release()}"
