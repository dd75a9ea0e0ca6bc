"""What every test file shares: the backend is the one that KERAS_BACKEND names."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")
# Threads cost more than they give on models of this size.
os.environ.setdefault("OMP_NUM_THREADS", "1")
if "JAX_COMPILATION_CACHE_DIR" in os.environ:
    # One process must not read what another is still writing.
    os.environ["JAX_COMPILATION_CACHE_DIR"] += os.environ.get("PYTEST_XDIST_WORKER", "")

import gc
import random
import sys
from pathlib import Path

import keras
import pytest

import xai_core

# Tests of native modules do not exist on the other backends.
collect_ignore = (
    [] if keras.backend.backend() == "torch" else ["attributions/test_torch_modules.py"]
)


# Rarer: what is compiled makes millions of objects, all of which a collection looks at.
gc.set_threshold(50_000, 20, 50)

MAPS = Path("/proc/self/maps")
MOST_MAPS = 25_000
"""Each compiled step holds a few areas of memory, of which Linux gives a process 65,530."""


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup():
    """Draw the same weights in every run, in whatever order fixtures are made."""
    seed()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call():
    """The same for what tests make themselves."""
    seed()


def seed():
    """Keras takes its seeds from `random`; its own function would empty TensorFlow's caches."""
    random.seed(0)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="module")
def compiled_steps_go():
    """After a file, drop what JAX has compiled if there is too much of it."""
    yield
    if keras.backend.backend() != "jax" or not MAPS.exists():
        return
    if MAPS.read_bytes().count(b"\n") > MOST_MAPS:
        import jax

        xai_core.clear_cache()
        jax.clear_caches()
        gc.collect()


@pytest.fixture(autouse=True)
def global_state_stays():
    """No test may end with another Keras configuration than it began with."""

    def state():
        return keras.config.floatx(), keras.config.image_data_format(), keras.config.dtype_policy()

    before = state()
    yield
    assert state() == before
