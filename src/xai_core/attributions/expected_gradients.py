"""Expected gradients, also known as GradientSHAP."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from xai_core import _backend, _checks, estimators
from xai_core._arrays import full_type
from xai_core._inputs import chunks
from xai_core._request import Group, Request
from xai_core._scoring import score_step
from xai_core.attributions import sites
from xai_core.attributions.gradient import AbstractGradient, reduce_targets
from xai_core.attributions.running import Maps
from xai_core.typing import Array, Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class ExpectedGradients(AbstractGradient):
    r"""Gradients on the way from rows of data to the input, times the difference, averaged.

    .. math:: \phi(x) = \mathbb{E}_{x_0 \sim D, \, \alpha \sim U(0, 1)} \Bigl[ (x - x_0) \odot
        \frac{\partial s(x)}{\partial x}\bigl(x_0 + \alpha (x - x_0)\bigr) \Bigr]

    This is the mean of integrated gradients over the baselines D, by random draws. The
    attributions sum up to s(x) less the mean score of D, but for the error of the draws.

    Parameters
    ----------
    model, operator, output, batch_size, progress
        As for every explainer: see `AbstractExplainer`.
    background : array, shape (B, ...)
        The rows D; for several inputs one array for each, in their structure. Of an embedding,
        rows of tokens.
    reducer : {"max", "mean", "sum", "abs_max", "abs_mean"}, callable or None
        How the channels of images become one number, by default their sum.
    layer, call
        Explain the output of a layer, along straight lines there: see `AbstractGradient`.
    n_samples : int
        Number of draws of a row and a position, at least 2.
    seed : int
        Key of the draws, from 0 to 2**64 - 1. All inputs have the same, on every backend and for
        every batch size.

    Raises
    ------
    TypeError, ValueError
        If a field is wrong, at construction; if inputs, targets or background do not fit, at the
        call.

    Notes
    -----
    Erion et al., 2021, "Improving performance of deep learning models with axiomatic attribution
    priors and expected gradients", https://arxiv.org/abs/1906.10670. GradientSHAP of SHAP and of
    Captum also adds noise to the input: that is ``SmoothGrad(ExpectedGradients(...))``.
    ``standard_error`` of the Explanation is that of the mean over the draws.

    Examples
    --------
    >>> import keras, numpy as np
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    >>> explainer = ExpectedGradients(model, background=np.zeros((5, 4)), n_samples=8)
    >>> explainer(np.ones((2, 4)), targets=1).standard_error.shape
    (2, 4)
    """

    background: Any = None
    n_samples: int = 50
    seed: int = 0

    source: ClassVar[str] = (
        "Erion et al., 2021, Expected gradients, https://arxiv.org/abs/1906.10670"
    )

    def _check_own_fields(self) -> None:
        """Check draws, seed and that there is a background."""
        _checks.integer("n_samples", self.n_samples, minimum=2)
        _checks.seed(self.seed)
        if self.background is None:
            raise ValueError(
                "`background` must hold rows of data, from which paths begin. Received: None. For "
                "one baseline take IntegratedGradients."
            )

    def _check_request(self, request: Request) -> None:
        """Check that the background fits the inputs."""
        super()._check_request(request)
        rows = sites.background_rows(request, self._site(request), self.background)
        request.decided["background"] = rows

    def rows(self, *shapes: Sequence[int]) -> int:
        """Model rows of one input: its own score, and one for each draw, three at a layer."""
        inside = self.layer is not None or not shapes  # where each line begins and ends
        return 1 + self.n_samples * (3 if inside else 1)

    def _maps(self, group: Group, reduced: bool) -> Maps:
        """The moments of the products over the draws, batch by batch."""
        request, site = group.request, self._site(group.request)
        inputs = group.inputs()
        scores, targets = group.step(score_step, *inputs, group.targets(), rows=len(group))
        data = tuple(map(group.sent, request.decided["background"]))
        static = {} if site is None else site.static()
        place = sites.tokens_at(request, site)
        moments: Any = None
        for rows, drawn in self._draws(group, len(data[0])):
            sent = tuple(map(group.sent, drawn))
            if moments is None:
                moments = self._empty(group, site, scores)
            cost = rows * (1 if site is None else 3)
            arguments = moments, inputs, targets, data, *sent
            moments = group.step(_draw_step, *arguments, rows=cost, place=place, **static)
        ends = self.reduction(request, reduced)
        values, errors = group.step(_end_step, moments, rows=0, **ends)
        maps = Maps(values, scores, targets, {}, per_leaf={"standard_error": errors})
        return maps if site is None else site.told(maps)

    def _empty(self, group: Group, site: Any, scores: Tensor) -> tuple[Any, ...]:
        """Moments of nothing, for each input or for the layer."""
        shapes = [x.shape[1:] for x in group.request.batch.float_leaves()]
        shapes = shapes if site is None else [site.shape[1:]]
        dtype = full_type(scores.dtype)
        size, targets = group.padded_size, scores.shape[1]
        return tuple(estimators.empty(size, (targets, *shape), 2, dtype) for shape in shapes)

    def _draws(self, group: Group, count: int) -> Iterator[tuple[int, list[Array]]]:
        """Cut the rows (draw, input) of a group into full batches."""
        generator = np.random.Generator(np.random.Philox(self.seed))
        picks = generator.integers(count, size=self.n_samples)
        positions = generator.random(self.n_samples)
        rows = len(group)
        dtype = full_type(self._model.dtype)
        for part in chunks(self.n_samples * rows, self.batch_size):
            row = np.arange(part.start, part.stop)
            sample, source = row // rows, row % rows
            missing = self.batch_size - len(row) if _backend.FIXED_SHAPES else 0
            arrays = [
                source.astype("int32"),
                picks[sample].astype("int32"),
                positions[sample].astype(dtype),
            ]
            padded = [np.pad(array, (0, missing), mode="edge") for array in arrays]
            weight = np.pad(np.ones(len(row), "float32"), (0, missing))
            yield len(row), [*padded, weight]


def _draw_step(
    score: Any,
    moments: Any,
    inputs: Any,
    targets: Any,
    data: tuple[Tensor, ...],
    source: Tensor,
    pick: Tensor,
    position: Tensor,
    weight: Tensor,
    *,
    place: int | None,
    **site: Any,
) -> Any:
    """Add the products of a batch of draws to the moments of their inputs."""

    def of_rows(leaves: Any, index: Tensor) -> Any:
        return keras.tree.map_structure(lambda leaf: ops.take(leaf, index, axis=0), leaves)

    def along(start: Tensor, end: Tensor) -> Tensor:
        shape = (-1, *[1] * (len(start.shape) - 1))
        return start + ops.reshape(ops.cast(position, start.dtype), shape) * (end - start)

    ends, own = of_rows(inputs, source), of_rows(targets, source)
    starts = sites.with_rows(place, ends, of_rows(data, pick))
    kept = ends if site else ends[1]
    if site:
        starts, ends = (sites.activation(score, *rows, **site) for rows in (starts, ends))
    else:
        starts, ends = starts[0], ends[0]
    lines = tuple(map(along, starts, ends))

    def finish(gradients: Any) -> Any:
        each = zip(gradients, starts, ends, moments, strict=True)
        cast = ((ops.cast(g, m.mean.dtype), ops.cast(x - x0, m.mean.dtype)) for g, x0, x, m in each)
        return tuple(ops.multiply(g, difference) for g, difference in cast)

    _, found = _backend.value_and_grad(
        lambda x: sites.scored(score, site, x, kept, own), lines, finish=finish, has_aux=True
    )
    return tuple(
        estimators.add(m, values, source, weight) for m, values in zip(moments, found, strict=True)
    )


def _end_step(score: Any, moments: Any, *, reducer: Any, axes: Any, drops: bool) -> Any:
    """Means with their channels reduced, and the standard errors of what was not reduced."""
    del score
    means, errors = tuple(m.mean for m in moments), tuple(map(estimators.mean_error, moments))
    return reduce_targets(means, reducer, axes, drops), errors
