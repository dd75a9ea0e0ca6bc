"""HSIC: closed forms on every form of model, pairs, p-values, masks and kernels, refusals."""

import numpy as np
import pytest

import tiny_models
from tiny_models import FORMS, KINDS
from xai_core.attributions import HSIC

TARGETS = np.array([2, 0, 1, 1, 0])
REGRESSION = {"operator": "regression"}


@pytest.mark.parametrize("form", [*FORMS, "black box"])
def test_largest_where_the_score_depends_most(form):
    x = np.array([[1.0, 1.0, 1.0]], "float32")
    if form == "black box":
        model = lambda x: x @ np.array([2.0, -3.0, 0.5])  # noqa: E731
    else:
        model = tiny_models.linear(form)
    found = HSIC(model, n_samples=512, batch_size=256, **REGRESSION)(x, 0)
    assert np.argsort(found.values[0]).tolist() == [2, 0, 1]
    assert (found.p_values[0, :2] < 1e-6).all()
    assert found.rows.tolist() == [513]


@pytest.mark.parametrize("masks", ["binary", "uniform"])
def test_what_plays_no_part_is_told_by_the_p_value(masks):
    x = np.ones((1, 16))
    found = HSIC(lambda x: x[:, 0] + x[:, 1], masks=masks, n_samples=512, **REGRESSION)(x, 0)
    assert (found.p_values[0, :2] < 1e-6).all()
    assert (found.p_values[0, 2:] > 0.001).all()
    assert found.values[0, :2].min() > 10 * found.values[0, 2:].max()


def test_pair_that_acts_only_together():
    """y = s_i s_j on 49 cells: neither alone has an effect, the pair stands out."""
    x = np.ones((1, 7, 7, 1))

    def together(x):
        return (2 * x[:, 2, 3, 0] - 1) * (2 * x[:, 4, 4, 0] - 1)

    found = HSIC(together, grid_size=7, interactions=True, **REGRESSION)(x, 0)
    pairs = found.interactions[0]
    np.testing.assert_array_equal(pairs, pairs.T)
    assert np.isnan(np.diag(pairs)).all()
    upper = np.sort(pairs[np.triu_indices(49, 1)])
    assert pairs[17, 32] == upper[-1]
    assert upper[-1] >= 3 * upper[-2]
    assert found.features[0, [17, 32]].max() < 0.2 * upper[-1]
    plain = HSIC(together, grid_size=7, **REGRESSION)(x, 0)
    assert plain.interactions is None
    np.testing.assert_array_equal(plain.values, found.values)


def test_errors_shrink_with_the_masks():
    x, model = KINDS["table"].inputs(), tiny_models.model("table", "HSIC")

    def errors(n_samples, **fields):
        return HSIC(model, n_samples=n_samples, **fields)(x, TARGETS).standard_error

    assert errors(1024).mean() < 0.7 * errors(256).mean()
    assert errors(256, sampler="sobol") is None
    assert errors(256, sampler="random") is not None
