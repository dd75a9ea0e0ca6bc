"""Integrated gradients, along straight paths from one or several baselines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, NamedTuple

import keras
import numpy as np
from keras import ops

from xai_core import _backend, _baselines, _checks
from xai_core._arrays import full_type
from xai_core._inputs import chunks
from xai_core._request import Group
from xai_core.attributions import sites
from xai_core.attributions.gradient import AbstractGradient, reduce_targets
from xai_core.attributions.paths import end_scores, joined
from xai_core.attributions.running import Maps
from xai_core.typing import Array, Tensor

_RULES = ("gauss_legendre", "trapezoid")


@dataclass(frozen=True, eq=False, kw_only=True)
class IntegratedGradients(AbstractGradient):
    r"""Gradient averaged along the straight path from a baseline, times the difference.

    .. math:: \phi(x) = (x - x_0) \odot \int_0^1
        \frac{\partial s}{\partial x}\bigl(x_0 + \alpha (x - x_0)\bigr) \, d\alpha

    The attributions of a sample sum up to s(x) - s(x_0) (completeness), but for the error of the
    integration rule, which the Explanation tells as ``completeness_gap``.

    Parameters
    ----------
    model, operator, output, batch_size, progress
        As for every explainer: see `AbstractExplainer`.
    reducer : {"max", "mean", "sum", "abs_max", "abs_mean"}, callable or None
        How the channels of images become one number, by default their sum, which keeps
        completeness.
    layer, call
        Explain the output of a layer, along the straight path there from the baseline's to the
        input's: see `AbstractGradient`. Of an embedding the baseline is a token.
    steps : int
        Number of gradients per path, at least 2.
    rule : {"gauss_legendre", "trapezoid"}
        Where on the path and with which weights: the nodes of Gauss-Legendre quadrature, or
        equally spaced points, ends included.
    baseline : number, array, "mean", "blur", callable or list
        The reference x_0: a number; an array of one sample's shape, or with the inputs' batch
        axis; the sample's mean per channel; the sample blurred (Gaussian, standard deviation one
        sixteenth of the longest side); a function of the inputs. A list means the average over
        its items. For several inputs one form holds for all of them.

    Raises
    ------
    TypeError, ValueError
        If a field is wrong, at construction; if inputs, targets or baseline do not fit, at the
        call.

    Warns
    -----
    ExplanationWarning
        If the gap is above 5 % of s(x) - s(x_0), and that difference is not negligible.

    Notes
    -----
    Sundararajan, Taly and Yan, 2017, "Axiomatic Attribution for Deep Networks",
    https://arxiv.org/abs/1703.01365

    Examples
    --------
    >>> import keras, numpy as np
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    >>> explanation = IntegratedGradients(model, steps=8)(np.ones((2, 4)), targets=1)
    >>> bool(abs(explanation.completeness_gap).max() < 1e-5)
    True
    """

    steps: int = 50
    rule: str = "gauss_legendre"
    baseline: Any = 0.0

    gap_advice: ClassVar[str] = "Increase `steps`; a layer may also have a way around it."
    source: ClassVar[str] = (
        "Sundararajan et al., 2017, Axiomatic Attribution for Deep Networks, "
        "https://arxiv.org/abs/1703.01365"
    )

    def _check_own_fields(self) -> None:
        """Check steps, rule and baseline."""
        _checks.integer("steps", self.steps, minimum=2)
        _checks.choice("rule", self.rule, _RULES)
        _baselines.check_field(self.baseline)

    def rows(self, *shapes: Sequence[int]) -> int:
        """Model rows of one input: its own score, and per baseline its score and the path."""
        starts = len(_baselines.as_list(self.baseline))
        inside = self.layer is not None or not shapes  # where the path begins and ends
        return 1 + starts * (1 + self.steps) + inside * (1 + starts)

    def _maps(self, group: Group, reduced: bool) -> Maps:
        """Accumulate the paths of a group, chunk by chunk of full batches."""
        site = self._site(group.request)
        starts = sites.baseline_inputs(group, site, self.baseline)
        scores, targets, base = end_scores(group, starts, self.batch_size)
        kept: Any = group.inputs()
        points, *begins = (sites.points(group, site, one) for one in (kept, *starts))
        ends = [tuple(x - b for x, b in zip(points, begin, strict=True)) for begin in begins]
        line = (joined(begins), joined(ends))
        totals = tuple(_zeros(x, scores.shape[1]) for x in line[0])
        inside = {} if site is None else site.static()
        kept = kept[1] if site is None else kept
        for chunk in self._chunks(len(group), group.padded_size, len(starts)):
            sent = [_backend.to_device(part, group.request.model.device) for part in chunk.arrays]
            arguments = totals, line, kept, targets, *sent
            totals = group.step(_path_step, *arguments, rows=chunk.rows, **inside)
        static = self.reduction(group.request, reduced)
        values, gap = group.step(
            _end_step, totals, line[1], scores, base, rows=0, baselines=len(starts), **static
        )
        maps = Maps(values, scores, targets, {"completeness_gap": gap, "base_values": base})
        return maps if site is None else site.told(maps)

    def _chunks(self, rows: int, size: int, baselines: int) -> Iterator[_Chunk]:
        """Cut the rows (baseline, step, input) of a group into full batches."""
        nodes, weights = quadrature(self.rule, self.steps)
        total = baselines * self.steps * rows
        # Rounded positions of a double model may lie on the other side of a kink.
        dtype = full_type(self._model.dtype)
        for part in chunks(total, self.batch_size):
            row = np.arange(part.start, part.stop)
            sample, step = row % rows, row // rows % self.steps
            start = row // (rows * self.steps) * size + sample
            arrays = [
                sample.astype("int32"),
                start.astype("int32"),
                nodes[step].astype(dtype),
                (weights[step] / baselines).astype(dtype),
            ]
            # Full batches keep one shape for any number of steps. Padding repeats the last row,
            # for other rows could have infinite gradients, with weight 0.
            missing = (0, self.batch_size - len(row) if _backend.FIXED_SHAPES else 0)
            padded = [np.pad(array, missing, mode="edge") for array in arrays[:-1]]
            yield _Chunk(len(row), [*padded, np.pad(arrays[-1], missing)])


class _Chunk(NamedTuple):
    """Rows of a batch: index of the sample, of its baseline, position on the path, weight."""

    rows: int
    arrays: list[Array]


@cache
def quadrature(rule: str, steps: int) -> tuple[Array, Array]:
    """Nodes in [0, 1] and weights of an integration rule, float64."""
    if rule == "gauss_legendre":
        nodes, weights = np.polynomial.legendre.leggauss(steps)
        return (nodes + 1) / 2, weights / 2
    weights = np.full(steps, 1 / (steps - 1))
    weights[[0, -1]] /= 2
    return np.linspace(0, 1, steps), weights


def _rows(tensor: Tensor) -> Any:
    shape: Any = ops.shape(tensor)
    return shape[0]


def _zeros(x: Tensor, targets: int) -> Tensor:
    dtype = full_type(x.dtype)
    return ops.zeros((x.shape[0], targets, *x.shape[1:]), dtype)


def _path_step(
    score: Any,
    totals: Any,
    line: Any,
    kept: Any,
    targets: Any,
    sample: Tensor,
    start: Tensor,
    position: Tensor,
    weight: Tensor,
    **site: Any,
) -> Any:
    """Add the weighted gradients of a batch of path points to the totals of their paths."""

    def of_rows(leaves: Any, index: Tensor) -> Any:
        return keras.tree.map_structure(lambda leaf: ops.take(leaf, index, axis=0), leaves)

    def per_row(values: Tensor, like: Tensor) -> Tensor:
        shape = (-1, *[1] * (len(like.shape) - 1))
        return ops.reshape(ops.cast(values, like.dtype), shape)

    pairs = zip(of_rows(line[0], start), of_rows(line[1], start), strict=True)
    points = tuple(b + per_row(position, d) * d for b, d in pairs)
    kept, own = of_rows(kept, sample), of_rows(targets, sample)

    def finish(gradients: Any) -> Any:
        cast = [ops.cast(g, t.dtype) for g, t in zip(gradients, totals, strict=True)]
        return tuple(per_row(weight, g) * g for g in cast)

    (_, _), found = _backend.value_and_grad(
        lambda x: sites.scored(score, site, x, kept, own), points, finish=finish, has_aux=True
    )
    return tuple(
        total + _backend.segment_sum(part, start, _rows(total))
        for total, part in zip(totals, found, strict=True)
    )


def _end_step(
    score: Any,
    totals: Any,
    differences: Any,
    scores: Tensor,
    base: Tensor,
    *,
    baselines: int,
    reducer: Any,
    axes: Any,
    drops: bool,
) -> Any:
    """Gradients times differences, averaged over the baselines, and the completeness gap."""
    del score
    base, scores = ops.cast(base, totals[0].dtype), ops.cast(scores, totals[0].dtype)
    gap: Any = base - scores
    maps = []
    for total, difference in zip(totals, differences, strict=True):
        product = total * ops.expand_dims(ops.cast(difference, total.dtype), 1)
        each = ops.reshape(product, (baselines, -1, *product.shape[1:]))
        maps.append(ops.sum(each, axis=0))
        gap = gap + ops.sum(maps[-1], axis=tuple(range(2, len(total.shape))))
    return reduce_targets(maps, reducer, axes, drops), gap
