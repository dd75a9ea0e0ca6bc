"""GuidedBackprop: rectifiers in every form pass back positive gradients only, where they are on."""

import numpy as np
import pytest

import rectifiers
from oracles import assert_same
from rectifiers import EVERY, V, W, X, rectified
from xai_core.attributions import GuidedBackprop, Saliency


def explained(model, x=X):
    return [one.values for one in GuidedBackprop(model).explain_each(x, [0, 1])]


@pytest.mark.parametrize(("make", "form"), [pytest.param(*one[1:], id=one[0]) for one in EVERY])
def test_every_form_of_a_rectifier(make, form):
    model = make()
    assert_same(np.stack(explained(model)), rectified("GuidedBackprop", form))
    gradients = Saliency(model, absolute=False).explain_each(X, [0, 1])
    assert_same(np.stack([one.values for one in gradients]), rectified("Saliency", form))


def test_values_of_the_definition():
    # h = ReLU(W x), x = (2, 1): 1 behind the first, the second is off.
    x = np.array([[2, 1]], "float32")
    first, second = explained(rectifiers.net(lambda: rectifiers.ops.relu), x)
    assert first.tolist() == [[1, -1]]
    assert second.tolist() == [[0, 0]]


def test_nothing_passes_a_capped_rectifier_above_its_cap():
    x = np.array([[7, 0]], "float32")
    model = rectifiers.net(lambda: rectifiers.ops.relu6)
    assert not np.any(explained(model, x))


@pytest.mark.parametrize("form", ["nested", "subclassed"])
def test_models_of_other_structure(form):
    model = rectifiers.net(lambda: rectifiers.ops.relu, form)
    assert_same(np.stack(explained(model)), rectified("GuidedBackprop", "plain"))


def test_activation_of_a_layer():
    found = explained(rectifiers.with_relu_inside())
    assert_same(np.stack(found), rectified("GuidedBackprop", "plain"))


def test_shared_rectifier_counts_at_every_call():
    expected = rectified("GuidedBackprop", "plain", kernels=(W, rectifiers.SECOND, V))
    assert_same(np.stack(explained(rectifiers.shared())), expected)
    assert not np.array_equal(expected, rectified("Saliency", "plain", kernels=(W, W, V)))
