"""What users get wrong with pairs, functions of tensors, torch modules and volumes."""

import importlib.util

import numpy as np
import pytest
from keras import layers, ops

import tiny_models
import xai_core as xai
from bad_rows import Row, check
from tiny_models import BACKEND, KINDS
from xai_core import wrap, wrappers
from xai_core.attributions import FORGrad, GradCAM, GradCAMPlusPlus, Occlusion, Saliency

X, IMAGES = KINDS["table"].inputs(3), KINDS["image"].inputs(3)
VOLUMES = KINDS["volume"].inputs(3)
PAIR = "(features, head)"


def flat():
    return tiny_models.model("image", "pairs")


def cut(name="conv2"):
    return tiny_models.cut(flat(), name)


def cam(layer, **fields):
    return GradCAM(flat(), layer=layer, **fields)(IMAGES, 0)


def changed(change):
    """A pair whose head changes the output."""
    features, head = cut()
    return lambda: cam((features, lambda maps: change(head(maps))))


def named(name):
    return lambda: getattr(wrappers, name)


def volume(**fields):
    return Occlusion(tiny_models.model("volume"), **fields)(VOLUMES, 0)


ROWS = [
    # Pairs
    Row(
        "head of another model",
        changed(lambda y: y + 1),
        ValueError,
        ("`layer`", "head(features(x)) = f(x)", "differ by"),
    ),
    Row("head of fewer classes", changed(lambda y: y[:, :2]), ValueError, ("`layer`", "(1, 2)")),
    Row("head of NaN", changed(lambda y: y * np.nan), ValueError, ("`layer`", "nan", "f(x)")),
    Row("swapped halves", lambda: cam(cut()[::-1]), ValueError, ("`layer`", "f(x)", "error")),
    Row(
        "halves of another model's weights",
        lambda: cam(tiny_models.cut(tiny_models.fresh("image"), "conv2")),
        ValueError,
        ("`layer`", "parts of this very model", "weights of its own", "layer.output"),
    ),
    Row("cut where space is gone", lambda: cam(cut("gap")), ValueError, ("`layer`", "4 axes")),
    Row("half a pair", lambda: cam((lambda x: x,)), TypeError, ("`layer`", PAIR)),
    Row("pair of names", lambda: cam(("conv1", "conv2")), TypeError, ("`layer`", PAIR, "conv1")),
    Row("list for a pair", lambda: cam(list(cut())), (TypeError, ValueError), ("`layer`",)),
    Row("second call of a pair", lambda: cam(cut(), call=1), ValueError, ("`call`", "less than 1")),
    Row(
        "pair for a table",
        lambda: GradCAMPlusPlus(tiny_models.model("table"), layer=(lambda x: x, lambda y: y))(X),
        ValueError,
        ("`GradCAMPlusPlus`", "(3, 4)"),
    ),
    Row(
        "pair for a black box",
        lambda: GradCAM(lambda x: x, layer=(lambda x: x, lambda y: y)),
        TypeError,
        ("`model`", "gradients", "black box"),
    ),
    # Volumes
    Row(
        "patch of an image for a volume",
        lambda: volume(patch_size=(2, 2)),
        ValueError,
        ("`patch_size`", "3 axes", "(2, 2)"),
    ),
    Row(
        "patch thicker than a volume",
        lambda: volume(patch_size=3),
        ValueError,
        ("`patch_size`", "at most", "2", "3"),
    ),
    Row(
        "mask of one slice",
        lambda: volume(feature_mask=np.zeros((3, 4), int)),
        ValueError,
        ("`feature_mask`", "(2, 5, 4, 2)", "(3, 4)"),
    ),
    Row(
        "volume without its channels",
        lambda: Saliency(tiny_models.model("volume"))(VOLUMES[..., 0]),
        ValueError,
        ("`inputs`", "(3, 2, 5, 4)"),
    ),
    Row(
        "volumes that move",
        lambda: Saliency(tiny_models.model("volume"))(VOLUMES[:, None]),
        ValueError,
        ("`inputs`", "(3, 1, 2, 5, 4, 2)"),
    ),
    Row(
        "map of another depth",
        lambda: xai.metrics.Deletion(tiny_models.model("volume"))(
            np.ones((3, 3, 5, 4, 1)), VOLUMES, 0
        ),
        ValueError,
        ("`explanations`", "(3, 3, 5, 4, 1)"),
    ),
    Row(
        "plot of a volume",
        lambda: xai.plots.attributions(np.ones((3, 2, 5, 4, 1))),
        ValueError,
        ("`explanations`", "images", "(3, 2, 5, 4, 1)"),
    ),
    Row(
        "filter of no frequencies",
        lambda: FORGrad(Saliency(tiny_models.model("volume")), sigma=0)(VOLUMES),
        ValueError,
        ("`sigma`", "0"),
    ),
    Row("unknown wrapper", named("NumPyFunction"), AttributeError, ("NumPyFunction",)),
]

OTHERS = {"jax": "JaxFunction", "tensorflow": "TensorFlowFunction"}
ROWS += [
    Row(f"{name} elsewhere", named(name), ImportError, (f"`{name}`", backend))
    for backend, name in OTHERS.items()
    if backend != BACKEND
]

# --- functions of tensors -----------------------------------------------------------------------

if BACKEND != "torch":
    Function = getattr(wrappers, OTHERS[BACKEND])
    MISFIT = "must be what the model takes"

    def trunk(x):
        return x * 2.0

    def explained(f, x=X, **options):
        return lambda: Saliency(Function(f, **options))(x, 0)

    def function_cam(layer):
        f = Function(lambda x: ops.mean(x * 2.0, axis=(1, 2)))
        return lambda: GradCAM(f, layer=layer)(IMAGES, 0)

    ROWS += [
        Row(
            "gradients of a bare function",
            lambda: Saliency(trunk),
            TypeError,
            ("`model`", "trunk", f"{Function.__name__}(f)"),
        ),
        Row("number for a function", lambda: Function(3), TypeError, ("`source`", "function")),
        Row("class for a function", lambda: Function(dict), TypeError, ("`source`", "function")),
        Row("layer of a function", function_cam("conv"), ValueError, ("`layer`", PAIR, "'conv'")),
        Row("no layer of a function", function_cam(None), ValueError, ("`layer`", PAIR, "none")),
        Row(
            "head of a function that does not fit",
            function_cam((trunk, lambda maps: ops.max(maps, axis=(1, 2)))),
            ValueError,
            ("`layer`", "f(x)", "differ by"),
        ),
        Row(
            "head that fails",
            function_cam((trunk, lambda maps: maps["maps"])),
            ValueError,
            ("`layer`", "f(x)", "error"),
        ),
        Row(
            "outputs without a choice",
            explained(lambda x: {"boxes": x, "classes": x}),
            ValueError,
            ("`select`", "'boxes'", "'classes'"),
        ),
        Row(
            "unknown output",
            explained(lambda x: {"boxes": x}, select="masks"),
            ValueError,
            ("`select`", "'masks'", "'boxes'"),
        ),
        Row(
            "output beyond the last",
            explained(lambda x: (x, x), select=2),
            ValueError,
            ("`select`", "2 outputs"),
        ),
        Row(
            "choice that is no tensor",
            explained(lambda x: (x, "text"), select=1),
            ValueError,
            ("`select`", "2 outputs"),
        ),
        Row("function of a word", explained(lambda x: "text"), TypeError, ("`model`", "str")),
        Row(
            "inputs by the wrong names",
            explained(lambda x: x["table"], {"series": X, "other": X}),
            ValueError,
            ("`inputs`", MISFIT, "keyerror"),
        ),
        Row(
            "too few columns",
            explained(lambda x: ops.matmul(x, ops.ones((4, 2))), X[:, :3]),
            ValueError,
            ("`inputs`", MISFIT, "(3, 3)"),
        ),
    ]

if BACKEND == "jax":

    def linear(params, x):
        return x @ params["w"]

    def with_params(params):
        return lambda: Saliency(Function(linear, params))(X, 0)

    ROWS += [
        Row("no parameters", lambda: Function(linear, {}), TypeError, ("`params`", "dict")),
        Row("words for parameters", with_params("w"), TypeError, ("`params`", "arrays", "str")),
        Row(
            "parameters of another structure",
            with_params([np.ones((4, 2))]),
            ValueError,
            ("`inputs` and `params`", MISFIT),
        ),
        Row(
            "parameters of another shape",
            with_params({"w": np.ones((3, 2))}),
            ValueError,
            ("`inputs` and `params`", MISFIT, "(3, 4)"),
        ),
        Row(
            "forgotten parameters",
            lambda: Saliency(Function(linear))(X, 0),
            ValueError,
            ("`inputs`", MISFIT, "missing"),
        ),
    ]

# --- torch modules ------------------------------------------------------------------------------

if importlib.util.find_spec("torch") is None:
    ROWS.append(
        Row("no torch", named("TorchWrapper"), ImportError, ("`TorchWrapper`", "needs torch"))
    )
else:
    import torch
    from torch import nn

    from xai_core.wrappers import TorchWrapper

    MODULE = tiny_models.torch_twin("image")
    FIRST = np.moveaxis(IMAGES, -1, 1)

    def dense():
        return nn.Linear(4, 3).eval()

    def wrapped(*given, **options):
        return lambda: TorchWrapper(*given, **options)

    def torch_cam(*layer):
        return lambda: GradCAM(MODULE, layer=layer)(FIRST, 0)

    class Two(nn.Module):
        def forward(self, x):
            return {"boxes": x, "classes": x}

    ROWS += [
        Row("no module", wrapped(3), TypeError, ("`module`", "torch.nn.Module", "int")),
        Row("function for a module", wrapped(flat), TypeError, ("`module`", "torch.nn.Module")),
        Row(
            "layer of Keras for a module",
            wrapped(layers.Dense(2)),
            TypeError,
            ("`module`", "no layer of Keras"),
        ),
        Row("model of Keras for a module", lambda: TorchWrapper(flat()), TypeError, ("`module`",)),
        Row(
            "module that trains",
            lambda: Saliency(nn.Linear(4, 3)),
            ValueError,
            ("`model`", "evaluation mode", "module.eval()"),
        ),
        Row("no device", wrapped(dense(), "gpu"), ValueError, ("`device`", "'gpu'", "torch")),
        Row("number for a device", wrapped(dense(), 0.5), ValueError, ("`device`", "0.5")),
        Row(
            "module on another device",
            wrapped(dense(), "meta"),
            ValueError,
            ("`device`", "cpu", "meta", "never moved", "module.to(device)"),
        ),
        Row("layout", wrapped(dense(), None, "NCHW"), ValueError, ("`data_format`", "'NCHW'")),
        Row(
            "module of two outputs",
            lambda: Saliency(Two().eval())(X, 0),
            ValueError,
            ("`select`", "'boxes'", "'classes'"),
        ),
        Row(
            "unknown output of a module",
            lambda: Saliency(wrap(Two().eval(), select="masks"))(X, 0),
            ValueError,
            ("`select`", "'masks'", "'boxes'"),
        ),
        Row(
            "images of another depth",
            lambda: Saliency(MODULE)(FIRST[:, :1], 0),
            ValueError,
            ("`inputs`", "must be what the model takes", "(3, 1, 7, 10)"),
        ),
        Row(
            "head of a module that does not fit",
            torch_cam(MODULE[:5], nn.Sequential(MODULE[5:], nn.Tanh().eval())),
            ValueError,
            ("`layer`", "f(x)", "differ by"),
        ),
        Row(
            "halves that do not meet",
            torch_cam(MODULE[:5], MODULE[:5]),
            ValueError,
            ("`layer`", "f(x)", "error"),
        ),
        Row(
            "half that trains",
            torch_cam(MODULE[:5], nn.Sequential(MODULE[5:], nn.Dropout())),
            ValueError,
            ("`layer`", "evaluation mode"),
        ),
    ]

    if BACKEND != "torch":
        ROWS += [
            Row(
                "layer of a bridge",
                lambda: GradCAM(MODULE, layer="act2"),
                ValueError,
                ("`layer`", "pair of modules", "KERAS_BACKEND=torch", "'act2'"),
            ),
            Row(
                "half of a bridge that is no module",
                torch_cam(torch.tanh, MODULE),
                TypeError,
                ("`layer`", PAIR, "torch modules"),
            ),
        ]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_wrong_model(row):
    check(row)


def test_good_calls_beside_the_bad_ones():
    assert cam(cut()).values.shape == (3, 7, 10, 1)
    assert volume(patch_size=(2, 2, 1)).values.shape == (3, 2, 5, 4, 1)
