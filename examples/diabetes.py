"""Explain a small network that predicts a number: error bars, and rows only until they suffice.

Run it with `KERAS_BACKEND=jax python examples/diabetes.py` (or tensorflow, or torch). It writes
diabetes.png into the current folder.
"""

# %% How far the disease gets within a year, from ten measurements
import keras
import numpy as np
from sklearn.datasets import load_diabetes

import xai_core as xai

keras.utils.set_random_seed(0)
data = load_diabetes()
x = (data.data / data.data.std(0)).astype("float32")
network = keras.Sequential(
    [keras.Input((10,)), keras.layers.Dense(16, activation="tanh"), keras.layers.Dense(1)]
)
network.compile(keras.optimizers.Adam(1e-2), "mse")
network.fit(x[:350], (data.target[:350] - 150) / 80, epochs=40, verbose=0)
model = xai.wrap(network, feature_names=data.feature_names)
held_out = x[350:]
error = np.abs(network.predict(held_out, verbose=0)[:, 0] * 80 + 150 - data.target[350:]).mean()
print(f"Mean error of the network {error:.0f}, of the mean {np.abs(data.target - 152).mean():.0f}.")

# %% Three ways to ask without gradients
settings = {"operator": xai.Tasks.REGRESSION, "batch_size": 512}
methods = {
    "Shapley values": xai.attributions.KernelSHAP(model, **settings, n_samples="exact"),
    "Sobol' indices": xai.attributions.Sobol(model, **settings, n_design=256),
    "HSIC": xai.attributions.HSIC(model, **settings, n_samples=512),
}
explanations = {name: method(held_out[:40], 0) for name, method in methods.items()}
for name, found in explanations.items():
    best = np.abs(found.values).mean(0).argsort()[::-1][:3]
    print(f"{name}: {', '.join(data.feature_names[k] for k in best)}.")
figure = xai.plots.bar(list(explanations.values()), titles=list(explanations), columns=3)
figure.savefig("diabetes.png", dpi=120)

# %% Rows until the errors are a twentieth of the largest value, or 2,000 orders of the columns
shap = xai.attributions.ShapleySampling(
    model, **settings, n_permutations=2000, tolerance=0.05, baseline=x.mean(0)
)
found = shap(held_out[:8], 0)
print(f"Rows by input: {found.rows.tolist()}; converged: {found.converged.all()}.")

# %% The same, watched
for k, found in enumerate(shap.refine(held_out[:1], 0)):
    error = "unknown" if found.standard_error is None else f"{found.standard_error.mean():.4f}"
    print(f"after {found.rows[0]} rows the mean error is {error}")
    if k == 2:
        break
