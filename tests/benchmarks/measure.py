"""Two ways of doing one thing, measured in turn. On a machine that others use too, a figure alone
says little; the ratio of two that were taken one after the other says whether ours is the faster.
"""

import json
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

PAIRS = 5
"""Turns at least: with fewer a median says nothing."""

Measure = Callable[[], float]
"""Does the thing once; how fast it was, in the benchmark's unit. Higher is better."""


@dataclass(frozen=True)
class Pair:
    """One turn: both figures were taken one right after the other."""

    ours: float
    reference: float

    @property
    def ratio(self) -> float:
        return self.ours / self.reference


@dataclass(frozen=True)
class Result:
    """What a benchmark found."""

    name: str
    unit: str
    """Of the figures in `pairs`; higher is better."""
    target: float
    """The ratio that moinho is held to."""
    pairs: list[Pair]
    figures: Mapping[str, Any] = field(default_factory=dict)
    """What else there is to know, by name, as JSON can say it."""

    @property
    def ratio(self) -> float:
        """Ours over the reference: the median of the turns' ratios."""
        return statistics.median(pair.ratio for pair in self.pairs)

    @property
    def interval(self) -> tuple[float, float]:
        """The lowest and the highest ratio of a turn."""
        ratios = [pair.ratio for pair in self.pairs]
        return min(ratios), max(ratios)

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "ratio": self.ratio,
            "interval": list(self.interval),
            "target": self.target,
            "unit": self.unit,
            "ours": [pair.ours for pair in self.pairs],
            "reference": [pair.reference for pair in self.pairs],
            **self.figures,
        }


def in_turn(ours: Measure, reference: Measure, pairs: int) -> list[Pair]:
    """Ours, reference, ours, reference, …: whatever slows the machine down meets both."""
    found = []
    for number in range(pairs):
        found.append(Pair(ours(), reference()))
        note(f"{number + 1}/{pairs}: {found[-1].ours:,.4g} against {found[-1].reference:,.4g}")
    return found


def note(line: str) -> None:
    """Tell how far it is, apart from the result."""
    sys.stderr.write(line + "\n")


@contextmanager
def cpu_seconds() -> Iterator[list[float]]:
    """Appends the CPU time, user and system, of this process and of its children that ended meanwhile."""
    found: list[float] = []
    before = _cpu_seconds()
    yield found
    found.append(_cpu_seconds() - before)


def _cpu_seconds() -> float:
    used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


@contextmanager
def wall_seconds() -> Iterator[list[float]]:
    """Appends the seconds that went by."""
    found: list[float] = []
    start = time.perf_counter()
    yield found
    found.append(time.perf_counter() - start)


def report(result: Result) -> None:
    """A table for whoever reads, then one line of JSON for whatever compares."""
    table = Table(title=f"{result.name}, {result.unit}", title_justify="left")
    for column in ("turn", "ours", "reference", "ratio"):
        table.add_column(column, justify="right")
    for number, pair in enumerate(result.pairs, 1):
        table.add_row(str(number), f"{pair.ours:,.4g}", f"{pair.reference:,.4g}", f"{pair.ratio:.3f}")
    low, high = result.interval
    met = "met" if result.ratio >= result.target else "missed"
    console = Console()
    console.print(table)
    console.print(
        f"ratio {result.ratio:.3f} (median; {low:.3f} to {high:.3f}), target {result.target:g}: {met}"
    )
    sys.stdout.write(json.dumps(result.as_json()) + "\n")
