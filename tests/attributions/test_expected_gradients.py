"""ExpectedGradients: its draws, its standard error, and integrated gradients in the mean."""

import numpy as np
import pytest

import oracles
import tiny_models
from cases import TARGETS
from oracles import assert_same, differ
from tiny_models import BACKEND, FORMS, KINDS
from xai_core.attributions import DeepSHAP, ExpectedGradients, IntegratedGradients

X = oracles.inputs("table")
ROWS = oracles.inputs("table", 6, seed=9)


def table(**fields):
    fields = {"background": ROWS, "n_samples": 9, **fields}
    return ExpectedGradients(tiny_models.model("table", "ExpectedGradients"), **fields)


def drawn(scores, x, rows, n_samples, seed=0):
    """The products of each draw (n_samples, N, ...): which row, and where on the line."""
    generator = np.random.Generator(np.random.Philox(seed))
    picks = generator.integers(len(rows), size=n_samples)
    places = generator.random(n_samples).astype("float32")
    found = []
    for pick, place in zip(picks, places, strict=True):
        start = np.asarray(rows[pick], float)
        point = start + float(place) * (x - start)
        found.append((x - start) * oracles.gradient(scores, point))
    return np.stack(found)


# --- closed forms and oracle --------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_linear_model_from_one_row(form):
    rows = np.zeros((1, 3), "float32")
    explainer = ExpectedGradients(tiny_models.linear(form), background=rows, n_samples=5)
    explanation = explainer(np.array([[1.0, 2.0, 4.0]], "float32"))
    np.testing.assert_allclose(explanation.values, [[2, -6, 2]], rtol=1e-6)
    np.testing.assert_allclose(explanation.standard_error, 0, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_product_from_one_row_is_integrated_gradients_in_the_mean(form):
    rows, x = np.zeros((1, 3), "float32"), np.array([[1.0, 2.0, 3.0]], "float32")
    model = tiny_models.product(form)
    exact = IntegratedGradients(model)(x).values
    np.testing.assert_allclose(exact, 2, rtol=1e-5)
    explanation = ExpectedGradients(model, background=rows, n_samples=600)(x)
    error = explanation.standard_error
    assert (np.abs(explanation.values - exact) <= 3 * error).all()
    # x1 x2 x3 a² has the variance 36 (1/5 - 1/9) for a in (0, 1).
    np.testing.assert_allclose(error, np.sqrt(36 * (1 / 5 - 1 / 9) / 600), rtol=0.15)


@pytest.mark.parametrize("kind", ["table", "series", "image", "torch_image"])
def test_equals_the_mean_over_the_draws(kind):
    if kind not in KINDS:
        pytest.skip("torch modules")
    kind = KINDS[kind]
    x, rows = oracles.inputs(kind.twin), oracles.inputs(kind.twin, 4, seed=9)
    products = drawn(oracles.score(kind.twin, TARGETS), x, rows, 7, seed=3)
    explainer = ExpectedGradients(
        tiny_models.model(kind.name, "ExpectedGradients"),
        background=kind.inputs(4, seed=9),
        n_samples=7,
        seed=3,
        batch_size=4,
    )
    explanation = explainer(kind.inputs(), TARGETS)
    assert_same(explanation.values, kind.layout(oracles.reduce(products.mean(0), "sum")))
    error = products.std(0, ddof=1) / np.sqrt(7)
    found = explanation.standard_error if kind.rank < 4 else explanation.unreduced_standard_error
    assert_same(found, kind.layout(error))
    assert (explanation.rows == 8).all()


def test_sums_up_to_the_score_less_the_mean_of_the_background():
    explanation = table(n_samples=2000)(X, TARGETS)
    change = explanation.scores - oracles.logits("table", ROWS).mean(0)[TARGETS]
    # Errors of the columns may all point the same way.
    bound = 3 * explanation.standard_error.sum(1)
    assert (np.abs(explanation.values.sum(1) - change) <= bound).all()
    assert bound.max() < 1


# --- the draws ----------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_same_draws_for_every_batch_size(batch_size):
    whole, parts = table()(X, TARGETS), table(batch_size=batch_size)(X, TARGETS)
    assert_same(parts.values, whole.values)
    assert_same(parts.standard_error, whole.standard_error)


def test_same_draws_whatever_else_is_in_the_batch():
    whole = table()(X, TARGETS)
    alone = table()(X[3:4], TARGETS[3:4])
    crowd = table(batch_size=3)(np.concatenate([10 * X, X[3:4]]), [*TARGETS, TARGETS[3]])
    assert_same(alone.values, whole.values[3:4])
    assert_same(crowd.values[5:], whole.values[3:4])


def test_seed_is_the_key_of_the_draws():
    first = table(seed=1)(X, TARGETS).values
    assert np.array_equal(table(seed=1)(X, TARGETS).values, first)
    assert differ(table(seed=2)(X, TARGETS).values, first)
    assert differ(table(seed=1 + 2**32)(X, TARGETS).values, first)
    assert table().seed == 0
    assert table(seed=5)(X, TARGETS).seed == 5


def test_standard_error_covers_as_often_as_it_should():
    # Columns have draws in common, seeds have not.
    exact = np.mean(
        [
            oracles.integrated_gradients(
                oracles.score("table", TARGETS), X, row, rule="gauss_legendre"
            )
            for row in ROWS
        ],
        axis=0,
    )
    inside = []
    for seed in range(60):
        found = table(n_samples=40, seed=seed)(X, TARGETS)
        inside.append(np.abs(found.values - exact) <= 1.96 * found.standard_error)
    assert 0.88 <= np.mean(inside) <= 0.98


def test_several_inputs_have_the_same_draws():
    given, rows = tiny_models.several_input_rows(), tiny_models.several_input_rows(3)
    model = tiny_models.several_inputs()
    found = ExpectedGradients(model, background=rows, n_samples=400)(given, TARGETS)
    table, series = found["table"], found["series"]
    total = table.values.sum(1) + series.values.sum((1, 2))
    start = np.zeros(5)
    for k in range(3):
        mixed = {name: np.repeat(rows[name][k : k + 1], 5, axis=0) for name in rows}
        mixed["word"] = given["word"]
        start += IntegratedGradients(model, steps=2)(mixed, TARGETS)["table"].scores / 3
    bound = 3 * (table.standard_error.sum(1) + series.standard_error.sum((1, 2)))
    assert (np.abs(total - (table.scores - start)) <= bound).all()
    alone = ExpectedGradients(model, background=rows, n_samples=400, batch_size=7)(given, TARGETS)
    assert_same(alone["series"].values, series.values)


@pytest.mark.skipif(BACKEND != "torch", reason="torch modules")
@pytest.mark.parametrize("cls", [ExpectedGradients, DeepSHAP])
@pytest.mark.parametrize(("name", "error"), [("float16", 0.01), ("bfloat16", 0.1), ("float64", 0)])
def test_background_has_the_type_of_the_module(name, error, cls):
    import torch

    made = tiny_models.torch_twin("table")
    expected = cls(made, background=ROWS)(X, TARGETS).values
    typed = tiny_models.torch_twin("table").to(getattr(torch, name))
    found = cls(typed, background=ROWS)(X, TARGETS).values
    assert found.dtype == np.float32
    assert_same(found, expected, max(error, 1e-5))
