"""What all methods of random masks share: rows, batches, backgrounds, tolerance, refinement."""

import dataclasses

import numpy as np
import pandas
import pytest

import tiny_models
from oracles import assert_same
from tiny_models import BACKEND, KINDS
from xai_core import attributions
from xai_core.attributions import RISE, Occlusion

TARGETS = np.array([2, 0, 1, 1, 0])
FEW = {
    "RISE": {"n_samples": 60},
    "LIME": {"n_samples": 60},
    "KernelSHAP": {"n_samples": 120},
    "ShapleySampling": {"n_permutations": 4},
    "Sobol": {"n_design": 8},
    "HSIC": {"n_samples": 64},
}
AVERAGED = ("KernelSHAP", "ShapleySampling")
EVERY = pytest.mark.parametrize("name", FEW)
ENDLESS = {
    "RISE": {"n_samples": 1500},
    "KernelSHAP": {"n_samples": 1500},
    "ShapleySampling": {"n_permutations": 700},
    "Sobol": {"n_design": 64, "n_blocks": 9},
    "HSIC": {"n_samples": 1500},
}
"""Settings on a table that leave room for a tolerance."""
WEIGHTS = np.array([[2.0, 1.0], [-3.0, 0.5], [0.5, 4.0]])


def build(name, model, **fields):
    return getattr(attributions, name)(model, **{**FEW[name], **fields})


def shared(name):
    """The copy of the shared image model whose compiled steps a method asks for."""
    return tiny_models.model("image", BY_STEPS.get(name, name))


BY_STEPS = dict.fromkeys(("LIME", "ShapleySampling"), "KernelSHAP")


def curved(x):
    """Scores of a black box of tables."""
    x = np.asarray(x, float)
    return np.tanh(x @ WEIGHTS) + 0.3 * x[:, :1] * x[:, 1:2]


def designed(name, cells, fields):
    """The number of model rows by the formulas."""
    return {
        "RISE": lambda: fields["n_samples"] + 1,
        "HSIC": lambda: fields["n_samples"] + 1,
        "LIME": lambda: fields["n_samples"],
        "KernelSHAP": lambda: min(fields["n_samples"], 2**cells),
        "ShapleySampling": lambda: fields["n_permutations"] * (cells - 1) + 2,
        "Sobol": lambda: fields["n_design"] * (cells + 2) + 1,
    }[name]()


# --- rows ---------------------------------------------------------------------------------------


@EVERY
@pytest.mark.parametrize("batch_size", [7, 64])
def test_number_of_rows_is_the_formula_and_none_is_padded(name, batch_size):
    x, seen = np.random.default_rng(0).normal(size=(5, 7, 10, 1)), []

    def predict(rows):
        seen.append(len(rows))
        return np.asarray(rows).mean((1, 2))

    explanation = build(name, predict, batch_size=batch_size)(x, 0)
    cells = 64 if name in ("Sobol", "HSIC") else 49
    cells = 7 * min(10, int(cells**0.5))
    rows = designed(name, cells, FEW[name])
    assert explanation.rows.tolist() == [rows] * 5
    assert sum(seen) == 5 * rows + 1  # and the probe
    assert max(seen) <= batch_size


@EVERY
def test_rows_of_a_background(name):
    x, seen = np.random.default_rng(0).normal(size=(2, 6)), []

    def predict(rows):
        seen.append(len(rows))
        return np.asarray(rows)

    fields = {"ShapleySampling": {"n_permutations": 4}}.get(name, FEW[name])
    background = np.random.default_rng(1).normal(size=(3, 6))
    explanation = build(name, predict, background=background, **fields)(x, 0)
    rows = designed(name, 6, fields)
    rows = 1 + 3 * (rows - 1) if name in AVERAGED else rows
    assert explanation.rows.tolist() == [rows] * 2
    assert sum(seen) == 2 * rows + 1


@EVERY
@pytest.mark.parametrize("kind", ["image", "black box"])
def test_batch_size_and_neighbours_do_not_matter(name, kind):
    x = KINDS["image"].inputs()
    model = shared(name) if kind == "image" else (lambda x: np.tanh(np.asarray(x).sum((1, 2))))
    coarse = {"grid_size": 3} if name in ("Sobol", "HSIC") else {}
    explainer = build(name, model, **coarse)
    whole = explainer(x, TARGETS % 2)
    for size in (1, 7, 64):
        other = dataclasses.replace(explainer, batch_size=size)
        assert_same(other(x, TARGETS % 2).values, whole.values)
    alone = explainer(x[3:4], TARGETS[3:4] % 2)
    assert_same(alone.values, whole.values[3:4])
    if whole.features is not None:
        assert_same(alone.features, whole.features[3:4])


@EVERY
def test_all_targets_share_the_rows(name):
    x, seen = np.random.default_rng(0).normal(size=(2, 3)), []

    def predict(rows):
        seen.append(len(rows))
        return np.tile(curved(rows), (1, 12))

    explainer = build(name, predict)
    each = explainer.explain_each(x, "all")
    assert len(each) == 24  # more than share a forward pass of gradient methods
    assert sum(seen) == 2 * int(each[0].rows[0]) + 2  # a probe more, for the number of classes
    assert_same(each[5].values, explainer(x, 5).values)


@EVERY
def test_constant_model_has_no_effects(name):
    found = build(name, lambda x: np.full((len(x), 2), 0.3))(np.ones((2, 6)), 1)
    if name == "RISE":
        np.testing.assert_allclose(found.values, 0.3)
    else:
        np.testing.assert_allclose(found.values, 0, atol=1e-7)
    assert found.p_values is None or (found.p_values == 1).all()


# --- cells --------------------------------------------------------------------------------------


@EVERY
def test_one_mask_per_input_is_as_if_each_were_alone(name):
    x = KINDS["image"].inputs()
    groups = np.arange(70).reshape(7, 10) // 12
    own = np.stack([groups, groups % 4, groups // 2, groups, groups % 5])
    found = build(name, shared(name), feature_mask=own, batch_size=16)(x, TARGETS)
    assert found.values.shape == (5, 7, 10, 1)
    for row in range(5):
        explainer = build(name, shared(name), feature_mask=own[row], batch_size=16)
        alone = explainer(x[row : row + 1], TARGETS[row : row + 1])
        assert_same(found.values[row], alone.values[0])
        assert found.rows[row] == alone.rows[0]
        count = own[row].max() + 1
        assert_same(found.features[row, :count], alone.features[0])
        assert np.isnan(found.features[row, count:]).all()


def products(x):
    return np.asarray(x, float).prod(1) + np.asarray(x, float).sum(1)


OWN = {
    "ShapleySampling": ([50, 5, 50], {}),
    "KernelSHAP": ([20, 8, 20], {"n_samples": 1000}),
    "RISE": ([12, 3, 7], {"n_samples": 600}),
    "LIME": ([12, 3, 7], {"n_samples": 600}),
    "Sobol": ([12, 3, 7], {"n_design": 16, "n_blocks": 2}),
    "HSIC": ([12, 3, 7], {"n_samples": 600}),
}
"""Numbers of groups of three inputs; of five (eight) all is soon known, and not the error."""


@pytest.mark.parametrize("batch_size", [2, 64])
@pytest.mark.parametrize("name", OWN)
def test_inputs_of_few_and_many_groups_fit_together(name, batch_size):
    groups, fields = OWN[name]
    x = np.random.default_rng(0).uniform(0.9, 1.1, (3, 50))
    own = np.stack([np.arange(50) % count for count in groups])
    fields = {"operator": "regression", "batch_size": batch_size, **fields}
    explainer = getattr(attributions, name)(products, feature_mask=own, **fields)
    found = explainer(x, 0)
    *_, last = explainer.refine(x, 0)
    assert_same(last.values, found.values)
    for row, count in enumerate(groups):
        one = getattr(attributions, name)(products, feature_mask=own[row], **fields)
        alone = one(x[row : row + 1], 0)
        assert_same(found.values[row], alone.values[0])
        assert_same(found.features[row, :count], alone.features[0])
        assert np.isnan(found.features[row, count:]).all()
        assert found.rows[row] == last.rows[row] == alone.rows[0]
        np.testing.assert_array_equal(found[row].feature_mask, own[row : row + 1])
        if found.standard_error is None:
            assert alone.standard_error is None
        elif alone.standard_error is None:
            assert np.isnan(found.standard_error[row]).all()
        else:
            assert_same(found.standard_error[row], alone.standard_error[0])
    assert (found.standard_error is None) == (name == "LIME")


@EVERY
def test_several_inputs_have_one_design(name):
    """Cells of all inputs are masked together, as the columns of one table would be."""
    given = {"a": np.random.default_rng(0).normal(size=(2, 2)), "b": np.ones((2, 1))}
    joined = np.concatenate([given["a"], given["b"]], axis=1)

    def predict(parts):
        return curved(np.concatenate([parts["a"], parts["b"]], axis=1))

    found, whole = build(name, predict)(given, 1), build(name, curved)(joined, 1)
    assert list(found) == ["a", "b"]
    assert_same(found["a"].values, whole.values[:, :2])
    assert_same(found["b"].values, whole.values[:, 2:])
    assert found["a"].rows.tolist() == whole.rows.tolist()


@EVERY
def test_each_channel_by_itself_lies_as_the_layout_says(name):
    x = KINDS["image"].inputs()
    fields = {"per_channel": True, "grid_size": 2}
    last = build(name, shared(name), **fields)(x, TARGETS)
    assert last.values.shape == x.shape
    model = tiny_models.model("channels_first", BY_STEPS.get(name, name))
    first = build(name, model, **fields)(np.moveaxis(x, -1, 1), TARGETS)
    assert_same(np.moveaxis(first.values, 1, -1), last.values)
    if last.features is not None:
        assert_same(first.features, last.features)


@pytest.mark.parametrize("name", [name for name in FEW if name not in ("RISE", "Sobol", "HSIC")])
def test_map_holds_the_number_of_each_cell(name):
    x = np.random.default_rng(0).normal(size=(2, 9, 11, 1))
    found = build(name, lambda x: np.asarray(x).mean((1, 2)), grid_size=(3, 4))(x, 0)
    cell = (np.arange(9) * 3 // 9)[:, None] * 4 + np.arange(11) * 4 // 11
    np.testing.assert_array_equal(found.values[..., 0], found.features[:, cell])


def test_masks_of_smooth_grids_are_interpolated():
    seen = []

    def predict(rows):
        seen.append(np.asarray(rows))
        return np.asarray(rows).mean((1, 2))

    found = attributions.Sobol(predict, grid_size=2, n_design=4, seed=3)(np.ones((1, 4, 4, 1)), 0)
    rows = np.concatenate(seen)[2:].reshape(-1, 4, 4)
    corners = rows[:, ::3, ::3]
    assert_same(rows[:, 0, 1], 0.75 * corners[:, 0, 0] + 0.25 * corners[:, 0, 1])
    assert_same(rows[:, 1, 2], np.einsum("nij,i,j->n", corners, [0.75, 0.25], [0.25, 0.75]))
    each = found.features[0].reshape(2, 2)
    assert_same(found.values[0, 0, :, 0], each[0] @ [[1, 0.75, 0.25, 0], [0, 0.25, 0.75, 1]])


# --- what stands in masked cells ----------------------------------------------------------------


@EVERY
def test_background_of_one_row_is_that_baseline(name):
    x = KINDS["image"].inputs()
    row = KINDS["image"].inputs(1, seed=9)
    background = build(name, shared(name), background=row)(x, TARGETS)
    baseline = build(name, shared(name), baseline=row[0])(x, TARGETS)
    assert_same(background.values, baseline.values)


@pytest.mark.parametrize("name", AVERAGED)
def test_background_is_averaged(name):
    x, rows = np.random.default_rng(0).normal(size=(2, 3)), np.random.default_rng(1)
    background = rows.normal(size=(4, 3))
    found = build(name, curved, background=background)(x, 1)
    each = [build(name, curved, baseline=row)(x, 1) for row in background]
    assert_same(found.values, np.mean([one.values for one in each], axis=0), 1e-4)
    assert_same(found.base_values, np.full(2, curved(background)[:, 1].mean()))


def test_background_is_drawn_for_each_mask():
    seen = []

    def predict(rows):
        seen.append(np.asarray(rows))
        return np.asarray(rows)

    background = np.arange(1.0, 9.0)[:, None] * [1, 10, 100]
    RISE(predict, background=background, n_samples=400)(np.zeros((2, 3)), 0)
    rows = np.concatenate(seen)[3:].reshape(400, 2, 3)
    np.testing.assert_array_equal(rows[:, 0], rows[:, 1])
    columns = rows[:, 0].T / [[1], [10], [100]]
    drawn = [set(column[column > 0]) for column in columns]
    assert drawn == [set(range(1, 9))] * 3
    masked = rows[:, 0] / [1, 10, 100]
    first = np.where(masked > 0, masked, np.nan)
    held = first[(masked > 0).any(1)]
    np.testing.assert_array_equal(np.nanmax(held, 1), np.nanmin(held, 1))  # one row for a mask


def test_occlusion_averages_over_a_background():
    x = np.random.default_rng(0).normal(size=(5, 3))
    background = np.random.default_rng(1).normal(size=(4, 3))
    found = Occlusion(curved, background=background)(x, 1)
    for column in range(3):
        rows = np.repeat(x[:, None], 4, 1)
        rows[:, :, column] = background[:, column]
        drop = curved(x)[:, 1] - curved(rows.reshape(-1, 3))[:, 1].reshape(5, 4).mean(1)
        assert_same(found.values[:, column], drop)
    assert found.rows.tolist() == [13] * 5


@EVERY
def test_frames_reach_the_function_as_frames(name):
    frame = pandas.DataFrame({"a": [1, 2, 3], "b": [0.5, 1.5, 2.5], "c": ["x", "y", "x"]})
    seen = []

    def predict(rows):
        seen.append(rows)
        return rows["b"].to_numpy(float) + (rows["c"] == "x").to_numpy(float)

    if name == "Sobol":
        with pytest.raises(TypeError, match=r"`inputs` must be numbers for `Sobol`"):
            build(name, predict, background=frame)(frame, 0)
        return
    found = build(name, predict, operator="regression", background=frame)(frame, 0)
    assert found.feature_names == ("a", "b", "c")
    assert all(isinstance(rows, pandas.DataFrame) for rows in seen)
    assert all(set(rows["c"]) <= {"x", "y"} for rows in seen)
    assert np.isfinite(found.values).all()


# --- tolerance and refinement -------------------------------------------------------------------


def peaked(x):
    """Hardly depends on chance for a small input, much for a large one."""
    x = np.asarray(x, float)
    return x @ np.arange(12) + 3 * x[:, 1] * x[:, 2] * x[:, 3]


PEAKED = np.array([[0.3] * 12, [4.0] * 12])


def endless(name, model=peaked, **fields):
    return getattr(attributions, name)(model, operator="regression", **ENDLESS[name], **fields)


def sizes(name, found):
    """What a tolerance is a share of; nearly, for RISE, of whose mean score the cells' is one."""
    level = found.features.mean(1, keepdims=True) if name == "RISE" else 0.0
    return np.abs(found.features - level).max(1)


@pytest.mark.parametrize("grid_size", [None, 3])
def test_tolerance_of_rise_does_not_grow_with_the_level_of_the_score(grid_size):
    x = np.linspace(1, 2, 12).reshape(1, 12, 1) if grid_size else np.linspace(1, 2, 12)[None]
    rows = []
    for level in (0.0, 1e4):
        explainer = attributions.RISE(
            lambda z, level=level: level + np.asarray(z).reshape(len(z), 12).sum(1),
            operator="regression",
            n_samples=4096,
            grid_size=grid_size,
            tolerance=0.03,
        )
        rows.append(explainer(x, 0).rows[0])
    assert rows[0] == rows[1] > 257


@pytest.mark.parametrize("name", ENDLESS)
def test_converged_inputs_stop_and_the_others_go_on(name):
    explainer = endless(name)
    whole = explainer(PEAKED, 0)
    assert whole.converged is None
    relative = whole.feature_standard_error.mean(1) / sizes(name, whole)
    loose = dataclasses.replace(explainer, tolerance=float(2 * relative.max()))
    early = loose(PEAKED, 0)
    assert early.converged.all()
    assert (early.rows < whole.rows).all()
    strict = dataclasses.replace(explainer, tolerance=0.0)(PEAKED, 0)
    assert not strict.converged.any()
    assert_same(strict.values, whole.values)
    assert strict.rows.tolist() == whole.rows.tolist()
    alone = loose(PEAKED[1:], 0)
    assert_same(alone.values[0], early.values[1])
    assert alone.rows[0] == early.rows[1]
    for size in (1, 7, 64):
        again = dataclasses.replace(loose, batch_size=size)(PEAKED, 0)
        assert_same(again.values, early.values)
        assert again.rows.tolist() == early.rows.tolist()


@pytest.mark.parametrize("name", ENDLESS)
def test_refinement_improves_until_it_is_the_call(name):
    sent = []

    def predict(x):
        sent.append(len(x))
        return peaked(x)

    whole = endless(name)(PEAKED, 0)
    rows, errors = [], []
    for found in endless(name, predict).refine(PEAKED, 0):
        # Rows are sent when the next estimate is asked for; one is the probe.
        assert sum(sent) == found.rows.sum() + 1
        rows.append(int(found.rows[0]))
        errors.append(found.feature_standard_error)
    assert len(rows) >= 3
    assert rows == sorted(set(rows))
    assert rows[-1] == whole.rows[0]
    np.testing.assert_array_equal(found.values, whole.values)
    assert_same(found.feature_standard_error, whole.feature_standard_error)
    first, last = next(error for error in errors if error is not None), errors[-1]
    assert last.mean() < 0.9 * first.mean()


@pytest.mark.parametrize("name", ENDLESS)
def test_refinement_ends_where_the_tolerance_is_met(name):
    relative = 2.0 * max(
        error.mean() / size
        for found in [endless(name)(PEAKED, 0)]
        for error, size in zip(found.feature_standard_error, sizes(name, found), strict=True)
    )
    early = endless(name, tolerance=relative)
    *before, last = early.refine(PEAKED, 0)
    called = early(PEAKED, 0)
    np.testing.assert_array_equal(last.values, called.values)
    assert last.rows.tolist() == called.rows.tolist()
    assert last.converged.all()
    assert not any(found.converged.all() for found in before)


@pytest.mark.parametrize("name", [*ENDLESS, "LIME"])
def test_network_is_refined_and_inputs_leave_it_early(name):
    """The first input is nearly the baseline, and hardly depends on chance."""
    x, fields = KINDS["table"].inputs(3), ENDLESS.get(name, {"n_samples": 600})
    x = np.concatenate([x, np.full_like(x[:1], 1e-3)])[::-1].copy()
    model = tiny_models.model("table", BY_STEPS.get(name, name))
    fields = {**fields, "n_samples": 600} if "n_samples" in fields else fields
    explainer = getattr(attributions, name)(model, batch_size=64, **fields)
    each = explainer.refine(x, 1)
    first = next(found for found in each if name == "LIME" or found.standard_error is not None)
    *_, last = explainer.refine(x, 1)
    whole = explainer(x, 1)
    assert_same(last.values, whole.values)
    if name == "KernelSHAP":  # all coalitions of four columns come at once
        return
    assert (first.rows < last.rows).all()
    if name == "LIME":
        return
    relative = first.feature_standard_error.mean(1) / sizes(name, first)
    loose = dataclasses.replace(explainer, tolerance=float(np.sort(relative)[:2].mean()))
    found = loose(x, 1)
    assert len(set(found.rows.tolist())) > 1
    for row in range(4):
        alone = loose(x[row : row + 1], 1)
        assert_same(alone.values[0], found.values[row])
        assert alone.rows[0] == found.rows[row]


# --- types of numbers ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["RISE", "Sobol", "HSIC"])
def test_masks_of_parts_do_not_wrap_small_integers_around(name):
    x = np.random.default_rng(0).integers(0, 100, (2, 8, 8, 1)).astype("uint8")

    def predict(rows):
        return np.asarray(rows, float).mean((1, 2)) / 255

    found = build(name, predict, baseline=200, batch_size=64)(x, 0)
    expected = build(name, predict, baseline=200.0, batch_size=64)(x.astype("float64"), 0)
    assert_same(found.values, expected.values)


@pytest.mark.skipif(BACKEND != "torch", reason="a torch module")
@pytest.mark.parametrize("name", ["RISE", "Sobol", "HSIC", "KernelSHAP"])
def test_modules_of_another_precision_get_their_own(name):
    import torch

    x = KINDS["torch_image"].inputs()
    module = tiny_models.fresh("torch_image")
    expected = build(name, module, batch_size=64)(x, TARGETS)
    for dtype, tolerance in ((torch.float64, 1e-4), (torch.bfloat16, 0.2)):
        found = build(name, module.to(dtype), batch_size=64)(x, TARGETS)
        assert_same(found.values, expected.values, tolerance)
