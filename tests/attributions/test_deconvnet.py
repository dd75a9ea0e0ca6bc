"""DeconvNet: rectifiers in every form pass back positive gradients, wherever they are on."""

import numpy as np
import pytest

import rectifiers
from oracles import assert_same
from rectifiers import EVERY, V, W, X, rectified
from xai_core.attributions import DeconvNet


def explained(model, x=X):
    return [one.values for one in DeconvNet(model).explain_each(x, [0, 1])]


@pytest.mark.parametrize(("make", "form"), [pytest.param(*one[1:], id=one[0]) for one in EVERY])
def test_every_form_of_a_rectifier(make, form):
    assert_same(np.stack(explained(make())), rectified("DeconvNet", form))


def test_values_of_the_definition():
    x = np.array([[2, 1]], "float32")
    first, second = explained(rectifiers.net(lambda: rectifiers.ops.relu), x)
    assert first.tolist() == [[0, 0]]
    assert second.tolist() == [[-1, 1]]


@pytest.mark.parametrize("form", ["nested", "subclassed"])
def test_models_of_other_structure(form):
    model = rectifiers.net(lambda: rectifiers.ops.relu, form)
    assert_same(np.stack(explained(model)), rectified("DeconvNet", "plain"))


def test_shared_rectifier_counts_at_every_call():
    expected = rectified("DeconvNet", "plain", kernels=(W, rectifiers.SECOND, V))
    assert_same(np.stack(explained(rectifiers.shared())), expected)


def test_the_score_is_that_of_the_model():
    model = rectifiers.net(lambda: rectifiers.ops.relu6)
    expected = np.clip(X @ W, 0, 6) @ V
    for k, one in enumerate(DeconvNet(model).explain_each(X, [0, 1])):
        np.testing.assert_allclose(one.scores, expected[:, k], atol=1e-6)
