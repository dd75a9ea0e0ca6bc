"""FEM: closed form, oracle, places at the threshold, and what it does not depend on."""

import numpy as np
import pytest

import cam_oracles
import cams
from cams import SPATIAL
from oracles import assert_same
from tiny_models import AT_MAPS
from xai_core.attributions import FEM


@pytest.mark.parametrize(("form", "layer"), AT_MAPS)
def test_two_maps(form, layer):
    cams.check_two_maps("FEM", form, layer, [[1, 0], [0, 2.5]], kappa=1)
    cams.check_two_maps("FEM", form, layer, np.zeros((2, 2)))


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("kind", SPATIAL, ids=lambda kind: kind.name)
def test_equals_the_oracle(kind, signed):
    expected = cam_oracles.of_gradients(cam_oracles.fem(1.0), signed)
    cams.check_oracle("FEM", kind, expected, signed=signed, kappa=1.0)


@pytest.mark.parametrize("kappa", [0, 0.5, 1.7])
def test_random_activations(kappa):
    x, weights = cams.random_case(8)
    explanation = FEM(cams.weighted(weights), layer="maps", signed=True, kappa=kappa)(x)
    expected = cam_oracles.fem(kappa)(x.astype(float))
    assert_same(explanation.values, expected[..., None])


def test_place_at_the_threshold_counts():
    # Half the places hold 1 and half 0: mean and deviation are 1/2, the threshold is 1.
    x = np.resize([0.0, 1.0], (1, 4, 6, 1)).astype("float32") * np.float32(0.1)
    model = cams.weighted(np.ones((1, 4, 6, 1)))
    assert_same(FEM(model, layer="maps", kappa=1.0)(x).values, 0.5 * x)
    constant = np.full_like(x, 0.3)
    assert_same(FEM(model, layer="maps")(constant).values, constant)


def test_activations_that_are_not_negative_give_no_negative_values():
    x, weights = cams.random_case(9)
    values = FEM(cams.weighted(weights), layer="maps", signed=True, kappa=0.5)(abs(x)).values
    assert values.min() >= 0
    assert values.any()


def test_named_layer_ignores_targets_and_gradients():
    cams.check_class_agnostic(FEM, kappa=1.0)
