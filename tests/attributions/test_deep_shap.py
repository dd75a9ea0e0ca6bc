"""DeepSHAP: the mean of DeepLIFT over rows of data."""

import numpy as np
import pytest

import oracles
import tiny_models
from cases import TARGETS
from oracles import assert_same
from tiny_models import KINDS
from xai_core.attributions import DeepLIFT, DeepSHAP

X = oracles.inputs("table")
ROWS = oracles.inputs("table", 7, seed=9)


@pytest.mark.parametrize("batch_size", [2, 32])
def test_is_the_mean_of_deeplift_over_the_background(batch_size):
    model = tiny_models.network("table")
    explanation = DeepSHAP(model, background=ROWS, batch_size=batch_size)(X, TARGETS)
    each = [DeepLIFT(model, baseline=row)(X, TARGETS).values for row in ROWS]
    assert_same(explanation.values, np.mean(each, axis=0))
    start = oracles.logits("table", ROWS).mean(0)[TARGETS]
    assert_same(explanation.base_values, start)
    np.testing.assert_allclose(
        explanation.values.sum(1), explanation.scores - start, rtol=1e-5, atol=1e-6
    )
    assert (explanation.rows == 14).all()


@pytest.mark.parametrize("name", ["image", "channels_first", "torch_image"])
def test_images_in_their_layout(name):
    if name not in KINDS:
        pytest.skip("torch modules")
    kind = KINDS[name]
    rows = kind.inputs(3, seed=9)
    model = tiny_models.model(name, "DeepLIFT")
    explanation = DeepSHAP(model, background=rows)(kind.inputs(), TARGETS)
    each = [DeepLIFT(model, baseline=row)(kind.inputs(), TARGETS).values for row in rows]
    assert_same(explanation.values, np.mean(each, axis=0))


def test_linear_model_shares_what_differs_from_the_mean():
    x = np.array([[1.0, 2.0, 4.0]], "float32")
    rows = np.array([[0, 0, 0], [2, 2, 4]], "float32")
    explanation = DeepSHAP(tiny_models.linear("flat"), background=rows)(x)
    np.testing.assert_allclose(explanation.values, [[0, -3, 1]], atol=1e-6)
    np.testing.assert_allclose(explanation.base_values, [0.7], atol=1e-6)


def test_several_inputs_take_a_background_of_their_structure():
    given, rows = tiny_models.several_input_rows(), tiny_models.several_input_rows(3)
    model = tiny_models.several_inputs()
    background = {name: rows[name][::-1] for name in ("table", "series")}
    background["word"] = rows["word"]
    found = DeepSHAP(model, background=background)(given, TARGETS)
    total = found["table"].values.sum(1) + found["series"].values.sum((1, 2))
    table = found["table"]
    np.testing.assert_allclose(total, table.scores - table.base_values, rtol=1e-4, atol=1e-5)


def test_one_row_is_deeplift_from_there():
    model = tiny_models.network("table")
    one = DeepSHAP(model, background=ROWS[:1])(X, TARGETS)
    assert_same(one.values, DeepLIFT(model, baseline=ROWS[0])(X, TARGETS).values)
