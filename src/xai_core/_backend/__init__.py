"""The gradient shim: the few verbs that `keras.ops` lacks, under the same names for each backend.

Shared vocabulary. A *function* maps a structure of tensors to scores, (N,) or (N, M): one score
for each of N rows and M targets. Gradients then have the axes (N, ...) or (N, M, ...).
"""

import keras

NAME = keras.backend.backend()

if NAME == "jax":
    from xai_core._backend.jax import (
        EAGER,
        FIXED_SHAPES,
        STATE_AS_ARGUMENT,
        activation_and_grad,
        devices,
        dry_run,
        is_tensor,
        jit,
        no_grad,
        to_device,
        to_host,
        value_and_grad,
    )
elif NAME == "tensorflow":
    from xai_core._backend.tensorflow import (
        EAGER,
        FIXED_SHAPES,
        STATE_AS_ARGUMENT,
        activation_and_grad,
        devices,
        dry_run,
        is_tensor,
        jit,
        no_grad,
        to_device,
        to_host,
        value_and_grad,
    )
elif NAME == "torch":
    from xai_core._backend.torch import (
        EAGER,
        FIXED_SHAPES,
        STATE_AS_ARGUMENT,
        activation_and_grad,
        devices,
        dry_run,
        is_tensor,
        jit,
        no_grad,
        to_device,
        to_host,
        value_and_grad,
    )
else:
    raise ImportError(
        f"Keras runs on {NAME!r}, which has no gradients. Choose jax, tensorflow or torch, "
        "for example with the environment variable KERAS_BACKEND=jax."
    )

__all__ = [
    "EAGER",
    "FIXED_SHAPES",
    "NAME",
    "STATE_AS_ARGUMENT",
    "activation_and_grad",
    "devices",
    "dry_run",
    "is_tensor",
    "jit",
    "no_grad",
    "to_device",
    "to_host",
    "value_and_grad",
]
