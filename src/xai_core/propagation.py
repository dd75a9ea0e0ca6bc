"""Rules by which DeepLIFT passes differences from a baseline back through operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from xai_core import _arrays, _backend, _checks, operations
from xai_core.typing import Tensor

__all__ = ["halved", "largest", "register_rule", "rescale", "unregister_rule"]

Function = Callable[..., Tensor]
Rule = Callable[[Function, tuple[Tensor, ...], tuple[Tensor, ...], Tensor], Tensor]


def register_rule(operation: str, rule: Rule) -> None:
    """Say how DeepLIFT passes differences back through an operation, from now on.

    Parameters
    ----------
    operation : str
        Its name in `keras.ops`, such as ``"layer_normalization"``, or ``"rectifier"`` for all
        forms of ReLU and ``"recurrent"`` for recurrent layers. Torch's operations go by the same
        names. All that a recurrent layer of Keras gives stands side by side in one row for each
        sample; of one of torch it is the sequence.
    rule : callable
        Maps ``(function, inputs, baselines, baseline_output)`` to the output: ``function`` is the
        operation with its settings, ``inputs`` and ``baselines`` are tuples of the tensors that it
        gets for the input and for the baseline, and ``baseline_output`` is what it made of the
        latter. The result must equal ``function(*inputs)``, which every explanation checks, and
        its *gradients* with respect to ``inputs`` are the multipliers: those of `rescale`,
        `halved` or `largest`, or one's own, made with `keras.ops.stop_gradient`.

    Raises
    ------
    TypeError
        If the rule is not callable.
    ValueError
        If no operation has that name, or none whose rule can be chosen.

    Notes
    -----
    Operations that are linear in one tensor need no rule: their gradient is the multiplier.

    Examples
    --------
    Divide by the deviation of the input as if it were a constant:

    >>> from keras import ops
    >>> def normalized(function, inputs, baselines, baseline_output):
    ...     (x,), (x0,) = inputs, baselines
    ...     deviation = ops.stop_gradient(ops.std(x, axis=-1, keepdims=True))
    ...     linear = (x - ops.mean(x, axis=-1, keepdims=True)) / deviation
    ...     return ops.stop_gradient(function(x) - linear) + linear
    >>> register_rule("layer_normalization", normalized)
    >>> unregister_rule("layer_normalization")
    """
    _checks_name(operation)
    if not callable(rule):
        raise TypeError(f"`rule` must be callable. Received: {rule!r}.")
    _OWN[operation] = rule


def unregister_rule(operation: str) -> None:
    """Go back to the rule that an operation had at first.

    Parameters
    ----------
    operation : str
        A name that `register_rule` was given.

    Raises
    ------
    ValueError
        If it has no other rule than that.

    Examples
    --------
    >>> register_rule("tanh", rescale)
    >>> unregister_rule("tanh")
    """
    _checks_name(operation)
    if operation not in _OWN:
        raise ValueError(
            f"`operation` must have a rule from `register_rule`. Received: {operation!r}."
        )
    del _OWN[operation]


def _checks_name(operation: Any) -> None:
    known = {operations.RECTIFIER, *operations.ACTIVATIONS, *operations.POOLS}
    known |= operations.PRODUCTS | operations.PAIRS | operations.OTHERS
    if operation not in known:
        raise ValueError(
            f"`operation` must name an operation that is not linear. Received: {operation!r}."
            f"{_checks.near(operation, sorted(known)) if isinstance(operation, str) else ''}"
        )


def rescale(
    function: Function,
    inputs: tuple[Tensor, ...],
    baselines: tuple[Tensor, ...],
    baseline_output: Tensor,
) -> Tensor:
    r"""The rule of functions of each number by itself.

    .. math:: m = \frac{f(x) - f(x_0)}{x - x_0}

    and the gradient where the two are so near that their difference is mostly rounding.

    Parameters
    ----------
    function, inputs, baselines, baseline_output
        As `register_rule` says, with one tensor each.

    Returns
    -------
    tensor
        ``function(x)``, with the multipliers as its gradient.

    Notes
    -----
    Shrikumar, Greenside and Kundaje, 2017, "Learning Important Features Through Propagating
    Activation Differences", https://arxiv.org/abs/1704.02685

    Examples
    --------
    >>> from keras import ops
    >>> x = ops.convert_to_tensor([2.0])
    >>> float(rescale(ops.tanh, (x,), (ops.zeros(1),), ops.zeros(1))[0]) == float(ops.tanh(x)[0])
    True
    """
    (x,), (x0,) = inputs, baselines
    steady = ops.stop_gradient(x)
    difference: Any = steady - x0
    size: Any = ops.maximum(ops.abs(steady), ops.abs(x0))
    # Padding may be equal and infinite.
    near = ops.logical_or(ops.abs(difference) <= _nearness(x) * size, ops.equal(steady, x0))
    # Gradients that are not finite elsewhere must not come back as 0 times infinity.
    own = function(ops.where(near, x, steady))
    fixed: Any = ops.stop_gradient(own)
    slope: Any = (fixed - baseline_output) / ops.where(near, 1, difference)
    slope = ops.where(near, 0, slope)
    return ops.where(near, own, fixed + ops.stop_gradient(slope) * (x - steady))


def _steep(
    function: Function,
    inputs: tuple[Tensor, ...],
    baselines: tuple[Tensor, ...],
    baseline_output: Tensor,
) -> Tensor:
    """`rescale`, where the own gradient may be infinite, as that of a root at 0."""
    (x,) = inputs
    return rescale(function, (_backend.override_gradient(x, _finite),), baselines, baseline_output)


def _finite(upstream: Tensor) -> Tensor:
    return ops.where(ops.isfinite(upstream), upstream, ops.zeros_like(upstream))


def _power(
    function: Function,
    inputs: tuple[Tensor, ...],
    baselines: tuple[Tensor, ...],
    baseline_output: Tensor,
) -> Tensor:
    """`rescale` of the basis; where the exponent is a tensor, the mean of both orders."""
    if len(inputs) == 1:
        return _steep(function, inputs, baselines, baseline_output)
    (a, b), (a0, b0) = inputs, baselines
    a1, b1 = ops.stop_gradient(a), ops.stop_gradient(b)
    parts: list[Any] = [
        _steep(lambda x: function(x, b0), (a,), (a0,), baseline_output),
        _steep(lambda x: function(x, b1), (a,), (a0,), function(a0, b1)),
        _steep(lambda x: function(a0, x), (b,), (b0,), baseline_output),
        _steep(lambda x: function(a1, x), (b,), (b0,), function(a1, b0)),
    ]
    return _valued(sum(part / 2 for part in parts), function(a, b))


def _nearness(x: Tensor) -> float:
    """A relative difference of which half the digits are rounding."""
    return _arrays.epsilon(keras.backend.standardize_dtype(x.dtype)) ** 0.5


def halved(
    function: Function,
    inputs: tuple[Tensor, ...],
    baselines: tuple[Tensor, ...],
    baseline_output: Tensor,
) -> Tensor:
    r"""The rule of what is linear in each of two tensors, such as their product.

    .. math:: \Delta(a b) = \tfrac12 (b + b_0) \Delta a + \tfrac12 (a + a_0) \Delta b

    Parameters
    ----------
    function, inputs, baselines, baseline_output
        As `register_rule` says, with two tensors each.

    Returns
    -------
    tensor
        ``function(a, b)``, with the multipliers as its gradients.

    Examples
    --------
    >>> from keras import ops
    >>> a, b, zero = ops.ones(1) * 2, ops.ones(1) * 3, ops.zeros(1)
    >>> float(halved(ops.multiply, (a, b), (zero, zero), zero)[0])
    6.0
    """
    del baseline_output
    middle = [
        ops.stop_gradient((one + zero) / 2 - one) + one
        for one, zero in zip(inputs, baselines, strict=True)
    ]
    moved: Any = function(*middle)
    return moved + ops.stop_gradient(function(*inputs) - moved)


def _divided(
    function: Function,
    inputs: tuple[Tensor, ...],
    baselines: tuple[Tensor, ...],
    baseline_output: Tensor,
) -> Tensor:
    """A product with the reciprocal, of which the function may be more: a quotient cut off."""
    (a, b), (a0, b0) = inputs, baselines
    inverse = ops.reciprocal(b0)
    factors = a, rescale(ops.reciprocal, (b,), (b0,), inverse)
    start: Any = ops.multiply(a0, inverse)
    quotient = halved(ops.multiply, factors, (a0, inverse), start)
    return rescale(lambda q: _valued(q, function(*inputs)), (quotient,), (start,), baseline_output)


def _valued(multipliers: Any, value: Tensor) -> Tensor:
    """A value with the gradients of another that it is nearly equal to, or should be."""
    return ops.stop_gradient(value) + (multipliers - ops.stop_gradient(multipliers))


def largest(
    function: Function,
    inputs: tuple[Tensor, ...],
    baselines: tuple[Tensor, ...],
    baseline_output: Tensor,
) -> Tensor:
    r"""The rule of max-pooling.

    Of a window's change, what lies below the larger of both maxima is put where the baseline has
    its maximum if the maximum fell, and where the input has it if it rose.

    .. math:: \Delta y = (\max(y, y_0) - y_0) + (y - \max(y, y_0))

    Parameters
    ----------
    function, inputs, baselines, baseline_output
        As `register_rule` says, with one tensor each.

    Returns
    -------
    tensor
        ``function(x)``, with the multipliers as its gradient.

    Examples
    --------
    >>> from keras import ops
    >>> x = ops.convert_to_tensor([[1.0, 5.0]])
    >>> top = lambda x: ops.max(x, axis=1)
    >>> float(largest(top, (x,), (ops.zeros((1, 2)),), ops.zeros(1))[0])
    5.0
    """
    return _pooled(function, inputs, baselines, baseline_output, ops.maximum)


def _smallest(
    function: Function,
    inputs: tuple[Tensor, ...],
    baselines: tuple[Tensor, ...],
    baseline_output: Tensor,
) -> Tensor:
    return _pooled(function, inputs, baselines, baseline_output, ops.minimum)


def _pooled(
    function: Function,
    inputs: tuple[Tensor, ...],
    baselines: tuple[Tensor, ...],
    baseline_output: Tensor,
    further: Callable[..., Any],
) -> Tensor:
    (x,), (x0,) = inputs, baselines
    steady = ops.stop_gradient(x)
    # What moved nowhere takes no part, such as infinite padding.
    fixed = ops.logical_or(ops.equal(steady, x0), ops.logical_not(ops.isfinite(steady)))
    difference: Any = ops.where(fixed, 1, steady - x0)
    own, still = (ops.where(fixed, 0, one) for one in (x, steady))
    moved = ops.subtract(own, still) / difference  # zeros, with the gradient of x, divided
    output, both = function(steady), ops.stop_gradient(x0)
    far: Any = further(output, baseline_output)
    there = (far - baseline_output) * (function(steady + moved) - output)
    here = (output - far) * (function(both + moved) - baseline_output)
    return output + there + here


def _larger(
    function: Function,
    inputs: tuple[Tensor, ...],
    baselines: tuple[Tensor, ...],
    baseline_output: Tensor,
) -> Tensor:
    """The first of two, and by how much the second is larger."""
    del baseline_output
    (a, b), (a0, b0) = inputs, baselines
    return _valued(a + _rectified(b - a, b0 - a0), function(a, b))


def _smaller(
    function: Function,
    inputs: tuple[Tensor, ...],
    baselines: tuple[Tensor, ...],
    baseline_output: Tensor,
) -> Tensor:
    """The first of two, less by how much it is larger."""
    del baseline_output
    (a, b), (a0, b0) = inputs, baselines
    return _valued(a - _rectified(a - b, a0 - b0), function(a, b))


def _rectified(x: Any, x0: Any) -> Any:
    return rescale(ops.relu, (x,), (x0,), ops.relu(x0))


_RULES: dict[str, Rule] = {
    operations.RECTIFIER: rescale,
    **dict.fromkeys(operations.ACTIVATIONS, rescale),
    **dict.fromkeys(("sqrt", "cbrt", "arcsin", "arccos", "arccosh"), _steep),
    "power": _power,
    **dict.fromkeys(operations.PRODUCTS, halved),
    "divide": _divided,
    "max_pool": largest,
    "adaptive_max_pool": largest,
    "max": largest,
    "min": _smallest,
    "maximum": _larger,
    "minimum": _smaller,
}
_OWN: dict[str, Rule] = {}
"""What users registered, which goes first."""


def rules() -> dict[str, Rule]:
    """The rule of each operation, as it is now."""
    return {**_RULES, **_OWN}


def registered() -> dict[str, Rule]:
    """The rules that users registered, on which compiled steps depend."""
    return {f"rule of {name}": rule for name, rule in _OWN.items()}


def is_registered(operation: str) -> bool:
    """Whether the rule of an operation is a user's."""
    return operation in _OWN
