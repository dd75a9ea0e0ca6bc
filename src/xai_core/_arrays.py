"""Arrays of the framework, or of NumPy: which functions they take."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from xai_core.typing import Tensor


def functions_of(array: Any) -> Any:
    """The functions for arrays of this kind: black boxes give those of NumPy."""
    return np if isinstance(array, np.ndarray) else ops


def in_type_of(array: Any, other: Tensor) -> Any:
    """``array`` in the float type of ``other``; NumPy takes the wider of two by itself."""
    return array if isinstance(other, np.ndarray) else ops.cast(array, other.dtype)
