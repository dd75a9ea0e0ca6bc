"""Gradient methods at a layer: what its map is, how it is named, and embeddings of integers."""

import dataclasses
import functools

import keras
import numpy as np
import pytest
from keras import layers, ops

import oracles
import tiny_models
import xai_core as xai
from cases import TARGETS
from model_state import outputs as model_outputs
from oracles import assert_same, differ
from tiny_models import BACKEND, FORMS, KINDS
from xai_core.attributions import (
    Conductance,
    DeconvNet,
    DeepLIFT,
    DeepSHAP,
    ExpectedGradients,
    FORGrad,
    GradCAM,
    GradientInput,
    GuidedBackprop,
    IntegratedGradients,
    Occlusion,
    Saliency,
    SmoothGrad,
    SquareGrad,
)

IMAGES, TABLE = oracles.inputs("image"), oracles.inputs("table")
HEAD = oracles.weights("table")["logits"][0]
HIDDEN = np.tanh(
    TABLE @ oracles.weights("table")["hidden"][0] + oracles.weights("table")["hidden"][1]
)
START = np.tanh(oracles.weights("table")["hidden"][1])


def image():
    return tiny_models.model("image", "sites")


def table():
    return tiny_models.model("table", "sites")


# --- what the map is ----------------------------------------------------------------------------


def test_under_a_linear_head_the_gradient_is_the_row_of_the_head():
    explanation = Saliency(table(), layer="hidden", absolute=False)(TABLE, TARGETS)
    assert_same(explanation.values, HEAD.T[TARGETS])
    assert explanation.layer == "hidden"
    found = GradientInput(table(), layer="hidden")(TABLE, TARGETS).values
    assert_same(found, HEAD.T[TARGETS] * HIDDEN)


@pytest.mark.parametrize("method", [IntegratedGradients, DeepLIFT])
def test_paths_begin_at_what_the_layer_makes_of_the_baseline(method):
    explanation = method(table(), layer="hidden")(TABLE, TARGETS)
    assert_same(explanation.values, HEAD.T[TARGETS] * (HIDDEN - START))
    np.testing.assert_allclose(explanation.completeness_gap, 0, atol=1e-5)


def test_draws_run_along_lines_at_the_layer():
    rows = np.zeros((1, 4), "float32")
    explainer = ExpectedGradients(table(), layer="hidden", background=rows, n_samples=4)
    assert_same(explainer(TABLE, TARGETS).values, HEAD.T[TARGETS] * (HIDDEN - START))
    found = DeepSHAP(table(), layer="hidden", background=rows)(TABLE, TARGETS).values
    assert_same(found, HEAD.T[TARGETS] * (HIDDEN - START))


@pytest.mark.parametrize("name", ["image", "channels_first"])
def test_channels_of_feature_maps_are_reduced(name):
    kind = KINDS[name]
    maps = oracles.activations("image", IMAGES)
    grad = oracles.gradient(
        lambda a: oracles.head("image", a)[
            np.arange(len(a)), np.repeat(TARGETS, len(a) // len(TARGETS))
        ],
        maps,
    )
    model = tiny_models.model(name, "sites")
    whole = GradientInput(model, layer="conv2", reducer=None)(kind.inputs(), TARGETS)
    assert_same(whole.values, kind.layout(grad * maps))
    for reducer in ("sum", "abs_max"):
        found = GradientInput(model, layer="conv2", reducer=reducer)(kind.inputs(), TARGETS)
        assert_same(found.values, kind.layout(oracles.reduce(grad * maps, reducer)))
    assert found.data_format == model.get_layer("conv2").data_format


@pytest.mark.parametrize("batch_size", [2, 64])
def test_integrated_gradients_of_a_layer_are_complete(batch_size):
    explainer = IntegratedGradients(
        image(), layer="conv1", baseline=[0.0, "mean"], batch_size=batch_size, steps=20
    )
    explanation = explainer(IMAGES, TARGETS)
    assert explanation.values.shape == (5, 7, 10, 1)
    np.testing.assert_allclose(
        explanation.values.sum((1, 2, 3)),
        explanation.scores - explanation.base_values,
        rtol=1e-4,
        atol=1e-5,
    )
    assert_same(
        explanation.values,
        IntegratedGradients(image(), layer="conv1", baseline=[0.0, "mean"], steps=20)(
            IMAGES, TARGETS
        ).values,
    )


def test_several_targets_at_once():
    explainer = IntegratedGradients(table(), layer="hidden")
    for k, one in enumerate(explainer.explain_each(TABLE, "all")):
        assert_same(one.values, HEAD[:, k] * (HIDDEN - START))


# --- which layer --------------------------------------------------------------------------------


def test_every_way_to_name_it():
    model, nested = image(), tiny_models.nested_image()
    expected = Saliency(model, layer="conv2")(IMAGES, TARGETS)
    for layer in (model.get_layer("conv2"), 2, tiny_models.cut(model, "conv2")):
        assert_same(Saliency(model, layer=layer)(IMAGES, TARGETS).values, expected.values)
    for layer in ("conv2", "trunk/conv2"):
        found = Saliency(nested, layer=layer)(IMAGES, TARGETS)
        assert_same(found.values, expected.values)
        assert found.layer == "trunk/conv2"


@pytest.mark.parametrize("form", FORMS)
def test_pairs_and_names_of_every_form(form):
    x = np.arange(8, dtype="float32").reshape(1, 2, 2, 2)
    x = x.transpose(0, 3, 1, 2) if form == "torch" else x
    model, layer = tiny_models.two_maps(form), tiny_models.maps_layer(form)
    found = GradientInput(model, layer=layer, reducer=None)(x)
    sign = np.array([1.0, -1.0]).reshape((2, 1, 1) if form == "torch" else (2,))
    assert_same(found.values, x * sign / 4)


def test_calls_of_a_shared_layer():
    model = tiny_models.model("shared", "sites")
    found = [GradientInput(model, layer="shared", call=k)(IMAGES, TARGETS) for k in (0, 1)]
    assert [one.values.shape for one in found] == [(5, 7, 10, 1), (5, 3, 5, 1)]
    assert [one.layer for one in found] == ["shared", "shared (call 1)"]
    # Behind the second call all is linear.
    np.testing.assert_allclose(
        IntegratedGradients(model, layer="shared", call=1)(IMAGES, TARGETS).completeness_gap,
        0,
        atol=1e-5,
    )


def settled(*modules):
    """Give torch modules the same weights at each run."""
    import torch

    with torch.no_grad():
        for k, one in enumerate(value for module in modules for value in module.parameters()):
            one.copy_(torch.arange(one.numel()).reshape(one.shape).mul(0.7).add(k).sin())


@pytest.mark.skipif("torch_image" not in KINDS, reason="torch modules")
def test_dotted_names_of_modules():
    from torch import nn

    net = nn.Sequential(nn.Sequential(nn.Linear(4, 5), nn.ReLU(inplace=True)), nn.Linear(5, 3))
    settled(net)
    for layer in ("0.0", net[0][1]):
        found = IntegratedGradients(net.eval(), layer=layer, steps=2048)(TABLE, TARGETS)
        assert found.layer in ("0.0", "0.1")
        np.testing.assert_allclose(found.completeness_gap, 0, atol=1e-3)
    weight = net[1].weight.detach().numpy()
    found = Saliency(net, layer="0.1", absolute=False)(TABLE, TARGETS).values
    assert_same(found, weight[TARGETS])


# --- inside other methods -----------------------------------------------------------------------


def test_noise_is_put_on_the_inputs():
    smooth = SmoothGrad(
        GradientInput(table(), layer="hidden"), n_samples=5, noise=0.2, noise_scale="absolute"
    )
    explanation = smooth(TABLE, TARGETS)
    weights = oracles.weights("table")
    maps = oracles.noisy_maps(
        lambda x: HEAD.T[TARGETS] * np.tanh(x @ weights["hidden"][0] + weights["hidden"][1]),
        TABLE,
        0.2,
        5,
    )
    assert_same(explanation.values, maps.mean(0))
    assert explanation.layer == "hidden"
    assert explanation.standard_error.shape == (5, 5)
    reduced = SquareGrad(Saliency(image(), layer="conv2"), n_samples=3)(IMAGES, TARGETS)
    assert reduced.values.shape == (5, 3, 5, 1)


def test_low_pass_over_a_layer_is_refused():
    with pytest.raises(ValueError, match="`layer`"):
        FORGrad(Saliency(image(), layer="conv2"))(IMAGES, TARGETS)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"layer": "conv_2"}, "conv2"),
        ({"layer": 17}, "index"),
        ({"layer": "conv2", "call": 1}, "less than 1"),
        ({"layer": "conv2", "call": -1}, "`call`"),
        ({"call": 0}, "`layer`"),
        ({"layer": "logits", "reducer": "mean"}, "`reducer`"),
    ],
)
@pytest.mark.parametrize("method", [Saliency, IntegratedGradients])
def test_what_is_wrong_is_refused(method, fields, says):
    with pytest.raises(ValueError, match=says):
        method(image(), **fields)(IMAGES, TARGETS)


def test_layer_of_a_shared_model_must_say_which_call():
    with pytest.raises(ValueError, match="`call`"):
        Saliency(tiny_models.model("shared", "sites"), layer="shared")(IMAGES, TARGETS)


# --- embeddings ---------------------------------------------------------------------------------

TOKENS = np.random.default_rng(1).integers(0, 7, (4, 5))
WORDS = np.array([2, 0, 1, 2])


def words(extra=False):
    """Tokens, an embedding, a rectified layer and the mean; or two embeddings added."""
    inside = keras.Input((5,), dtype="int32")
    found = layers.Embedding(7, 4, name="words")(inside)
    if extra:
        found = layers.Add()([found, layers.Embedding(7, 4, name="other")(inside)])
    hidden = layers.Dense(6, activation="relu")(found)
    made = keras.Model(inside, layers.Dense(3)(layers.GlobalAveragePooling1D()(hidden)))
    tiny_models.randomize(made)
    return made


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        (IntegratedGradients, {}),
        (IntegratedGradients, {"baseline": 3}),
        (DeepLIFT, {}),
        (DeepLIFT, {"baseline": 3}),
        (DeepSHAP, {"background": TOKENS[1:3]}),
        (ExpectedGradients, {"background": TOKENS[1:3], "n_samples": 2000}),
    ],
)
def test_references_are_tokens_at_every_layer_of_a_model_of_integers(method, fields):
    model = words()
    inner = model.layers[2].name
    found = method(model, layer=inner, batch_size=512, **fields)(TOKENS, 1)
    assert found.layer == inner
    assert found.values.shape == (4, 5, 6)
    rows = fields.get("background", np.full((1, 5), fields.get("baseline", 0)))
    scores = model.predict(np.concatenate([TOKENS, rows]), verbose=0)[:, 1]
    # Behind the layer the model is linear.
    hidden = keras.Model(model.inputs, model.layers[2].output)
    ends, starts = (hidden.predict(part, verbose=0) for part in (TOKENS, rows))
    weights = np.asarray(model.get_weights()[-2])
    expected = (ends - starts.mean(0)) * weights[:, 1] / 5
    error = 0.05 if method is ExpectedGradients else 1e-5
    assert_same(found.values, expected, error)
    assert_same(found.values.sum((1, 2)), scores[:4] - scores[4:].mean(), error)


def by_hand(model, tokens, start=None):
    """Integrated gradients at the embedding per token, in float64, with many points."""
    table, kernel, bias, last, _ = (np.asarray(w, float) for w in model.get_weights())
    start = 0 * tokens if start is None else start
    ends, starts = table[tokens], table[start]
    total = 0.0
    for position in (np.arange(4000) + 0.5) / 4000:
        on = (starts + position * (ends - starts)) @ kernel + bias > 0
        total = total + (on * last.T[WORDS][:, None]) @ kernel.T / 4000 / 5
    return (total * (ends - starts)).sum(-1)


@pytest.mark.parametrize(
    "method", [Saliency, GradientInput, IntegratedGradients, DeepLIFT], ids=lambda m: m.__name__
)
def test_the_only_embedding_is_found_and_gives_a_number_per_token(method):
    explanation = method(words())(TOKENS, WORDS)
    assert explanation.values.shape == (4, 5)
    assert explanation.layer == "words"
    assert any("words" in note for note in explanation.notes)
    assert np.array_equal(method(words(), layer="words")(TOKENS, WORDS).values, explanation.values)
    assert method(words(), reducer=None)(TOKENS, WORDS).values.shape == (4, 5, 4)
    for same in (TOKENS.tolist(), TOKENS.astype("int64"), ops.convert_to_tensor(TOKENS)):
        assert_same(method(words())(same, WORDS).values, explanation.values)


def test_gradient_times_vector_is_summed_back_to_tokens():
    model = words()
    table, kernel, bias, last, _ = (np.asarray(w, float) for w in model.get_weights())
    vectors = table[TOKENS]
    slope = ((vectors @ kernel + bias > 0) * last.T[WORDS][:, None]) @ kernel.T / 5
    assert_same(GradientInput(model)(TOKENS, WORDS).values, (slope * vectors).sum(-1))
    found = Saliency(model)(TOKENS, WORDS).values
    assert_same(found, np.abs(slope).max(-1))


def test_integrated_gradients_between_tokens():
    model = words()
    explanation = IntegratedGradients(model, steps=300)(TOKENS, WORDS)
    np.testing.assert_allclose(explanation.values, by_hand(model, TOKENS), atol=2e-3)
    # What is the baseline itself has no part.
    assert not explanation.values[TOKENS == 0].any()
    other = IntegratedGradients(model, baseline=3, steps=300)(TOKENS, WORDS)
    np.testing.assert_allclose(other.values, by_hand(model, TOKENS, 0 * TOKENS + 3), atol=2e-3)
    each = IntegratedGradients(model, baseline=TOKENS[::-1].copy(), steps=300)(TOKENS, WORDS)
    np.testing.assert_allclose(each.values, by_hand(model, TOKENS, TOKENS[::-1]), atol=2e-3)


@pytest.mark.parametrize("baseline", [0, 4, [0, 3], TOKENS[0], lambda tokens: 0 * tokens + 2])
def test_differences_from_tokens_are_complete(baseline):
    model = words()
    explanation = DeepLIFT(model, baseline=baseline)(TOKENS, WORDS)
    np.testing.assert_allclose(explanation.completeness_gap, 0, atol=1e-5)
    np.testing.assert_allclose(
        explanation.values.sum(1), explanation.scores - explanation.base_values, atol=1e-5
    )
    if isinstance(baseline, int):
        start = np.full_like(TOKENS, baseline)
        wanted = model.predict(start, verbose=0)[np.arange(4), WORDS]
        assert_same(explanation.base_values, wanted)


def test_rows_of_tokens_as_a_background():
    model, rows = words(), TOKENS[::-1].copy()
    shap = DeepSHAP(model, background=rows)(TOKENS, WORDS)
    each = [DeepLIFT(model, baseline=row)(TOKENS, WORDS).values for row in rows]
    assert_same(shap.values, np.mean(each, axis=0))
    drawn = ExpectedGradients(model, background=rows, n_samples=300)(TOKENS, WORDS)
    assert drawn.values.shape == (4, 5)
    change = drawn.scores - shap.base_values
    assert np.abs(drawn.values.sum(1) - change).max() < 0.3 * np.abs(change).max()


# Few steps on purpose.
@pytest.mark.filterwarnings("ignore::xai_core.ExplanationWarning")
def test_batches_do_not_matter():
    for explainer in (
        IntegratedGradients(words(), steps=6),
        DeepLIFT(words()),
        ExpectedGradients(words(), background=TOKENS, n_samples=5),
    ):
        small = dataclasses.replace(explainer, batch_size=3)
        assert_same(small(TOKENS, WORDS).values, explainer(TOKENS, WORDS).values)


class Categories(keras.Model):
    """A table of two columns of categories, which one or two embeddings look up, and of numbers."""

    def __init__(self, shared):
        super().__init__()
        self.one = layers.Embedding(4, 3, name="one")
        self.two = self.one if shared else layers.Embedding(4, 3, name="two")
        self.hidden = layers.Dense(5, activation="tanh", name="hidden")
        self.out = layers.Dense(3, name="out")

    def call(self, inputs):
        a, b, numbers = inputs
        looked = [ops.squeeze(one, 1) for one in (self.one(a), self.two(b))]
        return self.out(self.hidden(ops.concatenate([*looked, numbers], axis=1)))


CATEGORIES = (
    np.array([[1], [2], [3], [0]], "int32"),
    np.array([[2], [2], [1], [3]], "int32"),
    np.random.default_rng(3).normal(size=(4, 2)).astype("float32"),
)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("column", [0, 1])
def test_column_of_categories_has_references_of_its_own(shared, column):
    model = Categories(shared)
    model(CATEGORIES)
    tiny_models.randomize(model)
    fields = {"layer": "one" if shared else ("one", "two")[column]}
    fields |= {"call": column} if shared else {}
    rows = [np.full((2, 1), 3, "int32"), np.full((2, 1), 3, "int32"), CATEGORIES[2][:2]]
    start = tuple(leaf.copy() for leaf in CATEGORIES)
    start[column][:] = 3
    change = [model_outputs(model, given)[:, 1] for given in (CATEGORIES, start)]
    for explainer in (
        IntegratedGradients(model, baseline=3, **fields),
        DeepLIFT(model, baseline=3, **fields),
        DeepSHAP(model, background=tuple(rows), **fields),
        ExpectedGradients(model, background=tuple(rows), n_samples=300, **fields),
    ):
        found = explainer(CATEGORIES, 1)
        assert found.values.shape == (4, 1)
        bound = 0.05 if isinstance(explainer, ExpectedGradients) else 1e-4
        np.testing.assert_allclose(found.values[:, 0], change[0] - change[1], atol=bound)


def test_background_in_the_structure_of_the_inputs():
    given, rows = tiny_models.several_input_rows(), tiny_models.several_input_rows(3)
    model = tiny_models.several_inputs()
    layer = next(one.name for one in model.layers if isinstance(one, layers.Embedding))
    explainer = DeepSHAP(model, layer=layer, background=rows)
    alone = DeepSHAP(model, layer=layer, background=rows["word"])
    assert_same(explainer(given, TARGETS).values, alone(given, TARGETS).values)
    with pytest.raises(ValueError, match="structure of the inputs"):
        DeepSHAP(model, layer=layer, background=(rows["word"], rows["word"]))(given, TARGETS)


@pytest.mark.filterwarnings("ignore::xai_core.ExplanationWarning")
@pytest.mark.parametrize("method", [GuidedBackprop, DeconvNet])
def test_modified_gradients_at_a_layer(method):
    inside = keras.Input(IMAGES.shape[1:])
    first = layers.Conv2D(4, 3, activation="tanh", name="first")
    rest = [layers.Conv2D(5, 3, activation="relu"), layers.GlobalAveragePooling2D()]
    rest += [layers.Dense(4, activation="relu"), layers.Dense(3)]
    model = keras.Sequential([inside, first, *rest])
    tiny_models.randomize(model)
    middle = model_outputs(keras.Sequential([inside, first]), IMAGES)
    expected = method(keras.Sequential([keras.Input(middle.shape[1:]), *rest]))(middle, TARGETS)
    found = method(model, layer="first")(IMAGES, TARGETS)
    assert np.abs(found.values).max() > 0
    assert_same(found.values, expected.values)


def test_two_embeddings_need_a_name():
    model = words(extra=True)
    with pytest.raises(ValueError, match="`layer`") as error:
        Saliency(model)(TOKENS, WORDS)
    assert "'words', 'other'" in str(error.value)
    assert Saliency(model, layer="other")(TOKENS, WORDS).values.shape == (4, 5)


def test_integers_without_an_embedding_are_refused():
    inside = keras.Input((5,), dtype="int32")
    made = keras.Model(inside, layers.Dense(3)(ops.cast(inside, "float32")))
    with pytest.raises(ValueError, match=r"`layer`.*none"):
        Saliency(made)(TOKENS, WORDS)


@pytest.mark.parametrize("baseline", [0.5, -1, np.full(5, 2.5)], ids=str)
@pytest.mark.parametrize("method", [IntegratedGradients, DeepLIFT])
def test_baseline_that_is_no_token_is_refused(method, baseline):
    with pytest.raises(ValueError, match="`baseline` must be a token"):
        method(words(), baseline=baseline)(TOKENS, WORDS)


@pytest.mark.parametrize("rows", [np.zeros((2, 4), int), np.zeros((2, 5)), -np.ones((2, 5), int)])
@pytest.mark.parametrize("method", [DeepSHAP, ExpectedGradients])
def test_background_that_is_no_rows_of_tokens_is_refused(method, rows):
    with pytest.raises(ValueError, match="`background`"):
        method(words(), background=rows)(TOKENS, WORDS)


@pytest.mark.parametrize("make", [Occlusion, SmoothGrad, lambda m: Conductance(m, layer="words")])
def test_other_methods_refuse_integers_alone(make):
    with pytest.raises(ValueError, match="integers only"):
        make(words())(TOKENS, WORDS)


def test_class_activation_maps_refuse_integers_alone():
    with pytest.raises(ValueError, match="integers only"):
        GradCAM(words())(TOKENS, WORDS)


def test_embedding_beside_floats():
    given, model = tiny_models.several_input_rows(), tiny_models.several_inputs()
    name = next(one.name for one in model.layers if isinstance(one, layers.Embedding))
    explanation = IntegratedGradients(model, layer=name)(given, TARGETS)
    assert isinstance(explanation, xai.Explanation)
    assert explanation.values.shape == (5, 2)
    np.testing.assert_allclose(explanation.completeness_gap, 0, atol=1e-4)
    changed = {**given, "word": 0 * given["word"]}
    np.testing.assert_allclose(
        explanation.base_values, Saliency(model)(changed, TARGETS)["table"].scores, atol=1e-6
    )
    lifted = DeepLIFT(model, layer=name)(given, TARGETS)
    np.testing.assert_allclose(
        lifted.values.sum(1), explanation.scores - explanation.base_values, atol=1e-5
    )
    # Without a layer it is the floats that are explained, as ever.
    found = IntegratedGradients(model)(given, TARGETS)
    assert [name for name in given if found[name] is not None] == ["table", "series"]


@pytest.mark.skipif(BACKEND != "torch", reason="torch modules")
def test_embedding_of_a_module():
    import torch
    from torch import nn

    generator = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Embedding(7, 4), nn.Flatten(), nn.Linear(20, 3)).eval()
    with torch.no_grad():
        for one in net.parameters():
            one.copy_(torch.randn(one.shape, generator=generator))
    table, weight = (net[k].weight.detach().numpy() for k in (0, 2))
    rows = weight[WORDS].reshape(4, 5, 4)
    expected = (rows * (table[TOKENS] - table[0])).sum(-1)
    for method in (IntegratedGradients, DeepLIFT):
        for explainer in (method(net, layer="0"), method(net)):
            explanation = explainer(TOKENS, WORDS)
            assert_same(explanation.values, expected)
            assert explanation.layer == "0"
    assert differ(Saliency(net)(TOKENS, WORDS).values, expected)
    with pytest.raises(ValueError, match="integers only"):
        Occlusion(net)(TOKENS, WORDS)


def test_embedding_of_a_subclassed_model():
    flat = words()
    inner = flat.layers[1:]
    made = tiny_models.Formula(lambda x: functools.reduce(lambda h, one: one(h), inner, x), inner)
    made(TOKENS)
    for method in (IntegratedGradients, DeepLIFT):
        expected = method(flat)(TOKENS, WORDS).values
        assert_same(method(made)(TOKENS, WORDS).values, expected)


@pytest.mark.skipif(BACKEND != "torch", reason="torch modules")
@pytest.mark.parametrize("name", ["IntegratedGradients", "DeepLIFT", "ExpectedGradients"])
def test_a_layer_before_an_operation_in_place_is_taken_before_it(name):
    import torch

    import xai_core.attributions as attributions

    first, last = torch.nn.Linear(4, 6), torch.nn.Linear(6, 2)
    settled(first, last)
    # Enough steps that completeness does not warn.
    own = {
        "ExpectedGradients": {"background": np.zeros((2, 4))},
        "IntegratedGradients": {"steps": 256},
    }
    fields = own.get(name, {})
    x = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    found = []
    for in_place in (False, True):
        module = torch.nn.Sequential(first, torch.nn.ReLU(inplace=in_place), last).eval()
        found.append(getattr(attributions, name)(module, layer="0", **fields)(x, 1).values)
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5, atol=1e-6)
