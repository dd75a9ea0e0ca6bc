"""FullGrad: gradient times input, and gradient times bias at every layer."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from keras import ops

from xai_core import _arrays, _backend, _checks, images
from xai_core._representations import Neuron
from xai_core._request import Group, Request
from xai_core.attributions.base import AbstractExplainer
from xai_core.attributions.cam import check_space
from xai_core.attributions.cam_maps import Layouts, geometry, in_full, laid_over
from xai_core.attributions.layer_outputs import flaw_of, outputs_of
from xai_core.attributions.running import Maps
from xai_core.typing import Tensor

_TOLERATED = 0.01
"""Of the score, by which the signed sum may miss it."""
_ROUNDING = 1e-4
_STEPS = 2
"""Of the sum of all absolute terms: what is less, or so many epsilon, may be rounding."""

Layer = tuple[tuple[int, ...], str]
"""The shape of what one call of a layer gives for one row, and its data format."""


@dataclass(frozen=True, eq=False, kw_only=True)
class FullGrad(AbstractExplainer):
    r"""Absolute gradient times input, plus absolute gradient times bias of every layer.

    .. math:: \phi = \sum_c |x_c \odot g_c| + \sum_l U\Bigl(\sum_c |\beta_{lc} \odot g_{lc}|\Bigr),
        \qquad \beta_l = F_l(a_l) - J_{F_l}(a_l)\,a_l

    where g is the gradient of the score at the input, g_l that at the output of layer F_l, a_l what
    the layer gets, c its channels, and U resizes linearly to the input. Layers are those without
    layers of their own. All terms with their signs, also those of layers without space such as
    `Dense`, sum up to the score; ``completeness_gap`` of the Explanation is what they miss. The map
    itself is not normalised.

    Parameters
    ----------
    model, operator, output, batch_size, progress
        As for every explainer: see `AbstractExplainer`. A Keras model, or a torch module on
        PyTorch.
    check_completeness : bool
        Raise where the signed sum misses the score by more than 1 %, and by more than 1e-4 of the
        sum of all absolute terms, which is rounding; in models that compute in float16 or bfloat16
        by more than 2 epsilon of it (1/512, 1/64).

    Raises
    ------
    TypeError, ValueError
        If a field is wrong, at construction; if inputs or targets do not fit, or the model computes
        with biases outside its layers, at the call.

    Notes
    -----
    The bias is the implicit one: what the layer's output has beyond its linear part at this input.
    Of a layer of ReLU it is the bias of the units that are active, of a batch normalisation its
    whole shift, and smooth activations have one too. An activation that a layer of Keras holds
    counts as a layer of its own. A score that is no linear function of the
    output, such as a probability, has one of its own, which counts in the sum only. The paper
    rescales each term of the map to [0, 1]; here all keep their size.

    Srinivas and Fleuret, 2019, "Full-Gradient Representation for Neural Network Visualization",
    https://arxiv.org/abs/1905.00780

    Examples
    --------
    >>> import keras, numpy as np
    >>> layers = [keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, activation="softplus"),
    ...           keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)]
    >>> explanation = FullGrad(keras.Sequential(layers))(np.ones((1, 8, 8, 3)))
    >>> explanation.values.shape, bool(abs(explanation.completeness_gap[0]) < 1e-4)
    ((1, 8, 8, 1), True)
    """

    check_completeness: bool = True

    signed = False
    source: ClassVar[str] = (
        "Srinivas and Fleuret, 2019, Full-Gradient Representation for Neural Network "
        "Visualization, https://arxiv.org/abs/1905.00780"
    )

    def _check_fields(self) -> None:
        """Check the flag."""
        _checks.flag("check_completeness", self.check_completeness)

    def _check_request(self, request: Request) -> None:
        """Check that the inputs have space, and that the model shows its layers."""
        leaves = request.batch.float_leaves()
        check_space(type(self).__name__, leaves)
        request.layout(leaves[0].ndim)
        _layers(request)

    def _maps(self, group: Group, reduced: bool) -> Maps:
        """The sum over all layers, from one pass."""
        del reduced
        values, scores, targets, gap, size = group.step(
            _full_step,
            *group.inputs(),
            group.targets(),
            rows=len(group),
            layers=_layers(group.request),
            **geometry(group.request, ""),
        )
        if self.check_completeness:
            epsilon = _arrays.epsilon(group.request.model.precision)
            _check(epsilon, *(group.on_host(part) for part in (scores, gap, size)))
        return Maps((values,), scores, targets, {"completeness_gap": gap})


def _check(epsilon: float, scores: Any, gap: Any, size: Any) -> None:
    rounding = max(_ROUNDING, _STEPS * epsilon) * size
    wide = (abs(gap) > _TOLERATED * abs(scores)) & (abs(gap) > rounding)
    if wide.any():
        worst = np.unravel_index(np.argmax(np.where(wide, abs(gap), 0)), gap.shape)
        raise ValueError(
            "`model` must add its biases inside its layers, so that those of FullGrad sum up to "
            f"the score. Received: a model whose terms miss the score {scores[worst]:.3g} by "
            f"{gap[worst]:.3g}. Look for biases outside of layers, and for layers of which "
            "several tensors are used, as of the cells of recurrent layers; or pass "
            "check_completeness=False for the map without the rest."
        )


def _layers(request: Request) -> tuple[Layer, ...]:
    """What each call of a layer gives for one row, from a dry run that is remembered.

    Raises ValueError where a layer has a `Flaw`.
    """
    one = replace(request, targets=tuple(leaf[:1] for leaf in request.targets))
    group = Group(one, slice(0, 1), 1)

    def run() -> tuple[Layer, ...]:
        known = {one.path: one for one in outputs_of(request)}
        seen: list[Layer] = []

        def visit(path: str, _function: Any, _inputs: Any, output: Any) -> Any:
            flaw = flaw_of(known[path])
            if flaw is not None:
                raise ValueError(
                    f"`model` must have layers of which each must {flaw.rule}, for its bias is "
                    f"part of the map. Received: {flaw.received}. Take a method that looks at the "
                    "inputs alone, such as IntegratedGradients."
                )
            seen.append((tuple(output.shape), known[path].layout))
            return output

        with request.model.leaf_calls(visit):
            request.engine.dry_run(request.score, *group.inputs(), group.targets())
        return tuple(seen)

    shapes = tuple((leaf.shape[1:], leaf.dtype.name) for leaf in request.batch.leaves)
    return request.engine.remembered(("leaf calls", request.score.key(), shapes), run)


def _full_step(
    score: Any,
    floats: Any,
    integers: Any,
    targets: Any,
    *,
    layers: tuple[Layer, ...],
    layouts: Layouts,
    size: tuple[int, ...],
) -> Any:
    """Maps, scores, targets, gaps and sums of absolute terms, the latter (n, M)."""
    (x,) = floats
    known: Any = ops.shape(x)
    rows = known[0]
    # Each bias is added once more times 0: the gradient by the 0 is bias times gradient.
    shapes = (x.shape, *(shape for shape, _ in layers))
    start = [ops.zeros((rows, *shape[1:]), x.dtype) for shape in shapes]

    def function(point: Any) -> Any:
        (first, *others), factor = point
        with _nudges(score.model, others):
            return _scaled(score, factor, (x + x * first,), integers, targets)

    def finish(gradients: Any) -> Any:
        terms, linear = gradients
        total: Any = 0.0
        absolute: Any = 0.0
        for term in terms:
            part = ops.reshape(in_full(term), (-1, math.prod(term.shape[1:])))
            total = total + ops.sum(part, axis=1)
            absolute = absolute + ops.sum(ops.abs(part), axis=1)
        return _mapped(terms, layers, layouts, size), total - in_full(linear), absolute

    ones = ops.ones((rows,), x.dtype)
    (scores, used), (values, gap, absolute) = _backend.value_and_grad(
        function, (start, ones), finish, has_aux=True
    )
    return values, scores, used, gap, absolute


def _scaled(score: Any, factor: Tensor, floats: Any, integers: Any, targets: Any) -> Any:
    """The score of the model's output, or of a neuron, times a factor for each row.

    Its derivative by the factor is the part of the score that is linear in the output.
    """
    model = score.model
    if isinstance(score.operator, Neuron):
        scores, used = score(floats, integers, targets)
        return scores * ops.cast(ops.reshape(factor, (-1, 1)), scores.dtype), used

    def select(outputs: Any) -> Any:
        found: Any = model.selected(outputs)
        shape = (-1, *[1] * (len(found.shape) - 1))
        return found * ops.cast(ops.reshape(factor, shape), found.dtype)

    scaled = replace(score, model=model.with_options(select=select))
    return scaled(floats, integers, targets)


@contextlib.contextmanager
def _nudges(model: Any, nudges: list[Tensor]) -> Iterator[None]:
    """Within the block, the calls of layers are `_nudged` in their order."""
    left, new = iter(nudges), []

    def visit(path: str, function: Any, inputs: list[Tensor], output: Any) -> Any:
        nudge = next(left, None)
        if nudge is None:
            new.append(path)
        return output if nudge is None else _nudged(nudge, function, inputs, output)

    with model.leaf_calls(visit):
        yield
    if new:
        raise ValueError(
            "`model` must call the same layers whenever it is called. Received: a model that "
            f"calls {new[0]!r} where it did not before, as one does whose own call is compiled, "
            "such as by `tf.function`. Leave that to the package."
        )


def _nudged(nudge: Tensor, function: Any, inputs: list[Tensor], output: Any) -> Any:
    """The output of a layer, and its implicit bias times what is differentiated."""
    point = [ops.stop_gradient(one) for one in inputs]
    linear: Any = _backend.jvp(function, point, point) if point else ops.zeros_like(output)
    bias: Any = ops.stop_gradient(output - ops.cast(linear, output.dtype))
    return output + bias * ops.cast(nudge, output.dtype)


def _mapped(
    terms: list[Any], layers: tuple[Layer, ...], layouts: Layouts, size: tuple[int, ...]
) -> Tensor:
    """The sum of all terms with space, in the layout and size of the inputs."""
    rank, _, outside = layouts
    total: Any = 0.0
    for term, inside in zip(terms, (outside, *(layout for _, layout in layers)), strict=True):
        axes = images.spatial_axes(rank, inside)
        if len(term.shape) != rank or math.prod(term.shape[axis] for axis in axes) < 2:
            continue
        maps = ops.sum(
            ops.abs(in_full(term)), axis=images.channel_axis(rank, inside), keepdims=True
        )
        total = total + laid_over(maps, True, (rank, inside, outside), size)
    return total
