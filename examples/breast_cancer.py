"""Explain gradient-boosted trees on a table: Shapley values against a background of data.

Run it with `KERAS_BACKEND=jax python examples/breast_cancer.py` (or tensorflow, or torch). It
writes breast_cancer_waterfall.png, breast_cancer_beeswarm.png and breast_cancer_bar.png.
"""

# %% A DataFrame and a model that never sees anything else
import numpy as np
from sklearn.cluster import KMeans
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import train_test_split

import xai_core as xai

data = load_breast_cancer()
names = [str(name) for name in data.feature_names]
train, test, labels, truth = train_test_split(data.data, data.target, random_state=0)
trees = HistGradientBoostingClassifier(max_iter=60, random_state=0).fit(train, labels)
model = xai.wrap(trees, class_names=("malignant", "benign"), feature_names=names)
print(f"{trees.score(test, truth):.1%} of the held-out cases are right.")

# %% What stands for an absent column: typical cases, of which each coalition sees all
background = KMeans(12, n_init=1, random_state=0).fit(train).cluster_centers_
shap = xai.attributions.KernelSHAP(
    model, background=background, n_samples=600, link="logit", batch_size=4096
)
explanation = shap(test[:40], "malignant")
gap = explanation.scores - explanation.base_values - explanation.features.sum(1)
print(f"Contributions add up to f(x) - f(background) but for {np.abs(gap).max():.1e}.")

# %% One case, and all of them
case = int(explanation.scores.argmax())
print(f"Case {case}: log-odds {explanation.scores[case]:+.2f} of being malignant.")
xai.plots.waterfall(explanation[case]).savefig("breast_cancer_waterfall.png", dpi=120)
xai.plots.beeswarm(explanation).savefig("breast_cancer_beeswarm.png", dpi=120)

# %% Columns that belong together: mean, error and worst value of the same measurement
measured = np.arange(30) % 10
groups = [name.removeprefix("mean ") for name in names[:10]]
grouped = xai.attributions.KernelSHAP(
    model,
    background=background,
    feature_mask=measured,
    n_samples=400,
    link="logit",
    batch_size=4096,
)
together = grouped(test[:40], "malignant")
xai.plots.bar(together, feature_names=groups).savefig("breast_cancer_bar.png", dpi=120)
best = np.abs(together.features).mean(0).argmax()
print(f"The measurement that matters most is {groups[best]}.")

# %% Both classes from one set of model rows
malignant, benign = shap.explain_each(test[:3], "all")
opposite = np.abs(malignant.values + benign.values).max()
print(f"The two classes are opposite but for {opposite:.1e}; {malignant.rows[0]} rows served both.")
