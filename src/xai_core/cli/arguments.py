"""What can be typed."""

from __future__ import annotations

import argparse
from pathlib import Path

import xai_core

NAME = "xai-core"
PREPROCESS = ("none", "unit", "tf", "torch", "caffe")

_PREPROCESS_HELP = (
    "what the model was trained on: pixels as they are, 0 to 255 (none); 0 to 1 (unit); or as "
    "keras.applications does: -1 to 1 (tf), ImageNet's mean and deviation (torch), BGR less "
    "ImageNet's mean (caffe). Needed for a .keras file; a network of keras.applications brings its "
    "own"
)
_EXPLAIN = (
    "Explain what a Keras model says of images. Each gets a picture (.png) and an Explanation "
    "(.npz) in the output folder, and all together a page (.html) to read or to send."
)
_METHOD_OPTIONS = (
    "A method's own settings are options too: `xai-core methods NAME` lists them. "
    "Example: xai-core explain --model model.keras --images photos --preprocess tf --method "
    "IntegratedGradients --steps 100 --output maps. With a network of keras.applications: xai-core "
    "explain --model MobileNetV2 --weights imagenet --images photos --method GradCAM --output maps"
)


def command_line() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog=NAME, description="Explain what Keras models predict.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"{NAME} {xai_core.__version__}")
    commands = parser.add_subparsers(dest="command", title="commands", metavar="COMMAND")
    parser.set_defaults(takes_more=False)
    demo = commands.add_parser(
        "demo",
        allow_abbrev=False,
        help="train a small network and explain it with every method",
        description="Train a small CNN on scikit-learn's digits, explain held-out images with "
        "every method, draw pictures, and write a page with all of it. Needs no download and takes "
        "about a minute.",
    )
    demo.add_argument(
        "--output",
        type=Path,
        default=Path("xai-core-demo"),
        metavar="DIR",
        help="folder of the page and the pictures, which are replaced (default: %(default)s)",
    )
    _add_explain(commands)
    methods = commands.add_parser(
        "methods",
        help="list the methods, or the options of one",
        description="List the methods, or the options of one.",
    )
    methods.add_argument("name", nargs="?", metavar="NAME", help="a method")
    commands.add_parser(
        "doctor",
        help="show backend, versions and devices",
        description="Show the backend and the rule that chose it, versions, devices, and the "
        "command that installs what is missing.",
    )
    return parser


def _add_explain(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "explain",
        help="explain images with a Keras model",
        description=_EXPLAIN,
        epilog=_METHOD_OPTIONS,
        allow_abbrev=False,
    )
    parser.set_defaults(takes_more=True)
    _add_needed(parser)
    _add_of_model(parser)
    _add_of_results(parser)


def _add_needed(parser: argparse.ArgumentParser) -> None:
    needed = parser.add_argument_group("needed")
    needed.add_argument(
        "--model",
        required=True,
        metavar="FILE|NAME",
        help="a .keras file, loaded safely; or a network of keras.applications, such as "
        "MobileNetV2, with --weights",
    )
    needed.add_argument(
        "--images",
        type=Path,
        nargs="+",
        required=True,
        metavar="PATH",
        help="image files, or folders of them",
    )
    needed.add_argument("--method", required=True, metavar="NAME", help="see `xai-core methods`")
    needed.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="folder of the results"
    )


def _add_of_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--preprocess", choices=PREPROCESS, help=_PREPROCESS_HELP)
    parser.add_argument(
        "--weights",
        metavar="FILE|imagenet",
        help="the weights of a network of keras.applications: a file, or `imagenet`, which "
        "downloads those of Keras; nothing else is ever downloaded",
    )
    parser.add_argument(
        "--size",
        type=int,
        nargs="+",
        metavar="PIXELS",
        help="height and width (or one number for both), of a model that leaves them open, or "
        "of a network of keras.applications",
    )
    parser.add_argument(
        "--class-names",
        type=Path,
        metavar="FILE",
        help="JSON: a list of names, or {index: name}; synonyms after a comma are left out",
    )


def _add_of_results(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--target", metavar="CLASS", help="class index or name (default: the predicted class)"
    )
    parser.add_argument(
        "--top", type=int, default=1, metavar="K", help="also print the K largest raw outputs"
    )
    parser.add_argument(
        "--explainer",
        metavar="NAME",
        help="the method that SmoothGrad, SquareGrad, VarGrad or FORGrad wraps (FORGrad: Saliency "
        "if none is named)",
    )
    parser.add_argument(
        "--score",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="judge the maps by deletion and insertion beside random maps, which costs 156 model "
        "rows per image (default: yes)",
    )
    parser.add_argument(
        "--report",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="write report_METHOD.html, a page of the first 24 images that needs no other file "
        "(default: yes)",
    )
    parser.add_argument("--force", action="store_true", help="overwrite results")
