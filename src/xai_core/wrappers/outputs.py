"""Which of a model's outputs is explained."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from xai_core.typing import Tensor


def chosen(output: Any, select: Any) -> Tensor:
    """The one of several outputs that ``select`` names, or the only one."""
    if select is not None:
        return _pick(output, select)
    if _is_tensor(output):
        return output
    if hasattr(output, "logits") and _is_tensor(output.logits):
        return output.logits
    parts = _parts(output)
    if len(parts) == 1:
        return chosen(next(iter(parts.values())), None)
    raise ValueError(
        f"`select` must say which of the model's {len(parts)} outputs is explained. "
        f"Received: None. Pass wrap(model, select=...) with one of "
        f"{', '.join(map(repr, parts))}."
    )


def _is_tensor(output: Any) -> bool:
    return hasattr(output, "shape") and hasattr(output, "dtype")


def _parts(output: Any) -> Mapping[Any, Any]:
    """The outputs by key, field or position; fields that are None are no outputs."""
    if isinstance(output, Mapping):
        return output
    if isinstance(output, list | tuple):
        return dict(enumerate(output))
    if dataclasses.is_dataclass(output):
        return {name: value for name, value in vars(output).items() if value is not None}
    raise TypeError(
        "`model` must return a tensor, or a tuple, list or dict of tensors. "
        f"Received: {type(output).__name__}. Pass wrap(model, select=callable) to pick a tensor."
    )


def _pick(output: Any, select: Any) -> Tensor:
    if callable(select):
        picked = select(output)
    elif isinstance(select, str) and not isinstance(output, Mapping):
        picked = getattr(output, select, None)
    elif isinstance(output, Mapping):
        picked = output.get(select)
    else:
        several: Any = output if isinstance(output, list | tuple) else [output]
        inside = isinstance(select, int) and -len(several) <= select < len(several)
        picked = several[select] if inside else None
    if picked is None or not _is_tensor(picked):
        raise ValueError(
            f"`select` must name one output of the model. Received: {select!r}. "
            f"The model returns {_described(output)}."
        )
    return picked


def _described(output: Any) -> str:
    if isinstance(output, Mapping):
        return f"the keys {', '.join(map(repr, output))}"
    if isinstance(output, list | tuple):
        return f"{len(output)} outputs"
    return f"one {type(output).__name__}"
