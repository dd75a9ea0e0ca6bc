"""Arrays of the framework, or of NumPy: which functions they take."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from keras import ops

from xai_core.typing import Tensor


def functions_of(array: Any) -> Any:
    """The functions for arrays of this kind: black boxes give those of NumPy."""
    return np if isinstance(array, np.ndarray) else ops


def full_type(dtype: Any) -> str:
    """The float type to compute in for numbers of a type: at least float32."""
    return "float64" if "float64" in str(dtype) else "float32"


def in_type_of(array: Any, other: Tensor) -> Any:
    """``array`` in the float type of ``other``; NumPy takes the wider of two by itself."""
    return array if isinstance(other, np.ndarray) else ops.cast(array, other.dtype)


_DIGITS = {"float64": 52, "float32": 23, "float16": 10, "bfloat16": 7}


def epsilon(dtype: str) -> float:
    """The distance from 1 to the next number of a float type, also of those NumPy lacks."""
    return 2.0 ** -_DIGITS[dtype]


def coarsest(dtypes: Iterable[str]) -> str:
    """The one of these float types that rounds the most; others than floats do not count."""
    return max((one for one in dtypes if one in _DIGITS), key=epsilon, default="float32")
