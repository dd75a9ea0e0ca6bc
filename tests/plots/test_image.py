"""What is shown of a map over an image."""

import io

import numpy as np
import pytest

from xai_core import plots
from xai_core.explanation import Explanation
from xai_core.plots.image import displayable, heat

RNG = np.random.default_rng(1)
PHOTO = RNG.random((1, 6, 9, 3))
MAP = RNG.random((1, 6, 9, 1))


def one(figure):
    return next(ax for ax in figure.axes if ax.get_label() != "<colorbar>")


def overlay(*args, **options):
    """Return the axes' images: the picture, then the map (or the map alone)."""
    figure = plots.attributions(*args, **options)
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    return one(figure).images


def test_a_map_over_an_image_leaves_the_image_visible():
    picture, shown = overlay(MAP, PHOTO)
    np.testing.assert_allclose(picture.get_array(), PHOTO[0])
    np.testing.assert_allclose(shown.get_array(), MAP[0, ..., 0], rtol=1e-6)
    assert 0 < shown.get_alpha() < 1
    assert picture.get_extent() == shown.get_extent()
    assert overlay(MAP, PHOTO, alpha=0.25)[1].get_alpha() == 0.25


def test_a_map_alone_is_opaque():
    (shown,) = overlay(MAP)
    assert shown.get_alpha() in (None, 1)
    assert overlay(MAP, alpha=0.5)[0].get_alpha() == 0.5


def test_the_map_of_a_layer_is_stretched_over_the_image():
    picture, shown = overlay(MAP[:, ::3, ::3], PHOTO)
    assert shown.get_array().shape == (2, 3)
    assert shown.get_extent() == picture.get_extent()


# --- colour scales -------------------------------------------------------------------------------


def test_signed_maps_are_centred_at_zero():
    values = MAP - 0.2
    (shown,) = overlay(values, clip=0)
    assert shown.norm.vmin == -shown.norm.vmax
    assert shown.norm.vmax == pytest.approx(np.abs(values).max(), rel=1e-6)
    middle = shown.cmap(shown.norm(0.0))
    assert min(middle[:3]) > 0.9
    red, blue = shown.cmap(shown.norm(1.0)), shown.cmap(shown.norm(-1.0))
    assert red[0] > red[2]
    assert blue[2] > blue[0]


def test_unsigned_maps_are_sequential():
    (shown,) = overlay(MAP, clip=0)
    assert (shown.norm.vmin, shown.norm.vmax) == pytest.approx((MAP.min(), MAP.max()), rel=1e-6)
    brightness = shown.cmap(np.linspace(0, 1, 9))[:, :3].sum(axis=1)
    assert (np.diff(brightness) > 0).all()


def test_the_sign_is_that_of_the_whole_explanation():
    values = np.concatenate([MAP, -MAP])
    figure = plots.attributions(values)
    lows = [ax.images[0].norm.vmin for ax in figure.axes if ax.get_label() != "<colorbar>"]
    assert max(lows) < 0


def test_under_a_signed_map_the_image_is_grey():
    assert overlay(MAP - 0.5, PHOTO)[0].get_array().shape == (6, 9)
    assert overlay(MAP, PHOTO)[0].get_array().shape == (6, 9, 3)


@pytest.mark.parametrize("sign", [1, -1])
def test_over_bright_parts_of_an_image_a_large_value_is_darker_than_a_small_one_over_dark(sign):
    values, photo = np.zeros((1, 4, 4, 1)), np.zeros((1, 4, 4, 3))
    values[0, :, 0], values[0, :, 1], values[0, :, 3] = 1.0 * sign, 0.7 * sign, -1.0 * sign
    photo[0, :, 0] = 1.0
    under, shown = overlay(values, photo, clip=0)
    alpha = shown.get_alpha()
    colors = shown.cmap(shown.norm(shown.get_array()))[..., :3]
    seen = alpha * colors + (1 - alpha) * under.get_array()[..., None]
    large, small = seen[0, 0].sum(), seen[0, 1].sum()
    assert large < small


@pytest.mark.parametrize("cmap", ["viridis", "from an object"])
def test_a_colormap_is_obeyed(cmap):
    import matplotlib

    given = matplotlib.colormaps["viridis"] if cmap != "viridis" else cmap
    assert overlay(MAP - 0.5, cmap=given)[0].cmap.name == "viridis"


def test_scale_shared_or_per_map():
    values = np.concatenate([MAP, 10 * MAP, -3 * MAP])

    def norms(scale):
        figure = plots.attributions(list(values[:, None]), scale=scale, clip=0)
        return [
            (ax.images[0].norm.vmin, ax.images[0].norm.vmax)
            for ax in figure.axes
            if ax.get_label() != "<colorbar>"
        ]

    shared, alone = norms("shared"), norms("map")
    assert len(set(shared)) == 1
    assert shared[0][1] == -shared[0][0] == pytest.approx(10 * MAP.max(), rel=1e-6)
    assert [high for _, high in alone] == pytest.approx(
        [MAP.max(), 10 * MAP.max(), 3 * MAP.max()], rel=1e-6
    )


def test_clip_is_robust_to_a_few_extreme_pixels():
    values = RNG.random((1, 50, 50, 1))
    values[0, 0, 0] = 1e6
    assert overlay(values)[0].norm.vmax < 1.1
    assert overlay(values, clip=0)[0].norm.vmax == pytest.approx(1e6)
    assert overlay(values, clip=20)[0].norm.vmax == pytest.approx(0.8, abs=0.05)
    assert overlay(values, clip=20)[0].norm.vmin == pytest.approx(0.2, abs=0.05)
    values[0, 0, 0] = -1e6
    assert overlay(values)[0].norm.vmin > -1.1


def test_a_few_pixels_on_zeros_are_not_clipped_away():
    values = np.zeros((1, 100, 100, 1))
    values[0, 3, 3] = 2
    assert (overlay(values)[0].norm.vmin, overlay(values)[0].norm.vmax) == (0, 2)
    values[0, 3, 3] = -2
    assert (overlay(values)[0].norm.vmin, overlay(values)[0].norm.vmax) == (-2, 2)


@pytest.mark.parametrize("value", [0.0, 3.0, -3.0, 1e-30, 3e38, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("scale", ["map", "shared"])
def test_constant_maps_are_drawn_without_a_warning(value, scale):
    values = np.full((2, 6, 9, 1), value, np.float32)
    figure = plots.attributions(values, np.repeat(PHOTO, 2, axis=0), scale=scale)
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    norm = one(figure).images[1].norm
    assert np.isfinite([norm.vmin, norm.vmax]).all()
    assert norm.vmin < norm.vmax


def test_the_smallest_and_largest_floats_are_drawn():
    values = np.zeros((1, 6, 9, 3), np.float32)
    values[0, 0, 0] = [3e38, 3e38, 3e38]
    values[0, 1, 1] = -3e38
    overlay(values, PHOTO)


def test_gaps_in_a_map_show_the_image():
    values = MAP.copy()
    values[0, 2, 3] = np.nan
    values[0, 2, 4] = np.inf
    picture, shown = overlay(values, PHOTO)
    colors = shown.to_rgba(shown.get_array())
    assert colors[2, 3, 3] == colors[2, 4, 3] == 0
    assert picture.get_array().shape == (6, 9, 3)


# --- channels ------------------------------------------------------------------------------------


def test_several_channels_of_a_map_are_summed():
    values = RNG.standard_normal((2, 6, 9, 3))
    np.testing.assert_allclose(heat(values, "channels_last"), values.sum(-1))
    (shown,) = overlay(values[:1])
    np.testing.assert_allclose(shown.get_array(), values[0].sum(-1), rtol=1e-5, atol=1e-6)


def test_channels_first_is_taken_from_the_explanation():
    values, photo = np.moveaxis(MAP, -1, 1), np.moveaxis(PHOTO, -1, 1)
    first = Explanation(values, "M", data_format="channels_first")
    picture, shown = overlay(first, photo)
    np.testing.assert_allclose(picture.get_array(), PHOTO[0])
    np.testing.assert_allclose(shown.get_array(), MAP[0, ..., 0], rtol=1e-6)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("rank", [3, 4])
def test_the_layout_of_plain_arrays_is_found(first, rank):
    photo = np.moveaxis(PHOTO, -1, 1) if first else PHOTO
    values = MAP[..., 0] if rank == 3 else np.moveaxis(MAP, -1, 1) if first else MAP
    picture, shown = overlay(values, photo)
    np.testing.assert_allclose(picture.get_array(), PHOTO[0])
    np.testing.assert_allclose(shown.get_array(), MAP[0, ..., 0], rtol=1e-6)


@pytest.mark.parametrize("channels", [1, 2, 4, 7])
def test_other_than_three_channels_are_grey(channels):
    photo = RNG.random((1, 6, 9, channels))
    picture, _ = overlay(MAP, photo)
    np.testing.assert_allclose(picture.get_array(), photo[0].mean(-1))
    assert picture.cmap.name == "gray"
    assert (picture.norm.vmin, picture.norm.vmax) == (0, 1)


# --- pictures ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (PHOTO[0], PHOTO[0]),
        (PHOTO[0] * 0.3 + 0.2, PHOTO[0] * 0.3 + 0.2),
        ((np.arange(27).reshape(3, 3, 3) * 9).astype(np.uint8), None),
        (np.full((3, 3, 3), 200, np.uint8), np.full((3, 3, 3), 200 / 255)),
        (np.ones((3, 3, 3), np.uint8), np.ones((3, 3, 3))),
        (np.full((3, 3, 3), 7.0), np.ones((3, 3, 3))),
        (np.full((3, 3, 3), -7.0), np.zeros((3, 3, 3))),
        (np.full((3, 3, 3), 0.4), np.full((3, 3, 3), 0.4)),
    ],
)
def test_pictures_are_shown_within_0_and_1(image, expected):
    shown = displayable(image[None], "channels_last")[0]
    expected = image / 255 if expected is None else expected
    np.testing.assert_allclose(shown, expected, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64, np.int8])
def test_pictures_outside_are_stretched_one_by_one(dtype):
    images = np.stack([PHOTO[0] * 100 - 50, PHOTO[0] * 3 - 1]).astype(dtype)
    shown = displayable(images, "channels_last")
    for one_shown in shown:
        assert (one_shown.min(), one_shown.max()) == pytest.approx((0, 1))


def test_odd_pictures_give_no_warning():
    images = np.stack([PHOTO[0]] * 2)
    images[0, 0, 0, 0], images[0, 1, 1, 1] = np.nan, np.inf
    images[1, 0, 0], images[1, 1, 1] = 1.7e308, -1.7e308
    shown = displayable(images, "channels_last")
    assert np.isfinite(shown).all()
    assert shown.min() >= 0
    assert shown.max() <= 1


def test_a_long_image_keeps_its_shape():
    figure = plots.attributions(np.ones((1, 3, 90, 1)))
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    assert one(figure).get_aspect() == 1
