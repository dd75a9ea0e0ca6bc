"""What all class activation maps share: several layers, wrong ones, and what is refused."""

import keras
import numpy as np
import pytest
from keras import layers

import cams
import oracles
import tiny_models
from bad_rows import Row, check
from cams import METHODS, SMALLER
from cases import TARGETS
from oracles import assert_same
from tiny_models import KINDS
from xai_core import attributions, wrap
from xai_core.attributions import (
    AblationCAM,
    EigenCAM,
    GradCAM,
    GradCAMPlusPlus,
    LayerCAM,
    ScoreCAM,
)

IMAGES = KINDS["image"].inputs()


def method(name, **fields):
    model = tiny_models.model("image", name)
    return getattr(attributions, name)(model, **SMALLER.get(name, {}), **fields)


def share(values):
    """Maps divided by their largest absolute values."""
    largest = abs(values).max(axis=(1, 2, 3), keepdims=True)
    return values / np.where(largest > 0, largest, 1)


def test_all_of_them_are_tried():
    assert len(METHODS) == 11


# --- several layers -----------------------------------------------------------------------------


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("name", METHODS)
def test_several_layers_are_averaged(name, signed):
    explanation = method(name, layer=["conv1", "conv2"], signed=signed)(IMAGES, TARGETS)
    singles = [
        method(name, layer=one, signed=signed)(IMAGES, TARGETS) for one in ("conv1", "conv2")
    ]
    assert_same(explanation.values, np.mean([share(one.values) for one in singles], axis=0))
    assert explanation.layer == "conv1, conv2"
    assert explanation.config["layer"] == ["conv1", "conv2"]
    assert explanation.rows.tolist() == [sum(one.rows[0] for one in singles)] * 5
    assert_same(explanation.scores, singles[0].scores)


def test_one_layer_in_a_list_is_divided_too():
    explanation = method("GradCAM", layer=["conv2"])(IMAGES, TARGETS)
    alone = method("GradCAM", layer="conv2")(IMAGES, TARGETS)
    assert_same(explanation.values, share(alone.values))
    assert explanation.layer == "conv2"


def test_map_of_zeros_stays_zero_among_others():
    x = np.zeros((1, 2, 2, 2), "float32")
    x[..., 1] = 1  # speaks against the score: nothing is left at either layer
    model = tiny_models.two_maps("flat")
    explanation = GradCAM(model, layer=["maps", "maps"])(x)
    assert not explanation.values.any()
    both = GradCAM(model, layer=["maps", "maps"])(np.concatenate([x, cams.MAPS]))
    assert not both.values[0].any()
    np.testing.assert_allclose(both.values[1].max(), 1, rtol=1e-6)


def test_layers_in_every_form():
    model = tiny_models.model("image", "GradCAM")
    pair = tiny_models.cut(model, "conv2")
    expected = GradCAM(model, layer=["conv1", "conv2"])(IMAGES, TARGETS).values
    for second in ("conv2", 2, model.get_layer("conv2"), pair):
        found = GradCAM(model, layer=["conv1", second])(IMAGES, TARGETS)
        assert_same(found.values, expected)


@pytest.mark.parametrize("name", METHODS)
def test_inputs_in_a_dict_and_beside_integers(name):
    image, word = keras.Input((7, 10, 2), name="image"), keras.Input((1,), dtype="int32")
    maps = layers.Conv2D(4, 3, name="maps")(image)
    pooled = layers.GlobalAveragePooling2D()(maps)
    embedded = layers.Flatten()(layers.Embedding(3, 4)(word))
    out = layers.Dense(3)
    named = keras.Model({"image": image}, out(pooled))
    beside = keras.Model([image, word], out(layers.Add()([pooled, embedded])))
    tiny_models.randomize(beside)
    tokens = np.array([[0], [1], [2], [1], [0]], "int32")
    for model, x in ((named, {"image": IMAGES}), (beside, [IMAGES, tokens])):
        for layer in ("maps", None):
            cls, fields = getattr(attributions, name), SMALLER.get(name, {})
            found = cls(model, layer=layer, **fields)(x, TARGETS)
            found = found["image"] if isinstance(found, dict) else found
            assert found.values.shape == (5, 7, 10, 1)
            assert found.rows[0] == (5 if name in ("ScoreCAM", "AblationCAM") else 1)


@pytest.mark.parametrize("name", ["series", "volume", "torch_image"])
def test_other_ranks_and_modules(name):
    if name not in KINDS:
        pytest.skip("of native torch modules")
    kind = KINDS[name]
    every = ["act1", "act2"] if kind.native else ["conv1", "conv2"]
    model, x = tiny_models.model(name, "LayerCAM"), kind.inputs()
    found = LayerCAM(model, layer=every)(x, TARGETS).values
    singles = [LayerCAM(model, layer=one)(x, TARGETS).values for one in every]
    largest = [one.reshape(5, -1).max(1).reshape(5, *[1] * (one.ndim - 1)) for one in singles]
    mean = np.mean([one / top for one, top in zip(singles, largest, strict=True)], axis=0)
    assert_same(found, mean)


def test_several_targets_and_batches():
    explainer = method("ScoreCAM", layer=["conv1", "conv2"])
    together = explainer.explain_each(IMAGES, [0, 2])
    for target, one in zip((0, 2), together, strict=True):
        assert_same(one.values, explainer(IMAGES, target).values)
        small = method("ScoreCAM", layer=["conv1", "conv2"], batch_size=2)(IMAGES, target)
        assert_same(one.values, small.values)


# --- the automatic layer ------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_automatic_layer_is_the_last_that_the_score_depends_on(name):
    fields = SMALLER.get(name, {}) | ({"n_similar": 1} if name == "FinerCAM" else {})
    model = wrap(tiny_models.residual(), select=0)
    explanation = getattr(attributions, name)(model, **fields)(IMAGES, TARGETS)
    assert explanation.layer == "sum"
    assert any("automatically" in note for note in explanation.notes)


@pytest.mark.parametrize("cls", [EigenCAM, ScoreCAM, AblationCAM])
def test_layer_that_is_found_does_not_depend_on_the_batch_size(cls):
    model = tiny_models.model("image", cls.__name__)
    whole, single = (cls(model, batch_size=size)(IMAGES, TARGETS) for size in (32, 1))
    assert whole.layer == single.layer == "conv2"
    assert_same(single.values, whole.values)


# --- the same model in other forms --------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_nested_model(name):
    fields = SMALLER.get(name, {})
    nested = getattr(attributions, name)(tiny_models.nested_image("trunk"), layer="conv2", **fields)
    explanation = nested(IMAGES, TARGETS)
    assert_same(explanation.values, method(name, layer="conv2")(IMAGES, TARGETS).values)
    assert explanation.layer == "trunk/conv2"


@pytest.mark.filterwarnings("ignore::xai_core.ExplanationWarning")
@pytest.mark.parametrize("form", ["nested", "subclassed"])
@pytest.mark.parametrize("name", ["GuidedGradCAM", "FullGrad", "FinerCAM"])
def test_copies_of_other_structure(name, form):
    cls, fields = getattr(attributions, name), SMALLER.get(name, {})
    flat = tiny_models.model("image", "copies", rectified=True)
    first = cls(flat, **fields)(IMAGES, TARGETS)
    copy = cls(tiny_models.copied(flat, form), **fields)(IMAGES, TARGETS)
    assert first.values.any()
    assert_same(copy.values, first.values)
    assert str(copy.layer).split("/")[-1] == str(first.layer)


@pytest.mark.parametrize("name", ["GradCAM", "EigenCAM", "ScoreCAM", "AblationCAM"])
def test_one_of_several_calls_of_a_layer(name):
    cls = getattr(attributions, name)
    model = tiny_models.model("shared", name)
    maps = [cls(model, layer="shared", call=k, signed=True)(IMAGES, 1) for k in (0, 1)]
    assert oracles.differ(maps[0].values, maps[1].values)
    assert maps[1].layer == "shared (call 1)"


# --- what cannot be done ------------------------------------------------------------------------


def at(layer, cls=GradCAM, kind="image", **fields):
    return lambda: cls(tiny_models.model(kind), layer=layer, **fields)(KINDS[kind].inputs(), 0)


def auxiliary(*layer):
    model = wrap(tiny_models.residual(), select=0)
    return lambda: GradCAM(model, layer=list(layer))(IMAGES, TARGETS)


REFUSED = [
    Row("no layer in the list", at([]), ValueError, ("`layer`", "at least one", "[]")),
    Row("call of several", at(["conv1", "conv2"], call=0), ValueError, ("`call`", "0", "conv1")),
    Row("unknown layer", at(["conv1", "conv_2"]), ValueError, ("`layer`", "conv_2", "conv2")),
    Row("None in the list", at(["conv1", None]), (TypeError, ValueError), ("`layer`", "none")),
    Row("list in the list", at([["conv1"]]), (TypeError, ValueError), ("`layer`", "conv1")),
    Row("one without space", at(["conv1", "gap"]), ValueError, ("`layer`", "gap", "4 axes")),
    Row("one called twice", at(["shared"], kind="shared"), ValueError, ("`call`", "2")),
    Row("one that is not seen", auxiliary("sum", "auxiliary"), ValueError, ("'auxiliary'",)),
    *(
        Row(
            f"{cls.__name__} of a table",
            at(None, cls, kind="table"),
            ValueError,
            (f"`{cls.__name__}`", "space or time"),
        )
        for cls in (EigenCAM, ScoreCAM, GradCAMPlusPlus)
    ),
    *(
        Row(
            f"{cls.__name__} of a black box",
            lambda cls=cls: cls(lambda x: x),
            TypeError,
            ("`model`", cls.__name__),
        )
        for cls in (EigenCAM, ScoreCAM)
    ),
]


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row.name)
def test_what_is_refused(row):
    check(row)
