"""What a call must leave as it was: weights, layers, configuration, random generators."""

import random

import keras
import numpy as np
from keras import ops

from tiny_models import BACKEND


def host(tensor):
    return tensor.detach().cpu().numpy() if BACKEND == "torch" else ops.convert_to_numpy(tensor)


def outputs(model, x):
    """What the model returns, called as its own framework calls it."""
    if isinstance(model, keras.Model):
        return host(model(x, training=False))
    import torch

    with torch.no_grad():
        return host(model(torch.tensor(x)))


def weights(model):
    if isinstance(model, keras.Model):
        return [host(variable.value).copy() for variable in model.variables]
    return [host(values).copy() for values in model.state_dict().values()]


def traces_left(model):
    """Shadowed calls, hooks, gradients and extra graph nodes that a call left in a model."""
    if isinstance(model, keras.Model):
        every = [model, *model._flatten_layers()]
        return [("call" in vars(layer), len(layer._inbound_nodes)) for layer in every]
    hooks = [
        (len(m._forward_hooks), len(m._forward_pre_hooks), m.training) for m in model.modules()
    ]
    return hooks + [(p.requires_grad, p.grad is None) for p in model.parameters()]


def framework_state():
    config = keras.config
    state = [
        config.floatx(),
        config.epsilon(),
        config.image_data_format(),
        str(config.dtype_policy()),
    ]
    state += [config.is_traceback_filtering_enabled(), np.geterr()]
    if BACKEND == "torch":
        import torch

        state += [
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.get_default_dtype(),
        ]
    return state


def draws():
    """Numbers that the next user of each global generator would get."""
    values = [random.random(), np.random.random(), host(keras.random.uniform((3,))).tolist()]  # noqa: NPY002
    if BACKEND == "torch":
        import torch

        values.append(torch.rand(3).tolist())
    if BACKEND == "tensorflow":
        import tensorflow as tf

        values.append(tf.random.uniform((3,)).numpy().tolist())
    return values
