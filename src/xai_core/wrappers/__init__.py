"""Whatever the user has becomes one small `Model` interface: `wrap`."""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import os
import sys
from typing import TYPE_CHECKING, Any

from xai_core import _backend
from xai_core.wrappers.base import AbstractModel, checked_options, own_class_names
from xai_core.wrappers.black_box import BlackBox

if TYPE_CHECKING:
    from xai_core.wrappers.jax_function import JaxFunction as JaxFunction
    from xai_core.wrappers.tensorflow_function import TensorFlowFunction as TensorFlowFunction
    from xai_core.wrappers.torch_module import TorchWrapper as TorchWrapper

# Adapters by backend, tried in order; a Keras model on torch is a torch module too.
_ADAPTERS = {
    "jax": ("keras_model.KerasModel", "torch_bridge.TorchWrapper", "jax_function.JaxFunction"),
    "tensorflow": (
        "keras_model.KerasModel",
        "torch_bridge.TorchWrapper",
        "tensorflow_function.TensorFlowFunction",
    ),
    "torch": ("keras_model.KerasModel", "torch_module.TorchWrapper"),
}
_FRAMEWORKS = {"JaxFunction": "jax", "TensorFlowFunction": "tensorflow", "TorchWrapper": "torch"}


def _installed(name: str) -> bool:
    return importlib.util.find_spec(_FRAMEWORKS[name]) is not None


__all__ = ["AbstractModel", "BlackBox", "wrap", *filter(_installed, _FRAMEWORKS)]


def __getattr__(name: str) -> Any:
    if name not in _FRAMEWORKS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if not _installed(name):
        raise ImportError(
            f"`{name}` needs {_FRAMEWORKS[name]}, which is not installed. Install "
            f"xai-core[{_FRAMEWORKS[name]}]."
        )
    own = [*_ADAPTERS[_backend.NAME], *itertools.chain(*_ADAPTERS.values())]
    globals()[name] = found = _imported(next(path for path in own if path.endswith(f".{name}")))
    return found


def wrap(
    model: Any,
    *,
    data_format: str | None = None,
    select: Any = None,
    class_names: Any = None,
    feature_names: Any = None,
) -> AbstractModel:
    """Turn a model into what explainers see, and say what is true of it.

    Every explainer calls it, so it is only needed to pass one of the options.

    Parameters
    ----------
    model
        A built `keras.Model` of any kind; a `torch.nn.Module` in evaluation mode (see
        `TorchWrapper`); under TensorFlow a `tf.Module`, `tf.function`, saved model or one of its
        signatures (see `TensorFlowFunction`); as a black box (see `BlackBox`) a fitted
        scikit-learn classifier or regressor, or any function of arrays; or what `wrap` returned
        before. Functions with gradients go into `JaxFunction` or `TensorFlowFunction`.
    data_format : {"channels_last", "channels_first"}, optional
        Layout of the inputs. A Keras model's own layout is found by itself; torch modules take
        channels first, and inputs given as channels last are transposed on the way.
    select : int, str or callable, optional
        Which of several outputs is explained: an index, a key, an attribute's name, or a
        function of the output.
    class_names : sequence of str, optional
        Names of the output's columns; targets may then be names.
    feature_names : sequence of str, optional
        Names of the columns of a table or of the channels of a series.

    Returns
    -------
    Model
        The model behind one interface. Given a wrapped model, a copy with the new options.

    Raises
    ------
    TypeError
        If nothing here can explain such an object.
    ValueError
        If the model is not built, is in training mode, or mixes data formats.

    Examples
    --------
    >>> import keras
    >>> from xai_core import wrap
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    >>> wrap(model, class_names=["cat", "dog"]).class_names
    ('cat', 'dog')
    """
    options = checked_options(data_format, select, class_names, feature_names)
    if isinstance(model, AbstractModel):
        given = {name: value for name, value in options.items() if value is not None}
        return model.with_options(**given) if given else model
    options["class_names"] = options["class_names"] or own_class_names(model)
    for adapter in _adapters():
        if adapter.accepts(model):
            return adapter.adapt(model, **options)
    raise TypeError(_refusal(model))


def advice_on_gradients() -> str:
    """What to do with a function of tensors, as a sentence; nothing where no adapter takes one."""
    names = [path.split(".")[1] for path in _ADAPTERS[_backend.NAME] if path.endswith("Function")]
    return "".join(f" A function of {_backend.NAME}'s tensors has them as {n}(f)." for n in names)


def _adapters() -> list[Any]:
    # There can be no torch module where nothing has imported torch, which may be missing.
    paths = [
        path
        for path in _ADAPTERS[_backend.NAME]
        if not path.startswith("torch") or "torch" in sys.modules
    ]
    return [*map(_imported, paths), BlackBox]


def _imported(path: str) -> Any:
    module, name = path.split(".")
    return getattr(importlib.import_module(f"xai_core.wrappers.{module}"), name)


def _refusal(model: Any) -> str:
    kinds = {f"{kind.__module__}.{kind.__name__}" for kind in type(model).__mro__}
    received = f"Received: {type(model).__module__}.{type(model).__name__}"
    if any(kind.startswith(("keras.src.layers", "keras.src.operations")) for kind in kinds):
        return f"`model` must be a keras.Model. {received}. Put it into keras.Sequential([...])."
    if any(kind.startswith("tf_keras.") for kind in kinds):
        return f"`model` must be a Keras 3 model. {received}, a Keras 2 model: save and load it."
    if isinstance(model, str | os.PathLike):
        return (
            f"`model` must be a model, not the path of a file. Received: {os.fspath(model)!r}. "
            "Pass keras.models.load_model(path)."
        )
    if isinstance(model, type):
        return (
            f"`model` must be an instance. Received: the class {model.__module__}."
            f"{model.__name__}. Make one, and fit or build it."
        )
    usable = ", ".join(adapter.title for adapter in _adapters())
    return f"`model` must be one of: {usable}. {received}."
