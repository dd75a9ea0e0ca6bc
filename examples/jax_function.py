"""Explain a function of JAX: no model class, only parameters and what is computed with them.

Run it with `python examples/jax_function.py`. It writes jax_function.png into the current folder.
"""

# %% A network as one writes it in JAX; Flax, Haiku and Equinox models are such functions too
import jax
import jax.numpy as jnp
import numpy as np

import xai_core as xai

data = xai.datasets.digits()


def convolved(x, kernel, stride):
    layout = ("NHWC", "HWIO", "NHWC")
    found = jax.lax.conv_general_dilated(x, kernel, (stride, stride), "SAME", None, None, layout)
    return jax.nn.relu(found)


def features(params, x):
    for kernel, stride in zip(params["kernels"], (1, 2, 1), strict=True):
        x = convolved(x, kernel, stride)
    return x


def head(params, maps):
    return maps.mean(axis=(1, 2)) @ params["weights"] + params["bias"]


def logits(params, x):
    return head(params, features(params, x))


# %% Train it with plain gradient steps
def initial(generator):
    sides = (1, 16), (16, 32), (32, 48)
    kernels = [generator.normal(0, (2 / (9 * a)) ** 0.5, (3, 3, a, b)) for a, b in sides]
    drawn = {
        "kernels": kernels,
        "weights": generator.normal(0, 0.2, (48, 10)),
        "bias": np.zeros(10),
    }
    return jax.tree.map(lambda x: jnp.asarray(x, "float32"), drawn)


def loss(params, x, labels):
    return -jnp.take_along_axis(jax.nn.log_softmax(logits(params, x)), labels[:, None], 1).mean()


@jax.jit
def step(params, velocity, x, labels):
    slope = jax.grad(loss)(params, x, labels)
    velocity = jax.tree.map(lambda v, g: 0.9 * v + g, velocity, slope)
    return jax.tree.map(lambda p, v: p - 0.1 * v, params, velocity), velocity


generator = np.random.default_rng(0)
params = initial(generator)
velocity = jax.tree.map(jnp.zeros_like, params)
for _ in range(25):
    for rows in generator.permutation(len(data.train_inputs))[:1408].reshape(-1, 64):
        params, velocity = step(params, velocity, data.train_inputs[rows], data.train_labels[rows])
right = logits(params, data.test_inputs).argmax(axis=1) == data.test_labels
print(f"{right.mean():.1%} of {len(right)} held-out digits are recognised.")

# %% The parameters are an argument of the compiled step: train on, and no map is stale
model = xai.wrappers.JaxFunction(logits, params)
images = data.test_inputs[:4]
integrated = xai.attributions.IntegratedGradients(model)(images)
print(integrated)

# %% A function has no layers by name: Grad-CAM takes the two halves of it
gradcam = xai.attributions.GradCAM(model, layer=(features, head))(images)
figure = xai.plots.attributions({"IntegratedGradients": integrated, "GradCAM": gradcam}, images)
figure.savefig("jax_function.png")
print("The picture is in jax_function.png.")
