"""What `plots.flip` shows of images and of what is left of them."""

import io

import keras
import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from xai_core import plots

RNG = np.random.default_rng(2)
PHOTOS = RNG.random((3, 6, 9, 3)).astype("float32")
MASKED = PHOTOS * (RNG.random((3, 6, 9, 1)) < 0.5)
OLD, NEW = ["cat", "dog", "owl"], ["dog", "dog", "bat"]


def shown(figure):
    """Return the pictures as they are drawn, in turn."""
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    assert all(ax.images[0].get_clim() == (0, 1) for ax in figure.axes)
    return [np.asarray(ax.images[0].get_array()) for ax in figure.axes]


def titles(figure):
    return [ax.get_title() for ax in figure.axes]


# --- pictures ------------------------------------------------------------------------------------


def test_each_image_stands_beside_its_masked_copy():
    pictures = shown(plots.flip(PHOTOS, MASKED, OLD, NEW))
    for k in range(3):
        np.testing.assert_allclose(pictures[2 * k], PHOTOS[k])
        np.testing.assert_allclose(pictures[2 * k + 1], MASKED[k])


@pytest.mark.parametrize("channels", [1, 3])
def test_both_data_formats(channels):
    images, masked = PHOTOS[..., :channels], MASKED[..., :channels]
    last = shown(plots.flip(images, masked, OLD, NEW))
    first = shown(plots.flip(np.moveaxis(images, -1, 1), np.moveaxis(masked, -1, 1), OLD, NEW))
    assert last[0].shape == ((6, 9) if channels == 1 else (6, 9, 3))
    for one, other in zip(last, first, strict=True):
        np.testing.assert_array_equal(one, other)


def test_images_outside_0_and_1_are_stretched_as_their_masked_copies():
    images = 2 * PHOTOS - 1
    masked = np.where(MASKED == 0, -3.0, images)
    pictures = shown(plots.flip(images, masked, OLD, NEW))
    for k in range(3):
        high = images[k].max()
        np.testing.assert_allclose(pictures[2 * k], (images[k] + 3) / (high + 3), rtol=1e-6)
        np.testing.assert_allclose(pictures[2 * k + 1], (masked[k] + 3) / (high + 3), atol=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_bytes_are_divided_by_255_in_both(dtype):
    images = np.round(100 + 100 * PHOTOS).astype("uint8")
    masked = np.where(MASKED == 0, 0, images).astype(dtype)
    pictures = shown(plots.flip(images, masked, OLD, NEW))
    np.testing.assert_allclose(pictures[2], images[1] / 255)
    np.testing.assert_allclose(pictures[3], masked[1] / 255)


def test_tensors_of_the_backend_are_taken():
    tensors = keras.ops.convert_to_tensor(PHOTOS), keras.ops.convert_to_tensor(MASKED)
    np.testing.assert_allclose(shown(plots.flip(*tensors, OLD, NEW))[1], MASKED[0])


def test_images_are_untouched():
    images, masked = 9 * PHOTOS, 9 * MASKED
    kept = images.copy(), masked.copy()
    shown(plots.flip(images, masked, OLD, NEW))
    np.testing.assert_array_equal(images, kept[0])
    np.testing.assert_array_equal(masked, kept[1])


# --- titles --------------------------------------------------------------------------------------


def test_titles_are_names_of_classes():
    assert titles(plots.flip(PHOTOS, MASKED, OLD, NEW)) == [
        *("cat", "dog"),
        *("dog", "dog"),
        *("owl", "bat"),
    ]
    assert titles(plots.flip(PHOTOS[:2], MASKED[:2], "cat", np.array(["dog", "owl"]))) == [
        *("cat", "dog"),
        *("cat", "owl"),
    ]


def test_titles_are_indices_of_classes():
    figure = plots.flip(PHOTOS, MASKED, np.array([3, 1, 2]), 7)
    assert titles(figure) == ["class 3", "class 7", "class 1", "class 7", "class 2", "class 7"]
    tensor = keras.ops.convert_to_tensor([3, 1, 2])
    assert titles(plots.flip(PHOTOS, MASKED, tensor, 7)) == titles(figure)


def test_titles_tell_what_share_is_removed():
    figure = plots.flip(PHOTOS, MASKED, OLD, NEW, shares=[0.12, 0.0042, 1])
    assert titles(figure)[1::2] == [
        "dog, 12 % removed",
        "dog, 0.42 % removed",
        "bat, 100 % removed",
    ]
    assert titles(figure)[::2] == OLD
    assert titles(plots.flip(PHOTOS[:1], MASKED[:1], 1, 2, shares=1 / 3))[1] == (
        "class 2, 33.3 % removed"
    )


def test_titles_of_ones_own():
    figure = plots.flip(PHOTOS[:1], MASKED[:1], 1, 2, titles=["$a_$ {$", "word " * 40])
    shown(figure)
    first, second = titles(figure)
    assert first == "$a_$ {$"
    assert second.count("\n") == 1
    assert second.endswith("...")
    with pytest.raises(ValueError, match=r"one title per picture, here 2. Received: 3"):
        plots.flip(PHOTOS[:1], MASKED[:1], 1, 2, titles=list("abc"))
    with pytest.raises(TypeError, match="`titles` must be a sequence of str"):
        plots.flip(PHOTOS[:1], MASKED[:1], 1, 2, titles="ab")


# --- layout --------------------------------------------------------------------------------------


def grid(figure):
    spec = figure.axes[0].get_subplotspec().get_gridspec()
    return spec.nrows, spec.ncols


def test_pairs_stay_together():
    assert grid(plots.flip(PHOTOS, MASKED, OLD, NEW)) == (2, 4)
    assert grid(plots.flip(PHOTOS, MASKED, OLD, NEW, columns=1)) == (3, 2)
    assert grid(plots.flip(PHOTOS, MASKED, OLD, NEW, columns=9)) == (1, 6)
    assert grid(plots.flip(PHOTOS[:1], MASKED[:1], "cat", "dog")) == (1, 2)


def test_given_axes_are_used():
    figure = Figure()
    axes = figure.subplots(1, 2)
    assert plots.flip(PHOTOS[:1], MASKED[:1], "cat", "dog", ax=axes) is figure
    np.testing.assert_allclose(axes[1].images[0].get_array(), MASKED[0])
    with pytest.raises(ValueError, match=r"one Axes per picture, here 6. Received: 2"):
        plots.flip(PHOTOS, MASKED, OLD, NEW, ax=axes)
    with pytest.raises(ValueError, match="`columns` must be left out with `ax`"):
        plots.flip(PHOTOS[:1], MASKED[:1], "cat", "dog", columns=1, ax=axes)


def test_settings_of_matplotlib_stay_and_a_notebook_shows_the_figure():
    before = dict(matplotlib.rcParams)
    figure = plots.flip(PHOTOS, MASKED, OLD, NEW)
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert dict(matplotlib.rcParams) == before


# --- arguments -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"inputs": PHOTOS[0]}, ValueError, r"`inputs` must be images.* \(6, 9, 3\)"),
        ({"inputs": PHOTOS[:0]}, ValueError, r"`inputs` must be images.* \(0, 6, 9, 3\)"),
        ({"inputs": PHOTOS.astype(str)}, TypeError, "`inputs` must hold numbers"),
        ({"masked": PHOTOS[:2]}, ValueError, r"`masked` must have the shape of `inputs`"),
        ({"masked": PHOTOS[..., :1]}, ValueError, r"`masked` must have the shape of `inputs`"),
        ({"masked": PHOTOS.astype(object)}, TypeError, "`masked` must hold numbers"),
        ({"old": OLD[:2]}, ValueError, r"`old` must be the name .* one per image, here 3"),
        ({"old": 0.5}, ValueError, r"`old` must be the name or the index of a class"),
        ({"new": [[1], [2], [3]]}, ValueError, "`new` must be the name or the index"),
        ({"new": [1.0, 2.0, 3.0]}, ValueError, "`new` must be the name or the index"),
        ({"shares": [0.1, 0.2]}, ValueError, r"`shares` must be within \[0, 1\].* here 3"),
        ({"shares": 1.5}, ValueError, r"`shares` must be within \[0, 1\].* 1.5"),
        ({"shares": [0.1, np.nan, 0.2]}, ValueError, "Leave out images whose class never changes"),
        ({"shares": "half"}, ValueError, r"`shares` must be within \[0, 1\]"),
        ({"columns": 0}, ValueError, "`columns` must be at least 1"),
    ],
)
def test_what_does_not_fit_is_refused(changes, error, message):
    given = {"inputs": PHOTOS, "masked": MASKED, "old": OLD, "new": NEW, **changes}
    with pytest.raises(error, match=message):
        plots.flip(**given)
