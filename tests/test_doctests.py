"""The examples in the docstrings of the installed package run on this backend."""

import doctest
import importlib
from pathlib import Path

import pytest

import xai_core
from xai_core import wrappers

ADAPTERS = {"jax_function", "tensorflow_function", "torch_bridge", "torch_module"}
USABLE = {getattr(wrappers, name).__module__.rpartition(".")[2] for name in wrappers.__all__}
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
ROOT = Path(xai_core.__file__).parent
WITH_EXAMPLES = [
    ".".join(["xai_core", *path.relative_to(ROOT).with_suffix("").parts])
    for path in sorted(ROOT.rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8") and path.stem not in ADAPTERS - USABLE
]


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_give_what_they_show(name):
    module = importlib.import_module(name.removesuffix(".__init__"))
    results = doctest.testmod(module, optionflags=FLAGS)
    assert results.attempted > 0
    assert results.failed == 0
