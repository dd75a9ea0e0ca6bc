"""What every explainer sees of a model, whatever framework it comes from."""

from __future__ import annotations

import abc
import contextlib
import copy
import numbers
import types
from collections.abc import Callable, Iterable
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar, NamedTuple, Self

from keras import ops

from xai_core import _checks
from xai_core.operations import Handler
from xai_core.typing import Tensor
from xai_core.wrappers import split
from xai_core.wrappers.identity import Fingerprint
from xai_core.wrappers.outputs import chosen


class Output(NamedTuple):
    """The output of one layer: ``layout`` is "" where unknown, ``other`` the type of no tensor."""

    path: str
    call: int
    shape: tuple[int, ...]
    skipped: bool
    first_of_several: bool
    layout: str
    other: str = ""


@dataclass(frozen=True, eq=False)
class AbstractModel(abc.ABC):
    """A user's model behind one small interface.

    Parameters
    ----------
    source
        The model as the user made it. It is never changed and never moved.
    data_format
        Layout of images and series: ``"channels_last"`` or ``"channels_first"``; None where it
        is not known, which only matters for inputs of rank 3 and more.
    select
        Which of several outputs is explained: an index, a key, an attribute's name or a callable.
    class_names, feature_names
        Names of the output's columns and of the inputs' features.

    Examples
    --------
    >>> from xai_core import wrap
    >>> isinstance(wrap(lambda x: x), AbstractModel)
    True
    """

    source: Any
    _: KW_ONLY
    data_format: str | None = None
    select: Any = None
    class_names: tuple[str, ...] | None = None
    feature_names: tuple[str, ...] | None = None

    title: ClassVar[str]
    shows_final_calls: ClassVar[bool] = False
    shape_errors: ClassVar[tuple[type[Exception], ...]] = ()
    shows_activations: ClassVar[bool] = False
    shows_products: ClassVar[bool] = False
    """Whether `operations` shows non-linear functions of one tensor, and also those of several."""
    unseen: ClassVar[str] = "operations not written with keras.ops, or in remat or in compiled code"
    """What `operations` may miss, for messages."""
    arrays: ClassVar[types.ModuleType] = ops
    """The functions of the arrays that the model takes: those of Keras, or of NumPy."""
    on_host: ClassVar[bool] = False
    """Whether the model is a black box: it takes NumPy arrays, and has no gradients."""

    def __call__(self, inputs: Any) -> Tensor:
        """The selected output for a batch, in inference mode."""
        halves = split.active(self.source)
        if halves is None:
            return self.selected(self.call(inputs))
        (features, head), hook = halves
        return self.selected(self.part(head, hook(self.part(features, inputs, first=True))))

    @abc.abstractmethod
    def call(self, inputs: Any) -> Any:
        """All outputs for a batch, in inference mode."""

    @abc.abstractmethod
    def state(self) -> list[Tensor]:
        """The values of all variables, for backends that pass them to the compiled step."""

    @abc.abstractmethod
    def with_state(self, state: list[Tensor]) -> contextlib.AbstractContextManager[Any]:
        """Within the block, the model computes with these values of its variables.

        For an empty list they are its own. Whatever it would update stays as it was.
        """

    def on_device(self) -> contextlib.AbstractContextManager[Any]:
        """Within the block, new tensors lie where the model does."""
        return contextlib.nullcontext()

    @abc.abstractmethod
    def fingerprint(self) -> Fingerprint:
        """All that a compiled trace of the model depends on, besides its weights' values."""

    def find(self, layer: Any) -> tuple[str, Any]:
        """The path and the object of what ``layer`` means: a layer, or a pair (features, head)."""
        if isinstance(layer, tuple):
            halves = split.checked(layer)
            for part in halves:
                self.check_part(part)
            return split.PATH, halves
        return self.find_layer(layer)

    def tap(
        self, found: tuple[str, Any], hook: Callable[[Tensor], Tensor], call: int | None
    ) -> contextlib.AbstractContextManager[Any]:
        """Within the block, the output of what was found is ``hook(output)``."""
        if isinstance(found[1], split.Split):
            return split.tap(self.source, found[1], hook, call)
        return self.tap_layer(found, hook, call)

    def find_layer(self, layer: Any) -> tuple[str, Any]:
        """The path and the object of a layer."""
        raise ValueError(
            f"`layer` must be a pair (features, head) for {self.title}, whose layers have no "
            f"names here. Received: {layer!r}."
        )

    def tap_layer(
        self, found: tuple[str, Any], hook: Callable[[Tensor], Tensor], call: int | None
    ) -> contextlib.AbstractContextManager[Any]:
        """Within the block, a layer's output is ``hook(output)``."""
        del hook, call
        self.find_layer(found[0])
        return contextlib.nullcontext()

    def layout_of(self, layer: Any) -> str:
        """The data format of what a layer gives, "" where the layer alone does not tell."""
        del layer
        return self.feature_format

    def embeds(self, layer: Any) -> bool:
        """Whether a layer looks up vectors of integers."""
        del layer
        return False

    def check_part(self, part: Any) -> None:
        """Raise unless a function may be one half of a pair (features, head)."""
        del part

    def part(self, function: Any, inputs: Any, first: bool = False) -> Any:
        """One half of a pair, the ``first`` on the model's inputs, in inference mode."""
        del first
        return function(inputs)

    def layer_outputs(self, run: Callable[[], Any]) -> list[Output]:
        """The outputs of all layers in call order while ``run`` calls the model."""
        del run
        return []

    @property
    def anchor(self) -> Any:
        """The object that lives as long as the model, by which compiled steps are kept."""
        return self.source

    def arranged(self, inputs: Any) -> Any:
        """``inputs`` in the very structure that the model was built with."""
        return inputs

    @abc.abstractmethod
    def check(self, inputs: Any) -> None:
        """Raise unless ``inputs``, host arrays, have the structure and the ranks of the model."""

    def final_calls(
        self, bypass: int | None = None
    ) -> contextlib.AbstractContextManager[list[Any]]:
        """Within the block, list the calls of softmax and sigmoid, where they can be seen."""
        del bypass
        return contextlib.nullcontext([])

    def behind_weights(
        self, change: Callable[[Tensor], Tensor]
    ) -> contextlib.AbstractContextManager[Any]:
        """Within the block, each softmax and sigmoid that can be seen returns ``change(result)``.

        No gradient passes layers with weights.
        """
        del change
        return contextlib.nullcontext()

    def leaf_calls(self, visit: Callable[..., Tensor]) -> contextlib.AbstractContextManager[Any]:
        """Within the block, leaf layers give ``visit(path, f, floats, f(*floats))``."""
        del visit
        raise ValueError(f"`model` must show its layers. Received: {self.title}, which does not.")

    def operations(self, handler: Handler) -> contextlib.AbstractContextManager[Any]:
        """Within the block, non-linear operations that are shown give ``handler(operation)``."""
        del handler
        return contextlib.nullcontext()

    def unseen_parts(self) -> list[str]:
        """Parts of which `operations` shows nothing, for messages."""
        return []

    def ends_quantized(self) -> bool:
        """Whether the last layer with weights computes in integers."""
        return False

    def described(self) -> str:
        """What the user handed in, for messages."""
        return type(self.source).__name__

    @property
    def arguments(self) -> str:
        """What the model is called with, for messages."""
        return "`inputs`"

    @property
    def task(self) -> str:
        """The operator of a call that names none."""
        return "classification"

    @property
    def labels(self) -> tuple[int, ...] | None:
        """The classes of an estimator, where they are integers other than 0 to K - 1."""
        return None

    @property
    def dtype(self) -> str:
        """The float type of the inputs."""
        return "float32"

    @property
    def precision(self) -> str:
        """The float type that rounds most of those in which the model computes."""
        return self.dtype

    @property
    def device(self) -> Any:
        """Where the inputs go; None is the framework's default."""
        return None

    @property
    def feature_format(self) -> str:
        """The layout of the feature maps inside the model."""
        return self.data_format or "channels_first"

    @property
    def several_inputs(self) -> bool:
        """Whether a list of arrays is the model's input structure, and not a list of rows."""
        return False

    def layout(self, rank: int, needed: bool = True) -> str:
        """The data format of inputs of a rank, batch axis included.

        Raises ValueError if it is ``needed`` and nothing tells.
        """
        if self.data_format is None and rank == 3 and needed:
            raise ValueError(
                "`data_format` must be given for series, for a torch module does not tell which "
                "axis is time. Received: None. Pass wrap(model, data_format=...)."
            )
        return self.data_format or "channels_first"

    def takes_integers(self, leaves: list[Any]) -> list[bool]:
        """Which inputs are indices that are passed on as they are, and have no gradient.

        Among several inputs these are the arrays of integers, except uint8, which are pixels.
        """
        if len(leaves) == 1:
            return [False]
        return [leaf.dtype.kind in "iub" and leaf.dtype.name != "uint8" for leaf in leaves]

    def selected(self, output: Any) -> Tensor:
        """The one output that is explained."""
        return chosen(output, self.select)

    def with_options(self, **options: Any) -> Self:
        """A copy with other checked values of some fields."""
        made = copy.copy(self)
        for name, value in options.items():
            object.__setattr__(made, name, value)
        return made

    def key(self) -> tuple[Any, ...]:
        """What a compiled step depends on besides the model's own structure."""
        return (type(self), self.data_format)


def checked_names(name: str, names: Any) -> tuple[str, ...] | None:
    """A tuple of strings, or None; two classes may bear one name, as in ImageNet."""
    if names is None:
        return None
    listed = tuple(names) if isinstance(names, Iterable) and not isinstance(names, str) else ()
    if not listed or not all(isinstance(item, str) for item in listed):
        raise TypeError(f"`{name}` must be a list of strings. Received: {names!r}.")
    if name == "feature_names" and len(set(listed)) != len(listed):
        raise ValueError(f"`{name}` must differ from one another. Received: {names!r}.")
    return listed


def checked_select(value: Any) -> Any:
    """None, an integer, a string or a callable."""
    index = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if value is None or isinstance(value, str) or callable(value):
        return value
    if index:
        return int(value)
    raise TypeError(
        f"`select` must be an index, a key, an attribute's name or a callable. Received: {value!r}."
    )


def checked_data_format(value: Any) -> str | None:
    """One of the two layouts, or None."""
    if value is None:
        return None
    return _checks.choice("data_format", value, ("channels_last", "channels_first"))


def checked_options(
    data_format: Any = None, select: Any = None, class_names: Any = None, feature_names: Any = None
) -> dict[str, Any]:
    """The options of `wrap` by name, checked."""
    return {
        "data_format": checked_data_format(data_format),
        "select": checked_select(select),
        "class_names": checked_names("class_names", class_names),
        "feature_names": checked_names("feature_names", feature_names),
    }


def own_class_names(model: Any) -> tuple[str, ...] | None:
    """The names that a configuration beside the model holds, as those of language models do."""
    labels = getattr(getattr(model, "config", None), "id2label", None)
    return (
        tuple(str(labels[k]) for k in sorted(labels, key=int)) if isinstance(labels, dict) else None
    )
