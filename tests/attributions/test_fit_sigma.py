"""`FORGrad.fit_sigma`: the radius that brute force finds, from one set of maps."""

import dataclasses
import pickle

import keras
import numpy as np
import pytest

import tiny_models
from cases import TARGETS
from oracles import assert_same
from tiny_models import KINDS
from xai_core.attributions import FORGrad, IntegratedGradients, RandomMap, Saliency, sigma_search
from xai_core.metrics import Deletion, Insertion

X = KINDS["image"].inputs()
SIGMAS = (1.5, 2.5, 4, 10)


def model(name="image"):
    return tiny_models.model(name, "FORGrad")


class Metric:
    """Judges by a function of the maps, and notes what it was given."""

    def __init__(self, judge, higher_is_better=True):
        self.judge, self.higher_is_better, self.seen = judge, higher_is_better, []

    def __call__(self, explanations, inputs, targets):
        self.seen.append((explanations, inputs, targets))
        return self.judge(explanations)


def roughness(explanation):
    return np.abs(np.diff(explanation.values, axis=1)).mean()


@pytest.mark.parametrize("metric", [Deletion, Insertion])
def test_equals_brute_force(metric):
    base, judge = Saliency(model()), metric(model(), steps=7, output="softmax")
    found = FORGrad(base).fit_sigma(X, judge, TARGETS, SIGMAS)
    scores = [float(judge(FORGrad(base, sigma=s)(X, TARGETS), X, TARGETS)) for s in SIGMAS]
    best = (np.argmax if metric is Insertion else np.argmin)(scores)
    assert found.sigma == SIGMAS[best]
    assert found.fitted.metric == metric.__name__
    assert found.fitted.sigmas == SIGMAS
    np.testing.assert_allclose(found.fitted.scores, scores, rtol=1e-5)
    assert_same(found(X, TARGETS).values, FORGrad(base, sigma=found.sigma)(X, TARGETS).values)


@pytest.mark.parametrize("signed", [False, True])
def test_metric_sees_what_a_call_gives(signed):
    base = IntegratedGradients(model(), steps=12)
    metric = Metric(roughness, higher_is_better=False)
    explainer = FORGrad(base, signed=signed)
    found = explainer.fit_sigma(X, metric, TARGETS, SIGMAS)
    assert found.sigma == 1.5, "The smoothest map."
    for sigma, (explanation, inputs, targets) in zip(SIGMAS, metric.seen, strict=True):
        assert inputs is X
        assert targets is TARGETS
        called = dataclasses.replace(explainer, sigma=sigma)(X, TARGETS)
        assert_same(explanation.values, called.values)
        for name in ("targets", "scores", "base_values", "rows", "fingerprints"):
            np.testing.assert_array_equal(getattr(explanation, name), getattr(called, name))
        assert explanation.completeness_gap is None
        assert (explanation.method, explanation.config) == (called.method, called.config)


def test_maps_are_computed_once(monkeypatch):
    calls, usual = [], Saliency._maps

    def counted(explainer, *arguments):
        calls.append(1)
        return usual(explainer, *arguments)

    monkeypatch.setattr(Saliency, "_maps", counted)
    FORGrad(Saliency(model())).fit_sigma(X, Metric(roughness), TARGETS, SIGMAS)
    assert len(calls) == 1


def test_of_equals_the_largest_radius_is_taken():
    explainer = FORGrad(Saliency(model()), sigma=3)
    found = explainer.fit_sigma(X, Metric(lambda one: 1), TARGETS, [4, 2, 4, 1])
    assert (found.sigma, found.fitted.sigmas) == (4, (1, 2, 4))
    assert explainer.sigma == 3
    assert explainer.fitted is None


def test_what_was_tried_is_told_and_forgotten_by_other_settings():
    found = FORGrad(Saliency(model())).fit_sigma(X, Metric(roughness), TARGETS, SIGMAS)
    assert found(X, TARGETS).notes == ("`sigma` 10 was the best of 4 by Metric.",)
    assert pickle.loads(pickle.dumps(FORGrad(RandomMap()).fit_sigma(X, Judge()))).fitted is not None
    assert dataclasses.replace(found, signed=True).fitted is None
    assert found.with_model(model()).fitted is None
    assert found.with_model(model()).sigma == 10


class Judge:
    higher_is_better = False

    def __call__(self, explanations, inputs, targets):
        return explanations.values.std()


@pytest.mark.parametrize(
    ("lengths", "size"), [([[224, 224]], 15), ([[7, 10]], 6), ([[9], [6, 8]], 6), ([[2]], 1)]
)
def test_usual_candidates(lengths, size):
    found = sigma_search.usual_candidates(lengths)
    assert len(found) == size
    assert list(found) == sorted(found)
    longest = max(max(own) for own in lengths)
    assert found[-1] == longest, "One filters nothing."
    assert all(sigma >= 1 for sigma in found)
    if longest == 224:
        assert 15 in np.round(found, 9)
        np.testing.assert_allclose(np.divide(found[1:-1], found[:-2]), 2**0.5)


def test_usual_candidates_are_tried():
    metric = Metric(roughness)
    found = FORGrad(Saliency(model())).fit_sigma(X, metric, TARGETS)
    assert found.fitted.sigmas == sigma_search.usual_candidates([X.shape[1:3]])
    assert found.sigma == 10


def test_several_inputs_share_a_radius():
    image, series = keras.Input((6, 8, 2), name="a"), keras.Input((9, 3), name="b")
    parts = [keras.layers.Flatten()(one) for one in (image, series)]
    network = keras.Model(
        {"a": image, "b": series}, keras.layers.Dense(2)(keras.layers.Concatenate()(parts))
    )
    rng = np.random.default_rng(3)
    x = {"a": rng.normal(size=(2, 6, 8, 2)), "b": rng.normal(size=(2, 9, 3))}
    metric = Metric(lambda found: sum(roughness(one) for one in found.values()))
    base = Saliency(network)
    found = FORGrad(base).fit_sigma(x, metric, 1, [2, 3])
    assert found.sigma == 3
    for (explanations, _, _), sigma in zip(metric.seen, (2, 3), strict=True):
        expected = FORGrad(base, sigma=sigma)(x, 1)
        for name in x:
            assert_same(explanations[name].values, expected[name].values)


def fit(metric=None, sigmas=SIGMAS, x=X, name="image"):
    FORGrad(Saliency(model(name))).fit_sigma(x, metric or Metric(roughness), 0, sigmas)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: fit(3), TypeError, "`metric` must be an object that judges.*Received: 3"),
        (lambda: fit(Deletion), TypeError, "`metric`.*Received: the class Deletion"),
        (lambda: fit(roughness), TypeError, "`metric` must have `higher_is_better`.*function"),
        (lambda: fit(sigmas=[]), ValueError, "`sigmas` must hold at least one.*none"),
        (lambda: fit(sigmas=[2, -1]), ValueError, "`sigmas` must be positive. Received: -1"),
        (lambda: fit(sigmas=[0.0]), ValueError, "`sigmas` must be positive. Received: 0"),
        (lambda: fit(sigmas=[np.nan]), ValueError, "`sigmas` must be finite"),
        (lambda: fit(sigmas=["2"]), TypeError, "`sigmas` must be a number"),
        (lambda: fit(sigmas=2), TypeError, "`sigmas` must be a sequence of numbers. Received: 2"),
        (lambda: fit(sigmas="12"), TypeError, "`sigmas` must be a sequence"),
        (lambda: fit(Metric(lambda one: np.inf)), ValueError, "`metric` must give finite.*inf"),
        (lambda: fit(Metric(lambda one: "good")), TypeError, "`metric` must return.*str"),
        (
            lambda: fit(x=KINDS["table"].inputs(), name="table"),
            ValueError,
            "`FORGrad` needs inputs with space or time",
        ),
    ],
)
def test_what_cannot_be_fitted_is_refused(call, error, says):
    with pytest.raises(error, match=says):
        call()
