"""What every explainer is: frozen settings that map inputs and targets to Explanations."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

from keras import ops

from xai_core import _baselines, _checks, _loaders, _request, _scoring, operators
from xai_core._request import Group, Request
from xai_core.attributions import running
from xai_core.attributions.running import Maps
from xai_core.typing import Operator
from xai_core.wrappers import advice_on_gradients, wrap


@dataclass(frozen=True, eq=False)
class AbstractExplainer(abc.ABC):
    """Settings of one method for one model; calling it explains a batch.

    Parameters
    ----------
    model : keras.Model, torch.nn.Module or Model
        What is explained, as `xai_core.wrap` takes it.
    operator : Tasks, str or callable, optional
        Which score is explained: a task's name or ``(model, inputs, targets) -> (N,)``.
        Classification where nothing is given. Steps are compiled once for each callable, known
        by identity: define it once, not per call. What a callable closes over is a constant of
        the compiled step: on JAX also the weights of other models.
    output : {"raw", "logits", "softmax", "sigmoid"}
        The form of the output that is scored. ``"raw"`` is what the model returns.
    batch_size : int
        Number of rows that the model sees at once.
        Classes that wrap explainers take these three from the explainer they wrap.
    progress : bool, optional
        Show a progress bar. By default only in a terminal, and only on long work.
    """

    model: Any
    _: KW_ONLY
    operator: Any = None
    output: str = "raw"
    batch_size: int = 32
    progress: bool | None = None

    requires: ClassVar[str] = "gradients"
    uses_targets: ClassVar[bool] = True
    wraps: ClassVar[bool] = False
    takes_integers: ClassVar[bool] = False  # alone, without any floats
    needs_explainer: ClassVar[bool] = False
    zero_without_gradient: ClassVar[bool] = True  # and with one only by chance
    gap_advice: ClassVar[str] = ""
    forward_only: ClassVar[bool] = False  # needs layers, but no gradient to make its map
    source: ClassVar[str]
    signed = True  # not annotated, for class activation maps have a field of this name

    def __post_init__(self) -> None:
        """Check every field that needs no input."""
        if self._base is None and self.needs_explainer:
            raise TypeError(
                f"`model` must be an explainer. Received: {type(self.model).__name__}. Say which "
                f"maps are meant, such as {type(self).__name__}(Saliency(model))."
            )
        if self._base is not None and not self.wraps:
            raise TypeError(
                f"`model` must be a model. Received: {type(self.model).__name__}, an explainer. "
                f"Pass its model."
            )
        _ = self._model, self._operator  # read once, which checks them
        _checks.choice("output", self._output, _scoring.OUTPUTS)
        _checks.integer("batch_size", self._batch_size, minimum=1)
        if self.progress is not None:
            _checks.flag("progress", self.progress)
        self._check_fields()

    @property
    def _base(self) -> Any:
        """The explainer that is wrapped, if one is."""
        return self.model if isinstance(self.model, AbstractExplainer) else None

    @cached_property
    def _model(self) -> Any:
        """The wrapped model; None for a method that needs none and was given none."""
        if self._base is not None:
            return self._base._model
        if self.model is None and self.requires == "nothing":
            return None
        model = wrap(self.model)
        if self.requires == "gradients" and model.on_host:
            raise TypeError(_refusal(type(self).__name__, model))
        return model

    @cached_property
    def _operator(self) -> Operator:
        if self._base is not None:
            theirs = self._base._operator
            if self.operator is not None and operators.get(self.operator) != theirs:
                raise ValueError(_differs("operator", self.operator))
            return theirs
        usual = None if self._model is None else self._model.task
        return operators.get(usual if self.operator is None else self.operator)

    @property
    def _output(self) -> Any:
        return self._inherited("output", "raw")

    @property
    def _batch_size(self) -> Any:
        return self._inherited("batch_size", 32)

    def _inherited(self, name: str, usual: Any) -> Any:
        """A field that is None in a class that wraps: the explainer's, or else the usual value."""
        own = getattr(self, name)
        if self._base is not None:
            theirs = getattr(self._base, f"_{name}")
            if own not in (None, theirs):
                raise ValueError(_differs(name, own))
            return theirs
        return usual if own is None and self.wraps else own

    @abc.abstractmethod
    def _check_fields(self) -> None:
        """Check the method's own fields."""

    @abc.abstractmethod
    def _check_request(self, request: Request) -> None:
        """Check what needs the inputs, before the model computes."""

    @abc.abstractmethod
    def _maps(self, group: Group, reduced: bool) -> Maps:
        """The maps of a group of rows; channels are reduced only if ``reduced``."""

    def rows(self, *shapes: Sequence[int]) -> Any:
        """Number of model rows that one input costs.

        ``shapes`` are those of its arrays without batch axis. Methods whose inputs differ in
        cost give one number for each input.
        """
        del shapes
        return 1

    def _rows_of(self, request: Request) -> Any:
        """Number of model rows that one input of a request costs."""
        return self.rows(*(leaf.shape[1:] for leaf in request.batch.float_leaves()))

    def __call__(self, inputs: Any, targets: Any = None) -> Any:
        """Explain a batch.

        Parameters
        ----------
        inputs : array-like, tuple or dict
            (N, W) a table, (N, T, W) series, (N, H, W, C) or (N, C, H, W) images; a tuple or
            dict of arrays for a model with several inputs.
        targets : int, str, (N,) integers or strings, (N, K) weights, masks, boxes, optional
            The explained output; None is the predicted class. Operators say what they take:
            `operators.semantic_segmentation` masks, `operators.object_detection` boxes.

        Returns
        -------
        Explanation
            For several float inputs one per input, in their structure.

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit the model.
        """
        return self._explained(inputs, [targets])[0]

    def explain_each(self, inputs: Any, targets: Any) -> list[Any]:
        """Explain the same inputs for several targets, from one set of model rows.

        Masks and their scores serve all targets. Of methods with gradients sixteen targets share
        one forward pass; more take as many passes as they have sixteens.

        Parameters
        ----------
        inputs
            As for a call.
        targets : list or "all"
            One entry per wanted Explanation, each as for a call; "all" is every output column.

        Returns
        -------
        list of Explanation
            One per entry.
        """
        if isinstance(targets, str) and targets == "all":
            targets = self._every_target(inputs)
        if not isinstance(targets, list | tuple) or not targets:
            one = f" For one target pass [{targets!r}]." if isinstance(targets, int | str) else ""
            raise TypeError(
                f'`targets` must be a list of targets or "all". Received: {targets!r}.{one}'
            )
        return self._explained(inputs, list(targets))

    def _every_target(self, inputs: Any) -> list[Any]:
        if self._model is None:
            raise ValueError('`targets="all"` needs a model, whose outputs it means.')
        if self._model.labels is not None:
            return list(self._model.class_names)
        if not operators.has_columns(self._operator):
            raise ValueError(
                '`targets="all"` needs an operator of the columns of an output (N, K). Received: '
                f"{operators.name_of(self._operator)}. Pass a list of targets."
            )
        request = self._request(inputs, [0] if self._is_built_in() else [None])
        return _request.every_column(self._operator, request.score.head.shape)

    def attribute(self, inputs: Any, targets: Any = None) -> Any:
        """The unreduced attributions as tensors of the framework, on the model's device.

        Parameters and errors are those of a call; there is one tensor per float input.
        """
        request = self._request(inputs, [targets])
        parts = [part.values for part in running.groups(self, request, reduced=False)]
        leaves: list[Any] = [ops.concatenate(leaf, axis=0) for leaf in zip(*parts, strict=True)]
        return request.batch.per_float_leaf([leaf[:, 0] for leaf in leaves])

    def stream(self, data: Iterable[Any], targets: Any = None) -> Iterator[Any]:
        """Explain batch after batch of an iterable.

        Parameters
        ----------
        data : iterable
            Yields batches by Keras's convention: x, (x, y) or (x, y, weights). A generator, a
            `tf.data.Dataset`, a torch `DataLoader`, a Keras `PyDataset`.
        targets : int, str, optional
            The same target for every row, or ``"labels"`` for each batch's y; None is the
            predicted class.

        Yields
        ------
        Explanation
            One per batch.

        Raises
        ------
        TypeError, ValueError
            If nothing is yielded, or a batch has another shape than the first.
        """
        for x, y in _loaders.batches(data):
            if isinstance(targets, str) and targets == "labels":
                if y is None:
                    raise ValueError(
                        '`targets="labels"` needs batches (x, y). Received: batches of x alone.'
                    )
                yield self(x, y)
            else:
                yield self(x, targets)

    def with_model(self, model: Any) -> Self:
        """The same settings for another model, also of an explainer that is wrapped."""
        return replace(self, model=model if self._base is None else self._base.with_model(model))

    def _is_built_in(self) -> bool:
        return self._operator in _scoring.BUILT_IN

    def _request(self, inputs: Any, asked: Sequence[Any]) -> Request:
        if self._model is None:
            request = _request.without_model(inputs)
        else:
            settings = self._model, self._operator, self._output
            request = _request.make(*settings, inputs, asked, self.takes_integers)
        self._check_request(request)
        for one in running.chain(self):
            self._check_baseline(one, request)
        return request

    def _check_baseline(self, one: AbstractExplainer, request: Request) -> None:
        """Check the baseline of this explainer, or of one that it wraps, against the inputs."""
        if getattr(one, "background", None) is None:
            names = request.feature_names
            takes_rows = hasattr(one, "background")
            baseline = getattr(one, "_baseline", getattr(one, "baseline", None))
            _baselines.check_batch(baseline, request.batch, names, takes_rows)

    def _explained(self, inputs: Any, asked: Sequence[Any]) -> list[Any]:
        return running.explanations(self, self._request(inputs, asked), len(asked))


def _differs(name: str, value: Any) -> str:
    return (
        f"`{name}` must be that of the wrapped explainer. Received: {value!r}. Leave it out, and "
        "give it to the explainer."
    )


def _refusal(method: str, model: Any) -> str:
    from xai_core import attributions

    every = {name: getattr(attributions, name) for name in attributions.__all__}
    usable = [name for name, cls in every.items() if cls.requires == "predictions"]
    return (
        f"`model` must have gradients for {method}. Received: {model.described()}, a black box. "
        f"Methods for black boxes: {', '.join(usable)}.{advice_on_gradients()}"
    )
