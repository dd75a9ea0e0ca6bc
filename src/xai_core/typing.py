"""The few types that the whole package speaks of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray
"""A host array."""

Tensor: TypeAlias = Any
"""An array of the framework that Keras runs on: ``jax.Array``, ``tf.Tensor``, ``torch.Tensor``."""

Operator: TypeAlias = Callable[..., Tensor]
"""What is explained: ``(model, inputs, targets) -> (N,)`` on the framework's tensors."""
