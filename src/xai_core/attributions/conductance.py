"""Conductance: what flows through a layer on the way from a baseline to the input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from keras import ops

from xai_core import _backend, _baselines, _checks
from xai_core._arrays import full_type
from xai_core._request import Group
from xai_core.attributions import sites
from xai_core.attributions.gradient import AbstractGradient, reduce_targets
from xai_core.attributions.layer_outputs import tapped
from xai_core.attributions.paths import end_scores
from xai_core.attributions.running import Maps
from xai_core.typing import Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class Conductance(AbstractGradient):
    r"""Flow of integrated gradients through each unit of a layer.

    .. math:: \phi(x) = \int_0^1 \frac{\partial s}{\partial h} \odot
        \frac{\partial h}{\partial \alpha} \, d\alpha

    where h is the layer's output on the straight path x_0 + alpha (x - x_0) of the inputs. If all
    that the score depends on passes the layer, the attributions of a sample sum up to s(x) -
    s(x_0).

    Parameters
    ----------
    model, operator, output, batch_size, progress
        As for every explainer: see `AbstractExplainer`.
    layer : str, int, layer, (features, head)
        The layer, given as for `GradCAM`; the map has its shape.
    call : int, optional
        Which call, of a layer that the model calls several times.
    reducer : {"max", "mean", "sum", "abs_max", "abs_mean"}, callable or None
        How the channels of feature maps become one number, by default their sum.
    steps : int
        Number of gradients per path, at equally spaced points, ends included, at least 2.
    baseline : number, array, "mean", "blur", callable or list
        The reference x_0 of the inputs: see `IntegratedGradients`.

    Raises
    ------
    TypeError, ValueError
        If a field is wrong, at construction; if inputs, targets or baseline do not fit, at the
        call.

    Warns
    -----
    ExplanationWarning
        If the attributions miss s(x) - s(x_0) by more than 5 %: too few steps, or a way around
        the layer.

    Notes
    -----
    Changes of h between neighbouring points are weighted with the mean of both gradients
    (trapezoid). The integral of the gradient alone, the layer's *internal influence*, and
    integrated gradients of the layer itself are other things: the latter is
    ``IntegratedGradients(model, layer=...)``.

    Dhamdhere, Sundararajan and Yan, 2018, "How Important Is a Neuron?",
    https://arxiv.org/abs/1805.12233

    Examples
    --------
    >>> import keras, numpy as np
    >>> layers = [keras.Input((4,)), keras.layers.Dense(3, name="hidden"), keras.layers.Dense(2)]
    >>> explainer = Conductance(keras.Sequential(layers), layer="hidden", steps=8)
    >>> explainer(np.ones((2, 4)), targets=1).values.shape
    (2, 3)
    """

    steps: int = 50
    baseline: Any = 0.0

    takes_integers: ClassVar[bool] = False  # between two tokens there is no path
    gap_advice: ClassVar[str] = "Increase `steps`, or name a layer that nothing goes around."
    source: ClassVar[str] = (
        "Dhamdhere et al., 2018, How Important Is a Neuron?, https://arxiv.org/abs/1805.12233"
    )

    def _check_own_fields(self) -> None:
        """Check that there is a layer, the steps and the baseline."""
        if self.layer is None:
            raise ValueError(
                "`layer` must be given, through which the score flows. Received: None. For the "
                "inputs take IntegratedGradients."
            )
        _checks.integer("steps", self.steps, minimum=2)
        _baselines.check_field(self.baseline)

    def rows(self, *shapes: Sequence[int]) -> int:
        """Model rows of one input: its own score, and per baseline its score and the path."""
        del shapes
        return 1 + len(_baselines.as_list(self.baseline)) * (1 + self.steps)

    def _maps(self, group: Group, reduced: bool) -> Maps:
        """Accumulate the flow of each path, batch by batch of neighbouring points."""
        request = group.request
        site: Any = self._site(request)
        inputs = group.inputs()
        starts = sites.baseline_inputs(group, None, self.baseline)
        scores, targets, base = end_scores(group, starts, self.batch_size)
        arguments = *inputs, targets
        total: Any = None
        at_once = max(1, self.batch_size // group.padded_size)
        positions = np.linspace(0, 1, self.steps, dtype="float32")
        for start, _ in starts:
            carry: Any = None
            for first in range(0, self.steps, at_once):
                own = positions[first : first + at_once]
                counts = (own > 0).astype("float32")
                missing = at_once - len(own) if _backend.FIXED_SHAPES else 0
                # More points at the end, from which nothing changes.
                sent = [np.pad(one, (0, missing), constant_values=1) for one in (own, counts)]
                if carry is None:
                    carry = self._nothing(group, site, scores)
                    total = carry[0] if total is None else total
                total, carry = group.step(
                    _flow_step,
                    *(*arguments, start, total, carry, *map(group.sent, sent)),
                    rows=len(own) * len(group),
                    **site.static(),
                )
        ends = self.reduction(request, reduced)
        values, gap = group.step(
            _end_step, total, scores, base, rows=0, baselines=len(starts), **ends
        )
        maps = Maps(values, scores, targets, {"completeness_gap": gap, "base_values": base})
        return site.told(maps)

    def _nothing(self, group: Group, site: Any, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Zeros like gradients (n, M, ...) and activations (n, ...)."""
        dtype = full_type(scores.dtype)
        rows, shape = group.padded_size, site.shape[1:]
        return (
            ops.zeros((rows, scores.shape[1], *shape), dtype),
            ops.zeros((rows, *shape), dtype),
        )


def _flow_step(
    score: Any,
    floats: Any,
    integers: Any,
    targets: Any,
    start: Any,
    total: Tensor,
    carry: tuple[Tensor, Tensor],
    positions: Tensor,
    counts: Tensor,
    **site: Any,
) -> Any:
    """Add the flow between the points of a batch, and from the last point before it."""
    points: Any = positions.shape[0]
    if points is None:
        shape: Any = ops.shape(positions)
        points = shape[0]

    def along(x: Any, x0: Any) -> Tensor:
        place = ops.reshape(ops.cast(positions, x.dtype), (-1, *[1] * len(x.shape)))
        return ops.reshape(x0 + place * (x - x0), (-1, *x.shape[1:]))

    def again(leaf: Any) -> Tensor:
        return ops.tile(leaf, (points, *[1] * (len(leaf.shape) - 1)))

    line = tuple(along(x, x0) for x, x0 in zip(floats, start, strict=True))
    kept, own = tuple(map(again, integers)), tuple(map(again, targets))
    (_, _), activation, gradients = _backend.activation_and_grad(
        lambda x: score(x, kept, own),
        lambda hook: tapped(score.model, site, hook),
        line,
    )

    def with_last(tensor: Any, last: Any) -> Any:
        each = ops.reshape(ops.cast(tensor, last.dtype), (points, -1, *tensor.shape[1:]))
        return ops.concatenate([last[None], each])

    slopes: Any = with_last(gradients, carry[0])
    outputs: Any = with_last(activation, carry[1])
    weights = ops.reshape(ops.cast(counts, total.dtype), (-1, *[1] * (len(total.shape))))
    change: Any = ops.expand_dims(outputs[1:] - outputs[:-1], 2)
    added = ops.sum(weights * (slopes[1:] + slopes[:-1]) / 2 * change, axis=0)
    return total + added, (slopes[-1], outputs[-1])


def _end_step(
    score: Any,
    total: Tensor,
    scores: Tensor,
    base: Tensor,
    *,
    baselines: int,
    reducer: Any,
    axes: Any,
    drops: bool,
) -> Any:
    """The mean over the baselines, and what it misses of the difference of the scores."""
    del score
    mean: Any = total / baselines
    after: Any = ops.cast(scores, mean.dtype)
    total = ops.sum(mean, axis=tuple(range(2, len(mean.shape))))
    gap: Any = total - (after - ops.cast(base, mean.dtype))
    return reduce_targets((mean,), reducer, axes, drops), gap
