"""Explain a network that reads time series: which moments of which channel?

Run it with `KERAS_BACKEND=jax python examples/series.py` (or tensorflow, or torch). It writes
series.png into the current folder.
"""

# %% Three channels of noise; the class is where the first has a bump, the second misleads
import keras
import numpy as np

import xai_core as xai

keras.utils.set_random_seed(0)
generator = np.random.default_rng(0)
STEPS, NAMES = 64, ("signal", "echo", "noise")


def rows(count):
    x = generator.normal(0, 0.4, (count, STEPS, 3))
    labels, time = generator.integers(0, 2, count), np.arange(STEPS)
    centres = np.where(labels == 0, 16, 48) + generator.integers(-8, 9, count)
    x[:, :, 0] += 2 * np.exp(-(((time - centres[:, None]) / 3) ** 2))
    elsewhere = generator.integers(8, 56, count)
    x[:, :, 1] += 2 * np.exp(-(((time - elsewhere[:, None]) / 3) ** 2))
    return x.astype("float32"), labels, centres


train, labels, _ = rows(1500)
test, truth, centres = rows(40)
layers = keras.layers
network = keras.Sequential(
    [
        keras.Input((STEPS, 3)),
        layers.Conv1D(16, 7, strides=2, activation="relu"),
        layers.Conv1D(16, 5, strides=2, activation="relu"),
        layers.Flatten(),
        layers.Dense(2),
    ]
)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
network.compile(keras.optimizers.Adam(2e-3), loss, metrics=["accuracy"])
network.fit(train, labels, epochs=8, verbose=0)
print(f"{network.evaluate(test, truth, verbose=0)[1]:.0%} of the held-out series are right.")

# %% Windows of each channel by itself
model = xai.wrap(network, class_names=("early", "late"), feature_names=NAMES)
shap = xai.attributions.KernelSHAP(model, n_samples=1000, batch_size=256)
occlusion = xai.attributions.Occlusion(model, batch_size=256)
maps = {"KernelSHAP": shap(test), "Occlusion": occlusion(test)}
near = np.abs(np.arange(STEPS) - centres[:, None]) <= 6
for name, found in maps.items():
    mass = np.abs(found.values)
    inside = (mass[:, :, 0] * near).sum() / mass.sum()
    shares = ", ".join(
        f"{n} {s:.0%}" for n, s in zip(NAMES, mass.sum((0, 1)) / mass.sum(), strict=True)
    )
    print(f"{name}: {inside:.0%} at the bump, which is {near.mean() / 3:.0%}; {shares}.")

# %% The curves, coloured by what each window contributes
xai.plots.series(maps["KernelSHAP"][:3], scale="shared").savefig("series.png", dpi=120)
