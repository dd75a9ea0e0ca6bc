"""The score of a row: the model's output, in the form asked for, handed to the operator."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops
from scipy import special

from xai_core import _backend, operators
from xai_core._execution import Engine, HostEngine
from xai_core._inputs import Batch, padded
from xai_core._representations import Neuron
from xai_core.typing import Array, Operator, Tensor
from xai_core.wrappers.base import AbstractModel
from xai_core.wrappers.identity import Same

OUTPUTS = ("raw", "logits", "softmax", "sigmoid")
BUILT_IN = (operators.classification, operators.regression)


class Head(NamedTuple):
    """How the model's output ends, and what is done to it.

    ``shape`` is that of one row's output, batch axis included. ``bypass`` is the index of the
    softmax or sigmoid call that returns its input, ``apply`` a function's name that is added,
    ``probability`` whether the result is known to be a probability, ``notes`` what was decided,
    ``axis`` that of the classes.
    """

    shape: tuple[int, ...]
    bypass: int | None
    apply: str | None
    probability: bool
    notes: tuple[str, ...] = ()
    axis: int = -1


@dataclass(frozen=True, eq=False)
class Score:
    """Scores (N, M) of N rows for M targets, as part of a compiled step.

    Parameters
    ----------
    model
        The wrapped model.
    operator
        Maps (model, inputs, targets) to (N,).
    head
        How the output is used.
    batch
        Knows the structure of the inputs.
    targets
        The structure of one target.
    """

    model: AbstractModel
    operator: Operator
    head: Head
    batch: Batch
    targets: Any = 0

    def key(self) -> tuple[Any, ...]:
        """What a compiled step depends on besides the model's structure."""
        select = self.model.select
        return (
            self.model.key(),
            Same(select) if callable(select) else select,
            _key_of(self.operator),
            self.head,
            self.batch.key(),
            repr(self.targets),
        )

    def __call__(self, floats: Any, integers: Any, targets: Any) -> tuple[Tensor, Any]:
        """Scores (N, M) and the targets they are for, which are the predicted ones for ()."""
        model = _Remembering(self)
        inputs = self.batch.pack(floats, integers)
        if not targets and self.operator in BUILT_IN:
            targets = (self._predicted(model(inputs)),)
        return self._columns(model, inputs, targets), targets

    def with_outputs(self, floats: Any, integers: Any, targets: Any) -> tuple[Tensor, Any, Tensor]:
        """Scores (N, M), the targets they are for, and the outputs (N, K), from one pass."""
        model = _Remembering(self)
        inputs = self.batch.pack(floats, integers)
        outputs = model(inputs)
        targets = targets or (self._predicted(outputs),)
        return self._columns(model, inputs, targets), targets, operators.as_columns(outputs)

    def with_classes(self, floats: Any, integers: Any, targets: Any) -> tuple[Tensor, Tensor]:
        """Scores (N, M), and the predicted class of each row (N,)."""
        model = _Remembering(self)
        inputs = self.batch.pack(floats, integers)
        outputs = operators.as_columns(model(inputs))
        if outputs.shape[1] > 1:
            classes = self.model.arrays.argmax(outputs, axis=1)
        else:
            classes = outputs[:, 0] > (0.5 if self.head.probability else 0.0)
        return self._columns(model, inputs, targets), classes

    def _columns(self, model: Any, inputs: Any, targets: Any) -> Tensor:
        count = targets[0].shape[1] if targets else 1
        columns = [self._operate(model, inputs, targets, m) for m in range(count)]
        self._check_rows(columns[0], inputs)
        return self.model.arrays.stack(columns, axis=1)

    def one_target(self, floats: Any, integers: Any, targets: Any) -> Any:
        """What the operator returns for the first target, unchecked."""
        return self._operate(_Remembering(self), self.batch.pack(floats, integers), targets, 0)

    def _operate(self, model: Any, inputs: Any, targets: Any, m: int) -> Any:
        if not targets:
            return self.operator(model, inputs, None)
        own = keras.tree.pack_sequence_as(self.targets, [leaf[:, m] for leaf in targets])
        return self.operator(model, inputs, own)

    def _check_rows(self, scores: Any, inputs: Any) -> None:
        rows = keras.tree.flatten(inputs)[0].shape[0]
        if None not in (rows, scores.shape[0]) and rows != scores.shape[0]:
            raise ValueError(
                f"`operator` must return one score per row, of shape ({rows},). "
                f"Received: shape {tuple(scores.shape[:1])}."
            )

    def _predicted(self, outputs: Tensor) -> Tensor:
        outputs = operators.as_columns(outputs)
        arrays = self.model.arrays
        if outputs.shape[1] > 1:
            found = arrays.argmax(outputs, axis=1, keepdims=True)
        else:
            index = 1 if self.operator is operators.classification else 0
            found = arrays.zeros_like(outputs) + index
        return found.astype("int32") if self.model.on_host else ops.cast(found, "int32")

    def outputs(self, inputs: Any) -> Tensor:
        """The selected output as the head says, at least in float32."""
        if self.head.bypass is None:
            outputs = self.model(inputs)
        else:
            with self.model.final_calls(self.head.bypass):
                outputs = self.model(inputs)
        outputs = _in_full(outputs)
        if self.head.apply is None:
            return outputs
        if self.model.on_host:
            # In the black box's own precision, which not every framework has.
            if self.head.apply == "softmax":
                return special.softmax(outputs, axis=self.head.axis)
            return special.expit(outputs)
        if self.head.apply == "softmax":
            return ops.softmax(outputs, axis=self.head.axis)
        return ops.sigmoid(outputs)


class _Remembering:
    """The model as operators receive it: several targets of the same rows cost one forward."""

    def __init__(self, score: Score) -> None:
        self._score = score
        self._last: tuple[Any, Tensor] | None = None
        self.is_probability = score.head.probability

    def __call__(self, inputs: Any) -> Tensor:
        if self._last is None or self._last[0] is not inputs:
            self._last = (inputs, self._score.outputs(inputs))
        return self._last[1]

    def activation(self, inputs: Any, layer: Any, call: int | None) -> Tensor:
        """The output of an inner layer for these inputs, at least in float32."""
        model = self._score.model
        seen: list[Tensor] = []

        def record(output: Tensor) -> Tensor:
            # The next operation of a torch module may work in place.
            seen.append(ops.copy(output))
            return output

        with model.tap(model.find(layer), record, call):
            self._score.outputs(inputs)
        return _in_full(seen[0])

    def channel_axis(self, rank: int, layer: Any) -> int | None:
        """The axis of channels of a layer's output; None where the model does not tell."""
        model = self._score.model
        layout = model.layout_of(model.find(layer)[1])
        if rank <= 2 or layout == "channels_last":
            return rank - 1
        return None if not layout or (rank == 3 and model.data_format is None) else 1


def _in_full(tensor: Tensor) -> Tensor:
    """Half precision as float32, other types as they are."""
    half = keras.backend.standardize_dtype(tensor.dtype) in ("float16", "bfloat16")
    return ops.cast(tensor, "float32") if half else tensor


def _key_of(operator: Operator) -> Any:
    """What a compiled step knows an operator by: its identity, of a neuron its values."""
    if not isinstance(operator, Neuron):
        return Same(operator)
    layer = operator.layer
    parts = layer if isinstance(layer, tuple) else (layer,)
    # Layers are models, which a key must not keep alive.
    known = tuple(part if isinstance(part, str | int) else Same(part) for part in parts)
    return Neuron, known, operator.index, operator.call


def score_step(score: Score, floats: Any, integers: Any, targets: Any) -> Any:
    """A compiled step that only scores: (N, M), and the targets that were scored."""
    return score(floats, integers, targets)


class _Ending(NamedTuple):
    """What a dry run of one row saw of the model's output, and of softmax and sigmoid calls."""

    shape: tuple[int, ...]
    kind: str | None
    position: int | None
    calls: int
    row: Array | None
    quantized: bool
    notes: tuple[str, ...]
    axis: int


def device_rows(
    model: AbstractModel, batch: Batch, rows: slice, size: int = 0
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Float and integer leaves of some rows on the model's device, padded to ``size`` rows.

    A black box takes its rows as they are, from the host.
    """
    floats, integers = [], []
    if model.on_host:
        return tuple(leaf[rows] for leaf in batch.leaves), ()
    for leaf, integer in zip(batch.leaves, batch.integers, strict=True):
        tensor = _backend.to_device(padded(leaf[rows], size), model.device)
        if not integer and keras.backend.standardize_dtype(tensor.dtype) != model.dtype:
            tensor = ops.cast(tensor, model.dtype)
        (integers if integer else floats).append(tensor)
    return tuple(floats), tuple(integers)


def head(engine: Engine | HostEngine, batch: Batch, output: str) -> Head:
    """How the output of this model must be read so that it is what ``output`` names."""
    shapes = tuple((leaf.shape[1:], leaf.dtype.name) for leaf in batch.leaves)
    select = engine.model.select
    select = Same(select) if callable(select) else select
    key = ("ending", engine.model.key(), select, batch.key(), shapes)
    ending = engine.remembered(key, lambda: _ending(engine, batch))
    if ending.row is None and not engine.model.shows_final_calls:
        ending = engine.remembered((*key, "row"), lambda: _with_row(engine, batch, ending))
    if output == "raw":
        known = ending.kind is not None or _is_distribution(ending)
        return Head(ending.shape, None, None, known, ending.notes, ending.axis)
    if ending.kind is None and ending.row is None:
        ending = engine.remembered((*key, "row"), lambda: _with_row(engine, batch, ending))
    kind = "softmax" if ending.kind is None and _is_distribution(ending) else ending.kind
    if output == "logits":
        if kind is None and ending.calls:
            engine.remembered((*key, "open"), lambda: _check_calls(engine, batch, ending))
        return _logits(ending, kind)
    _check_activation(ending, kind, output)
    apply = None if kind == output else output
    return Head(ending.shape, None, apply, True, ending.notes, ending.axis)


def _ending(engine: Engine | HostEngine, batch: Batch) -> _Ending:
    model = engine.model
    floats, integers = device_rows(model, batch, slice(0, 1))
    seen: list[Any] = []
    notes: tuple[str, ...] = ()
    count = 0

    def run(floats: Any, integers: Any) -> Tensor:
        nonlocal notes, count
        with model.final_calls() as calls:
            every = _called(model, batch, batch.pack(floats, integers))
        outputs = model.selected(every)
        if model.select is None and outputs is getattr(every, "logits", None):
            notes = ("The output `.logits` is explained.",)
        count = len(calls)
        seen[:] = [(call.kind, k) for k, call in enumerate(calls) if call.after is outputs]
        shape[:] = outputs.shape
        return outputs

    shape: list[int] = []
    outputs = engine.dry_run(run, floats, integers)
    kind, position = seen[-1] if seen else (None, None)
    computed = _backend.EAGER or model.on_host
    row = _backend.to_host(outputs) if computed and not model.shows_final_calls else None
    quantized, axis = model.ends_quantized(), _class_axis(model, len(shape))
    return _Ending(tuple(shape), kind, position, count, row, quantized, notes, axis)


def _class_axis(model: AbstractModel, rank: int) -> int:
    """Where the classes of an output stand: behind its positions, unless it is channels first."""
    layout = model.feature_format if rank > 3 else model.data_format
    return 1 if rank > 2 and layout == "channels_first" else -1


def _called(model: AbstractModel, batch: Batch, inputs: Any) -> Any:
    try:
        return model.call(inputs)
    except model.shape_errors as error:
        raise ValueError(
            f"{model.arguments} must be what the model takes. Received: shapes "
            f"{', '.join(str(leaf.shape) for leaf in batch.leaves)}, for which one row of the "
            f"model raised {type(error).__name__}: {error}"
        ) from error


def _with_row(engine: Engine | HostEngine, batch: Batch, ending: _Ending) -> _Ending:
    score = Score(engine.model, _unused, Head(ending.shape, None, None, False), batch)
    row = engine.step(score, _outputs_step, *device_rows(engine.model, batch, slice(0, 1)))
    return ending._replace(row=_backend.to_host(row))


def _check_calls(engine: Engine | HostEngine, batch: Batch, ending: _Ending) -> bool:
    """Raise if the output depends on a softmax or sigmoid with no weights in between."""
    score = Score(engine.model, _unused, Head(ending.shape, None, None, False), batch)
    inputs = device_rows(engine.model, batch, slice(0, 1))
    if _backend.to_host(engine.step(score, _open_step, *inputs)).any():
        raise ValueError(
            '`output="logits"` needs a softmax or sigmoid that is the last step of the model. '
            "Received: a model that goes on computing with the result of a softmax or sigmoid. "
            'Explain `output="raw"`, or give a model that ends in logits.'
        )
    return True


def _open_step(score: Score, floats: Any, integers: Any) -> Tensor:
    """The slope of the output along a shift of all softmax and sigmoid results."""

    def shifted(shift: Tensor) -> Tensor:
        with score.model.behind_weights(lambda result: result + ops.cast(shift, result.dtype)):
            outputs = score.outputs(score.batch.pack(floats, integers))
        size = math.prod(outputs.shape[1:])
        flat: Any = ops.cast(ops.reshape(outputs, (-1, size)), "float32")
        # Weights without symmetry, for slopes of several columns may cancel.
        return ops.sum(flat * ops.cos(ops.arange(size, dtype="float32")), axis=1)

    return _backend.value_and_grad(shifted, ops.zeros((1,), "float32"))[1]


def _unused(model: Any, inputs: Any, targets: Any) -> Tensor:
    raise TypeError("`operator` of a probe row is never called.")


def _outputs_step(score: Score, floats: Any, integers: Any) -> Tensor:
    return score.outputs(score.batch.pack(floats, integers))


def _is_distribution(ending: _Ending) -> bool:
    if ending.row is None or ending.row.ndim < 2 or ending.row.shape[ending.axis] < 2:
        return False
    row = ending.row.astype("float64")
    return bool((row >= 0).all() and np.allclose(row.sum(ending.axis), 1, atol=1e-5))


def _logits(ending: _Ending, kind: str | None) -> Head:
    if kind is None:
        return Head(ending.shape, None, None, False, ending.notes, ending.axis)
    if ending.position is None or ending.quantized:
        reason = "its last layer is quantized" if ending.quantized else "no softmax call ends it"
        raise ValueError(
            '`output="logits"` needs a model whose softmax or sigmoid can be left out. Received: '
            f"a model that returns probabilities, but {reason}. "
            'Explain `output="raw"`, or give a model that ends in logits.'
        )
    return Head(ending.shape, ending.position, None, False, ending.notes, ending.axis)


def _check_activation(ending: _Ending, kind: str | None, output: str) -> None:
    if kind not in (None, output):
        raise ValueError(
            f'`output="{output}"` needs a model that returns logits or ends in {output}. '
            f'Received: a model that ends in {kind}. Use output="raw" or output="{kind}".'
        )
    if output == "softmax" and (len(ending.shape) < 2 or ending.shape[ending.axis] < 2):
        raise ValueError(
            '`output="softmax"` needs at least two output columns. '
            f'Received: outputs of shape {ending.shape}. Use output="sigmoid".'
        )
