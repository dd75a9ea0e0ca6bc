"""What one call asks, checked: a batch, a score, and targets for each of its rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import keras
from keras import ops

from xai_core import _backend, _baselines, _frames, _inputs, _scoring, _target_leaves, operators
from xai_core._execution import engine_of
from xai_core._scoring import Score
from xai_core._target_leaves import every_column, output_columns
from xai_core.typing import Array, Operator, Tensor
from xai_core.wrappers.base import AbstractModel

__all__ = ["Group", "Request", "every_column", "make", "output_columns", "without_model"]


@dataclass(frozen=True, eq=False)
class Request:
    """The checked arguments of one call.

    Parameters
    ----------
    model
        The wrapped model, if there is one.
    engine
        Runs compiled steps of the model; None where there is no model to run.
    batch
        The inputs.
    score
        What is explained; None where there is no model.
    targets
        Leaves (N, M, ...) of the targets; () for the predicted class.
    advance
        Called with the number of model rows that were just computed.
    decided
        What the first rows of this call decided for all of them.
    """

    model: Any
    engine: Any
    batch: _inputs.Batch
    score: Any
    targets: tuple[Array, ...]
    advance: Callable[[int], None] = lambda rows: None
    decided: dict[str, Any] = field(default_factory=dict)

    @property
    def feature_names(self) -> tuple[str, ...] | None:
        """Names of the columns, as the model or a DataFrame has them."""
        own = None if self.model is None else self.model.feature_names
        return own or self.batch.columns

    def layout(self, rank: int, needed: bool = True) -> str:
        """The data format of inputs of a rank, batch axis included."""
        if self.model is None:
            return keras.config.image_data_format()
        return self.model.layout(rank, needed)

    def parts(self, size: int) -> list[Request]:
        """The same request for at most ``size`` targets at a time."""
        if not self.targets:
            return [self]
        count = self.targets[0].shape[1]
        cuts = _inputs.chunks(count, size)
        return [replace(self, targets=tuple(leaf[:, cut] for leaf in self.targets)) for cut in cuts]

    def groups(self, size: int) -> list[Group]:
        """The rows in groups of at most ``size``."""
        size = min(size, len(self.batch))
        return [Group(self, rows, size) for rows in _inputs.chunks(len(self.batch), size)]


@dataclass(frozen=True, eq=False)
class Group:
    """Some rows of a request, on the device; padded to ``size`` where shapes are fixed.

    ``rows`` is a slice or an array of indices. ``given`` holds (floats, integers, targets) for
    these rows instead of the request's own, already padded.
    """

    request: Request
    rows: Any
    size: int
    given: Any = None

    def __len__(self) -> int:
        if isinstance(self.rows, slice):
            return self.rows.stop - self.rows.start
        return len(self.rows)

    @property
    def padded_size(self) -> int:
        """Number of rows of the tensors."""
        fixed = _backend.FIXED_SHAPES and not self.request.model.on_host
        return self.size if fixed else len(self)

    def inputs(self) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Float and integer leaves."""
        if self.given is not None:
            return self.given[:2]
        request = self.request
        return _scoring.device_rows(request.model, request.batch, self.rows, self.padded_size)

    def targets(self) -> tuple[Tensor, ...]:
        """Leaves of the targets, (n, M, ...)."""
        if self.given is not None:
            return self.given[2]
        return tuple(self.to_device(leaf[self.rows]) for leaf in self.request.targets)

    def baselines_of(self, baseline: Any, leaf: Array) -> list[Array]:
        """The baselines of these rows of one input, functions called once for all rows."""
        decided = self.request.decided
        if "tokens" not in decided:
            decided["tokens"] = _baselines.evaluated(baseline, leaf)
        return _baselines.samples(decided["tokens"], leaf, self.rows, self.request.layout)

    def baselines(self, baseline: Any) -> list[tuple[Tensor, ...]]:
        """The float leaves of each of the baselines, functions called once for all rows."""
        request = self.request
        leaves = request.batch.float_leaves()
        if "baselines" not in request.decided:
            request.decided["baselines"] = [
                _baselines.evaluated(baseline, x, self.request.model.on_host) for x in leaves
            ]
        pairs = zip(request.decided["baselines"], leaves, strict=True)
        each = [_baselines.samples(own, x, self.rows, request.layout) for own, x in pairs]
        like = self.inputs()[0]
        return [
            tuple(
                self._cast(self.to_device(array), x) for array, x in zip(arrays, like, strict=True)
            )
            for arrays in zip(*each, strict=True)
        ]

    def _cast(self, tensor: Tensor, like: Tensor) -> Tensor:
        return tensor if self.request.model.on_host else ops.cast(tensor, like.dtype)

    def to_device(self, array: Array) -> Tensor:
        """An array with one entry per row as a tensor."""
        return self.sent(_inputs.padded(array, self.padded_size))

    def on_host(self, tensor: Tensor) -> Array:
        """The rows of a tensor without padding, as an array."""
        return _backend.to_host(tensor)[: len(self)]

    def sent(self, array: Array) -> Tensor:
        """An array where the model computes: a tensor, or the array itself for a black box."""
        model = self.request.model
        return array if model.on_host else _backend.to_device(array, model.device)

    def step(self, function: Callable[..., Any], *arguments: Any, rows: int, **static: Any) -> Any:
        """Run a compiled step that sends ``rows`` rows to the model."""
        result = self.request.engine.step(self.request.score, function, *arguments, **static)
        self.request.advance(rows)
        return result


def make(
    model: AbstractModel,
    operator: Operator,
    output: str,
    inputs: Any,
    asked: Sequence[Any],
    integers: bool = False,
) -> Request:
    """Check inputs and targets against the model, before it computes more than one row.

    ``asked`` holds the targets of each explanation that is wanted from the same rows; nothing is
    scored where it is empty. ``integers`` says whether all inputs may be integers.
    """
    structure = model.arranged(_inputs.as_structure(inputs, model.several_inputs))
    leaves = keras.tree.flatten(structure)
    model.check(structure)
    if model.on_host:
        batch = _inputs.as_given(structure, inputs)
    else:
        batch = _inputs.checked(structure, model.takes_integers(leaves), model.dtype)
        if not integers and not batch.float_leaves():
            raise ValueError(
                "`inputs` must hold an array of floats. Received: integers only "
                f"({', '.join(leaf.dtype.name for leaf in leaves)}). Gradient methods such as "
                "IntegratedGradients explain the embedding that looks them up; methods that need "
                "no gradients take a function of arrays, such as lambda x: model.predict(x)."
            )
    if _frames.is_frame(inputs):
        batch = replace(batch, columns=tuple(map(str, inputs.columns)))
    _target_leaves.check_output(operator, output)
    engine = engine_of(model)
    head = _scoring.head(engine, batch, output)
    leaves, skeleton = _target_leaves.checked(model, operator, head.shape, len(batch), asked)
    score = Score(model, operator, head, batch, skeleton)
    request = Request(model, engine, batch, score, leaves)
    if asked and operators.name_of(operator).startswith("<"):
        _check_operator(request)
    return request


def without_model(inputs: Any) -> Request:
    """Check inputs of a method that needs no model."""
    structure = _inputs.as_structure(inputs, several=False)
    integers = [False] * len(keras.tree.flatten(structure))
    return Request(None, None, _inputs.checked(structure, integers, "float32"), None, ())


def _check_operator(request: Request) -> None:
    request.engine.remembered(("operator", request.score.key()), lambda: _dry_score(request))


def _dry_score(request: Request) -> bool:
    one = replace(request, targets=tuple(leaf[:1] for leaf in request.targets))
    group = Group(one, slice(0, 1), 1)
    seen: list[Any] = []

    def run(floats: Any, integers: Any, targets: Any) -> None:
        seen.append(request.score.one_target(floats, integers, targets))

    request.engine.dry_run(run, *group.inputs(), group.targets())
    result = seen[-1]
    if not hasattr(result, "shape") or tuple(result.shape) != (1,):
        raise ValueError(
            "`operator` must return one score per row, of shape (N,). Received: "
            f"{_described(result)} for one row."
        )
    if "float" not in str(result.dtype):
        raise ValueError(f"`operator` must return floats. Received: {result.dtype}.")
    return True


def _described(value: Any) -> str:
    shape = getattr(value, "shape", None)
    return type(value).__name__ if shape is None else f"shape {tuple(shape)}"
