"""What `plots.attributions` does with its arguments, for every kind of input."""

import dataclasses
import io
import subprocess
import sys

import keras
import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from xai_core import plots
from xai_core.explanation import Explanation, row_fingerprints

RNG = np.random.default_rng(0)
PHOTOS = RNG.random((2, 6, 9, 3)).astype(np.float32)
MAPS = RNG.random((2, 6, 9, 1)).astype(np.float32)
KINDS = {
    "image": (MAPS, PHOTOS),
    "series": (RNG.random((2, 7, 3)), RNG.random((2, 7, 3))),
    "table": (RNG.random((2, 5)), RNG.random((2, 5))),
}


def explanation(values=MAPS, method="Saliency", inputs=PHOTOS, **fields):
    fields = {
        "targets": np.arange(len(values)),
        "scores": 0.25 + np.arange(len(values)) / 2,
        "class_names": ("cat", "dog", "owl", "bat", "elk"),
        "fingerprints": row_fingerprints(inputs),
        **fields,
    }
    return Explanation(values, method, **fields)


def panels(figure):
    return [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]


def bars(figure):
    return [ax for ax in figure.axes if ax.get_label() == "<colorbar>"]


def titles(figure):
    return [ax.get_title() for ax in panels(figure)]


def render(figure):
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    return figure


# --- layout --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("with_inputs", [True, False])
@pytest.mark.parametrize("scale", ["map", "shared"])
def test_every_kind_is_drawn(kind, with_inputs, scale):
    values, inputs = KINDS[kind]
    given = inputs if with_inputs else None
    figure = render(plots.attributions([values, -values], given, scale=scale))
    assert isinstance(figure, Figure)
    assert len(panels(figure)) == 4
    expected = 0 if kind == "table" else 1 if scale == "shared" else 4
    assert len(bars(figure)) == expected


def test_a_single_explanation_is_wrapped():
    values = np.ones((7, 4, 4, 1))
    grid = panels(plots.attributions(values))[0].get_subplotspec().get_gridspec()
    assert grid.ncols == 4
    figure = render(plots.attributions(values, columns=3))
    grid = panels(figure)[0].get_subplotspec().get_gridspec()
    assert (grid.nrows, grid.ncols) == (3, 3)
    assert len(panels(figure)) == 7
    wide = panels(plots.attributions(values[:2], columns=9))[0].get_subplotspec().get_gridspec()
    assert wide.ncols == 2


def test_samples_are_rows_and_explanations_columns():
    values = [
        method + np.zeros((2, 4, 4, 1)) + np.reshape([0, 10], (2, 1, 1, 1)) for method in range(3)
    ]
    figure = plots.attributions(values)
    grid = panels(figure)[0].get_subplotspec().get_gridspec()
    assert (grid.nrows, grid.ncols) == (2, 3)
    shown = [float(ax.images[0].get_array().mean()) for ax in panels(figure)]
    assert shown == [0, 1, 2, 10, 11, 12]


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_is_drawn_as_a_single_panel(kind):
    values, inputs = KINDS[kind]
    row = explanation(values, inputs=inputs)[1]
    assert len(panels(render(plots.attributions(row, inputs[1:])))) == 1


def test_nothing_reaches_pyplot():
    code = (
        "import sys, numpy as np\n"
        "from xai_core import plots\n"
        "before = 'matplotlib.pyplot' in sys.modules\n"
        "figure = plots.attributions(np.ones((1, 4, 4, 1)))\n"
        "print(before or 'matplotlib.pyplot' not in sys.modules)\n"
        "import matplotlib.pyplot as plt\n"
        "print(plt.get_fignums())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.split("\n")[:2] == ["True", "[]"]


def test_settings_of_matplotlib_stay():
    before = dict(matplotlib.rcParams)
    plots.attributions(MAPS, PHOTOS)
    assert dict(matplotlib.rcParams) == before


def test_a_notebook_shows_the_figure():
    assert plots.attributions(MAPS)._repr_png_().startswith(b"\x89PNG")


def test_inputs_and_explanations_are_untouched():
    values, photos = MAPS.copy(), (PHOTOS * 200).copy()
    kept = values.copy(), photos.copy()
    render(plots.attributions(values, photos))
    np.testing.assert_array_equal(values, kept[0])
    np.testing.assert_array_equal(photos, kept[1])


# --- titles --------------------------------------------------------------------------------------


def test_the_title_is_class_and_score():
    assert titles(plots.attributions(explanation(), PHOTOS)) == ["cat 0.25", "dog 0.75"]
    assert titles(plots.attributions(MAPS, PHOTOS)) == ["", ""]


def test_columns_are_headed_by_the_key_or_the_method():
    a, b = explanation(), explanation(method="GradCAM")
    expected = ["cat 0.25", "cat 0.25", "dog 0.75", "dog 0.75"]
    assert titles(plots.attributions([a, a])) == expected
    assert titles(plots.attributions([a, b])) == [
        "Saliency\ncat 0.25",
        "GradCAM\ncat 0.25",
        *expected[2:],
    ]
    assert titles(plots.attributions({"x": a, 3: a})) == [
        "x\ncat 0.25",
        "3\ncat 0.25",
        *expected[2:],
    ]
    assert titles(plots.attributions({"x": a})) == ["x\ncat 0.25", "x\ndog 0.75"]


def test_titles_of_panels_or_of_columns():
    a = explanation()
    assert titles(plots.attributions([a, a], titles=list("abcd"))) == list("abcd")
    headed = titles(plots.attributions([a, a], titles=("left", "right")))
    assert headed[:2] == ["left\ncat 0.25", "right\ncat 0.25"]
    assert titles(plots.attributions(a, titles=["", ""])) == ["", ""]
    with pytest.raises(ValueError, match=r"`titles` must hold one title per panel, here 4, .* 3"):
        plots.attributions([a, a], titles=list("abc"))
    with pytest.raises(TypeError, match="`titles` must be a sequence of str"):
        plots.attributions(a, titles="ab")


def test_names_are_no_formulas_and_long_ones_are_wrapped():
    names = ("$a_$ {$", "word " * 40)
    figure = render(plots.attributions(explanation(class_names=names)))
    first, second = titles(figure)
    assert first == "$a_$ {$ 0.25"
    assert second.count("\n") == 1
    assert second.endswith("...")
    rows = explanation(np.ones((1, 2)), inputs=np.ones((1, 2)), feature_names=("$x_$ {$", "b"))
    render(plots.attributions(rows))


# --- inputs --------------------------------------------------------------------------------------


def test_inputs_in_another_order_or_other_data_are_refused():
    found = explanation()
    plots.attributions(found, PHOTOS)
    with pytest.raises(ValueError, match="the same rows in another order"):
        plots.attributions(found, PHOTOS[::-1])
    with pytest.raises(ValueError, match="other data or another dtype"):
        plots.attributions({"a": MAPS, "b": found}, PHOTOS / 2)
    plots.attributions(dataclasses.replace(found, fingerprints=None), PHOTOS / 2)
    plots.attributions(np.asarray(found), PHOTOS / 2)


@pytest.mark.parametrize(
    ("values", "inputs"),
    [
        (MAPS, PHOTOS[0]),
        (MAPS, PHOTOS[:1]),
        (MAPS, np.ones((2, 5))),
        (MAPS, np.ones((2, 0, 4, 3))),
        (np.ones((2, 5)), np.ones((2, 4))),
        (explanation(np.ones((2, 6, 9)), fingerprints=None), PHOTOS),
    ],
)
def test_inputs_that_do_not_fit_are_refused(values, inputs):
    with pytest.raises(ValueError, match="`inputs` must"):
        plots.attributions(values, inputs)


def test_inputs_without_numbers_are_refused():
    with pytest.raises(TypeError, match=r"`inputs` must hold numbers. Received: dtype <U1"):
        plots.attributions(MAPS, np.full(PHOTOS.shape, "a"))


def test_tensors_of_the_backend_are_taken():
    tensor = keras.ops.convert_to_tensor(PHOTOS)
    render(plots.attributions(explanation(), tensor))
    render(plots.attributions(keras.ops.convert_to_tensor(MAPS), tensor))


# Keras converts torch tensors in a way that newer NumPy calls deprecated.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_half_precision_tensors_of_the_backend_are_taken():
    photos = keras.ops.cast(PHOTOS, "bfloat16")
    render(plots.attributions(MAPS, photos))


@pytest.mark.parametrize("kind", ["series", "table"])
def test_stored_inputs_are_used(kind):
    values, inputs = KINDS[kind]
    without = plots.attributions(explanation(values, inputs=inputs), titles=["", ""])
    stored = Explanation(values, "Saliency", inputs=inputs)
    figure = plots.attributions(stored)
    if kind == "series":
        assert [len(ax.lines) for ax in panels(without)] == [0, 0]
        assert [len(ax.lines) for ax in panels(figure)] == [3, 3]
    else:
        assert "=" not in panels(without)[0].get_yticklabels()[0].get_text()
        assert "=" in panels(figure)[0].get_yticklabels()[0].get_text()


# --- arguments -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("explanations", "message"),
    [
        ([], "`explanations` must hold at least one"),
        ({}, "`explanations` must hold at least one"),
        ([MAPS, MAPS[:1]], "`explanations` must be of the same inputs"),
        ([MAPS, MAPS[..., 0]], "`explanations` must be of the same inputs"),
        (np.ones((1, 2, 2, 2, 1)), "`explanations` must be of tables"),
        (np.ones(3), "`explanations` must be of tables"),
        (np.ones((0, 4, 4, 1)), "`explanations` must not be empty"),
    ],
)
def test_explanations_that_cannot_be_drawn_are_refused(explanations, message):
    with pytest.raises(ValueError, match=message):
        plots.attributions(explanations)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"scale": "global"}, ValueError, "`scale` must be one of 'map', 'shared'"),
        ({"alpha": 2}, ValueError, r"`alpha` must be within \[0, 1\]"),
        ({"alpha": "a"}, TypeError, "`alpha` must be a number"),
        ({"clip": 50}, ValueError, "`clip` must be at least 0 and below 50"),
        ({"clip": -1}, ValueError, "`clip` must be at least 0 and below 50"),
        ({"columns": 0}, ValueError, "`columns` must be at least 1"),
        ({"columns": 1.5}, TypeError, "`columns` must be an integer"),
        ({"cmap": "no such map"}, ValueError, "no such map"),
    ],
)
def test_wrong_options_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        plots.attributions(MAPS, **options)


def test_options_without_a_meaning_are_refused():
    with pytest.raises(ValueError, match="`columns` must be left out with several"):
        plots.attributions([MAPS, MAPS], columns=2)
    with pytest.raises(ValueError, match="`columns` must be left out"):
        plots.attributions(MAPS, columns=2, ax=Figure().subplots(1, 2))
    with pytest.raises(ValueError, match="`clip` is for colour scales"):
        plots.attributions(np.ones((1, 3)), clip=1)


# --- given axes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", ["map", "shared"])
def test_given_axes_are_used(kind, scale):
    figure = Figure()
    axes = figure.subplots(2, 2)
    values, inputs = KINDS[kind]
    assert plots.attributions([values, values], inputs, ax=axes, scale=scale) is figure
    render(figure)
    assert all(ax.images or ax.patches for ax in axes.ravel())


def test_one_axes_for_one_map():
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert plots.attributions(explanation()[0], PHOTOS[:1], ax=right) is figure
    assert not left.images
    assert right.get_title() == "cat 0.25"


def test_axes_of_a_subfigure_give_the_whole_figure():
    figure = Figure()
    part = figure.subfigures(1, 2)[0]
    assert plots.attributions(MAPS, ax=part.subplots(1, 2)) is figure


def test_wrong_axes_are_refused():
    axes = Figure().subplots(1, 3)
    with pytest.raises(ValueError, match=r"`ax` must hold one Axes per map, here 2. Received: 3"):
        plots.attributions(MAPS, ax=axes)
    with pytest.raises(ValueError, match=r"here 2\. Received: 1"):
        plots.attributions(MAPS, ax=axes[0])
    with pytest.raises(TypeError, match="`ax` must be a matplotlib Axes"):
        plots.attributions(MAPS, ax=[1, 2])
    with pytest.raises(ValueError, match="Axes of one figure"):
        plots.attributions(MAPS, ax=[Figure().subplots(), Figure().subplots()])
