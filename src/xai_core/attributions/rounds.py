"""The masked rows that a method has sent for a group of inputs so far, and what they tell."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from xai_core import designs, perturbation
from xai_core._request import Group
from xai_core._scoring import score_step
from xai_core.attributions.running import Maps, check_scores
from xai_core.perturbation import Absent, Codes, Masking, Perturbation
from xai_core.typing import Array


class Found(NamedTuple):
    """What the rows of one input tell, for M targets.

    ``values`` and ``errors`` hold one array (M, ...) per float input, errors or None; ``fields``
    further fields of an Explanation for each float input; ``base`` the base values (M,); ``mean``
    (M,) is the mean standard error and ``largest`` (M,) how far a cell is at most from one that the
    score does not depend on.
    """

    values: list[Array]
    errors: list[Array] | None
    fields: dict[str, list[Array]]
    base: Array | None
    mean: Array | None
    largest: Array


class Plan(Protocol):
    """What is sent for each input of a group, and what is made of the scores.

    ``shared`` says whether all inputs have the same masks.
    """

    shared: bool
    maskings: tuple[Masking, ...]
    blend: Callable[..., Any]

    def checks(self, row: int) -> list[int]:
        """Numbers of masks after which an input has an estimate; the last is that of all."""
        ...

    def codes(self, row: int, start: int, stop: int) -> tuple[Array, ...]:
        """The masks of an input in short."""
        ...

    def share(self, row: int) -> int:
        """Number of consecutive masks of an input that share a drawn row of the background."""
        ...

    def found(self, rows: Array, scores: Array, whole: Array) -> list[Found]:
        """What the scores (k, n, M) of some inputs' first k masks tell of each."""
        ...


class Standing(NamedTuple):
    """What stands for absent cells: tensors, whether each row takes all in turn, and the seed."""

    group_baselines: list[tuple[Any, ...]] | None
    background: tuple[Any, ...] | None
    averaged: bool
    seed: int


class Rounds:
    """Rows sent in rounds; an input that has converged leaves the later ones.

    Parameters
    ----------
    group
        The inputs.
    plan
        The masks.
    standing
        What stands for absent cells.
    batch_size
        Number of rows that the model sees at once.
    """

    def __init__(self, group: Group, plan: Plan, standing: Standing, batch_size: int) -> None:
        self._group, self._plan, self._standing = group, plan, standing
        self._size = batch_size
        given = *group.inputs(), group.targets()
        self.scores, self.targets = group.step(score_step, *given, rows=len(group))
        self._whole = np.asarray(group.on_host(self.scores), "float64")
        check_scores("the inputs", self._whole, np.r_[group.rows])
        self._parts: list[list[Array]] = [[] for _ in range(len(group))]
        self._found: list[Found | None] = [None] * len(group)
        self._sent = np.zeros(len(group), int)
        self._round = 0
        self.active = np.arange(len(group))
        self.converged = np.zeros(len(group), bool)

    def __len__(self) -> int:
        return len(self._group)

    @property
    def done(self) -> bool:
        """Whether no input has masks left."""
        return not any(self._stop(row) > self._sent[row] for row in self.active.tolist())

    def _stop(self, row: int) -> int:
        checks = self._plan.checks(row)
        return checks[min(self._round, len(checks) - 1)]

    def finish(self) -> None:
        """Send all masks that are left in one round."""
        self._round = max(len(self._plan.checks(row)) for row in range(len(self._group)))
        self.advance()

    def advance(self) -> None:
        """Send the masks up to the next check, and look at the scores of all so far."""
        stops = np.array([self._stop(row) for row in self.active.tolist()])
        left = stops > self._sent[self.active]
        self.active, stops = self.active[left], stops[left]
        if self._plan.shared:
            self._send_shared(int(self._sent[self.active[0]]), int(stops[0]))
        else:
            self._send_own(stops)
        self._sent[self.active] = stops
        self._round += 1
        self._look()

    def _send_shared(self, start: int, stop: int) -> None:
        active, count = self.active, len(self.active)
        turns = self._turns
        widest = min(_widest(self._size, count * turns), self._size)
        if count < len(self._group):
            widest = self._size  # one shape, however many inputs are left

        def codes(pair: Array) -> Codes:
            sample = start + pair // count
            masks = self._plan.codes(0, int(sample[0]), int(sample[-1]) + 1)
            return Codes(active[pair % count], masks, sample - sample[0], widest)

        share = self._plan.share(0)

        def draw(pair: Array) -> Array:
            return (start + pair // count) // share

        found = self._scored((stop - start) * count, codes, draw)
        each = found.reshape(stop - start, count, -1)
        for k, row in enumerate(active):
            self._parts[row].append(each[:, k])

    def _send_own(self, stops: Array) -> None:
        starts = self._sent[self.active]
        lengths = stops - starts
        ends = np.cumsum(lengths)

        def place(pair: Array) -> tuple[Array, Array]:
            k = np.searchsorted(ends, pair, side="right")
            return k, pair - (ends - lengths)[k] + starts[k]

        def codes(pair: Array) -> Codes:
            k, sample = place(pair)
            masks = []
            for one in np.unique(k).tolist():
                own = sample[k == one]
                row = int(self.active[one])
                distinct = self._plan.codes(row, int(own[0]), int(own[-1]) + 1)
                masks.append(tuple(x[own - own[0]] for x in distinct))
            joined = tuple(np.concatenate(x) for x in zip(*masks, strict=True))
            return Codes(self.active[k], joined)

        shares = np.array([self._plan.share(row) for row in self.active.tolist()])

        def draw(pair: Array) -> Array:
            k, sample = place(pair)
            return sample // shares[k]

        found = self._scored(int(ends[-1]), codes, draw)
        for k, row in enumerate(self.active):
            self._parts[row].append(found[ends[k] - lengths[k] : ends[k]])

    def _scored(
        self, total: int, codes: Callable[[Array], Codes], draw: Callable[[Array], Array]
    ) -> Array:
        group, plan = self._group, self._plan
        perturbed = Perturbation(total, codes, plan.maskings, plan.blend)
        absent = self._absent(draw)
        found = perturbation.scored(group, perturbed, self.targets, absent, self._size).scores
        perturbation.check_finite(found)
        return np.asarray(found, "float64")

    @property
    def _turns(self) -> int:
        """Rows for each mask, over which scores are averaged."""
        standing = self._standing
        if standing.background is None:
            return len(standing.group_baselines or [])
        return int(standing.background[0].shape[0]) if standing.averaged else 1

    def _absent(self, draw: Callable[[Array], Array]) -> Absent:
        """What stands for absent cells; background rows may be drawn, by their number."""
        standing = self._standing
        if standing.background is None:
            return perturbation.baselines(self._group, standing.group_baselines or [])
        if standing.averaged:
            return perturbation.averaged(standing.background)
        count = int(standing.background[0].shape[0])

        def drawn(index: Array, pair: Array, turn: Array) -> Array:
            del index, turn
            number = draw(pair)
            low = int(number.min())
            every = designs.background_rows(standing.seed, low, int(number.max()) + 1, count)
            return every[number - low]

        return Absent(standing.background, drawn)

    def _look(self) -> None:
        """Make the estimates of the inputs that just got new scores."""
        scores = {row: np.concatenate(self._parts[row]) for row in self.active}
        for row in self.active:
            self._parts[row] = [scores[row]]
        together = [self.active] if self._plan.shared else [[row] for row in self.active]
        for rows in together:
            each = np.stack([scores[row] for row in rows], axis=1)
            found = self._plan.found(np.asarray(rows), each, self._whole[np.asarray(rows)])
            for row, one in zip(rows, found, strict=True):
                self._found[row] = one

    def settle(self, tolerance: float) -> None:
        """Let those inputs go whose errors are small enough."""
        for row in self.active:
            one = self._found[row]
            if one is not None and one.mean is not None:
                self.converged[row] = (one.mean <= tolerance * one.largest).all()
        self.active = self.active[~self.converged[self.active]]

    def maps(self, tolerance: float | None) -> Maps:
        """What is known of every input."""
        found: list[Any] = self._found
        first = found[0]

        def leaves(arrays: list[list[Array]]) -> tuple[Any, ...]:
            return tuple(self._group.to_device(_stacked(x)) for x in zip(*arrays, strict=True))

        fields = [
            one.fields | ({} if one.errors is None else {"standard_error": one.errors})
            for one in found
        ]
        # Inputs with other cells may lack a field.
        names = {name: own[name] for own in fields for name in own}
        per_leaf = {
            name: leaves([own.get(name, [_nothing(x) for x in like]) for own in fields])
            for name, like in names.items()
        }
        facts = {}
        if first.base is not None:
            facts["base_values"] = self._group.to_device(
                np.stack([one.base for one in found]).astype("float32")
            )
        values = leaves([one.values for one in found])
        return Maps(
            values,
            self.scores,
            self.targets,
            facts,
            per_leaf=per_leaf,
            rows=1 + self._sent * self._turns,
            converged=None if tolerance is None else self.converged.copy(),
        )


def _stacked(arrays: tuple[Array, ...]) -> Array:
    """Arrays as one, with NaN where one is shorter than another."""
    shape = [max(sides) for sides in zip(*(x.shape for x in arrays), strict=True)]
    found = np.full((len(arrays), *shape), np.nan, "float32")
    for k, array in enumerate(arrays):
        found[(k, *map(slice, array.shape))] = array
    return found


def _nothing(like: Array) -> Array:
    """An array without elements of the same number of targets and axes."""
    return np.empty((len(like), *[0] * (like.ndim - 1)))


def _widest(size: int, each: int) -> int:
    """The most masks that a batch holds rows of, where each mask has ``each`` rows."""
    return (size - 1 - math.gcd(size, each)) // each + 2
