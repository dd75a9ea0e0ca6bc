"""Time two ways of doing the same thing, in turns, by the CPU time of this process."""

from __future__ import annotations

import gc
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

QUIET = 0.03
"""How far the baseline may be from itself for a row to count."""


@dataclass(frozen=True)
class Timing:
    """Medians over the rounds of one comparison."""

    seconds: float
    """CPU time of one call of the baseline."""
    ratio: float
    """Method over baseline."""
    itself: float
    """Baseline over baseline: A/A."""
    faults: tuple[int, int]
    """Minor page faults of one call: of the baseline, of the method."""
    beside: dict[str, float]
    """Method over each further baseline."""
    threads: float
    """CPU time over wall time of the baseline: above 1, more than one thread computed."""

    @property
    def quiet(self) -> bool:
        """Whether the machine was quiet enough for the ratio to count."""
        return abs(self.itself - 1.0) <= QUIET

    def holds(self, bar: float) -> bool:
        """Return whether the ratio is at most the bar, or at most bar times A/A."""
        return self.ratio <= bar * max(1.0, self.itself)


def compare(
    baseline: Callable[[], object],
    method: Callable[[], object],
    rounds: int,
    beside: dict[str, Callable[[], object]] | None = None,
) -> Timing:
    """Time ``baseline``, ``method``, ``baseline`` again and those beside, ``rounds`` times."""
    beside = beside or {}
    sides = {"first": baseline, "method": method, **beside, "second": baseline}
    for call in sides.values():
        call()
    times: dict[str, list[tuple[float, float, int]]] = {name: [] for name in sides}
    for name in _turns(list(sides), rounds):
        times[name].append(_measure(sides[name]))
    cpu = {name: float(np.median([time[0] for time in times[name]])) for name in sides}
    both = [*times["first"], *times["second"]]
    seconds = float(np.median([time[0] for time in both]))
    return Timing(
        seconds=seconds,
        ratio=cpu["method"] / seconds,
        itself=cpu["second"] / cpu["first"],
        faults=(_faults(both), _faults(times["method"])),
        beside={name: cpu["method"] / cpu[name] for name in beside},
        threads=seconds / float(np.median([time[1] for time in both])),
    )


def _turns(names: list[str], rounds: int) -> Iterator[str]:
    """Every second round goes backwards, so that a machine growing slower favours no side."""
    gc.collect()
    gc.disable()
    try:
        for turn in range(rounds):
            yield from names if turn % 2 == 0 else reversed(names)
            gc.collect()
    finally:
        gc.enable()


def _measure(call: Callable[[], object]) -> tuple[float, float, int]:
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return cpu, wall, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults


def _faults(times: list[tuple[float, float, int]]) -> int:
    return int(np.median([time[2] for time in times]))
