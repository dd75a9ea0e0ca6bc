"""The gradient shim: the few verbs that `keras.ops` lacks, under the same names for each backend.

Shared vocabulary. A *function* maps a structure of tensors to scores, (N,) or (N, M): one score
for each of N rows and M targets. Gradients then have the axes (N, ...) or (N, M, ...).
"""

import keras

NAME = keras.backend.backend()

if NAME == "jax":
    from xai_core._backend import jax as _shim
elif NAME == "tensorflow":
    from xai_core._backend import tensorflow as _shim
elif NAME == "torch":
    from xai_core._backend import torch as _shim
else:
    raise ImportError(
        f"Keras runs on {NAME!r}, which has no gradients. Choose jax, tensorflow or torch, "
        "for example with the environment variable KERAS_BACKEND=jax."
    )


def require(backend: str, what: str) -> None:
    """Raise unless Keras runs on the only backend that something works with."""
    if backend != NAME:
        raise ImportError(
            f"`{what}` needs the {backend} backend. Received: {NAME}. Set KERAS_BACKEND={backend} "
            "before Python starts."
        )


EAGER = _shim.EAGER
FIXED_SHAPES = _shim.FIXED_SHAPES
STATE_AS_ARGUMENT = _shim.STATE_AS_ARGUMENT
activation_and_grad = _shim.activation_and_grad
devices = _shim.devices
dry_run = _shim.dry_run
fused = _shim.fused
host_function = _shim.host_function
jit = _shim.jit
jvp = _shim.jvp
no_grad = _shim.no_grad
override_gradient = _shim.override_gradient
recording = _shim.recording
records = _shim.records
segment_sum = _shim.segment_sum
to_device = _shim.to_device
to_host = _shim.to_host
trace = _shim.trace
uncompiled = _shim.uncompiled
value_and_grad = _shim.value_and_grad

__all__ = [
    "EAGER",
    "FIXED_SHAPES",
    "NAME",
    "STATE_AS_ARGUMENT",
    "activation_and_grad",
    "devices",
    "dry_run",
    "fused",
    "host_function",
    "jit",
    "jvp",
    "no_grad",
    "override_gradient",
    "recording",
    "records",
    "require",
    "segment_sum",
    "to_device",
    "to_host",
    "trace",
    "uncompiled",
    "value_and_grad",
]
