"""What `import xai_core` costs and changes, each seen in a process of its own."""

import importlib.metadata
import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import xai_core

BEFORE = "import json, os, sys; environment = dict(os.environ);"
AFTER = (
    ";print(json.dumps({'modules': sorted(sys.modules),"
    " 'environment': {k: v for k, v in os.environ.items() if environment.get(k) != v},"
    " 'removed': sorted(set(environment) - set(os.environ))}))"
)


def after(statement: str) -> dict:
    """Return the modules and the changed environment variables after a statement."""
    done = subprocess.run(
        [sys.executable, "-c", BEFORE + statement + AFTER],
        env={**os.environ, "KERAS_BACKEND": xai_core._choice.BACKEND},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def states() -> dict[str, dict]:
    return {name: after(f"import {name}") for name in ("keras", "xai_core")}


def test_the_import_adds_nothing_to_what_keras_loads(states):
    added = set(states["xai_core"]["modules"]) - set(states["keras"]["modules"])
    others = {name for name in added if name.partition(".")[0] != "xai_core"}
    assert not {name for name in others if name.partition(".")[0] not in sys.stdlib_module_names}
    assert "xai_core.attributions" not in added


def test_the_import_leaves_the_environment_as_keras_does(states):
    keras, ours = states["keras"], states["xai_core"]
    assert ours["environment"] == keras["environment"]
    assert ours["removed"] == keras["removed"] == []


def test_the_tests_run_on_the_installed_package():
    """Run them with `nox -s "tests(jax)"`, which installs the built wheel."""
    installed = Path(sysconfig.get_path("purelib"), "xai_core", "__init__.py")
    assert Path(xai_core.__file__).resolve() == installed.resolve()


def test_the_version_is_that_of_the_distribution():
    assert xai_core.__version__ == importlib.metadata.version("xai-core")


def test_the_package_is_marked_as_typed():
    assert Path(xai_core.__file__).with_name("py.typed").is_file()


def test_a_typo_is_an_attribute_error_with_the_near_name():
    with pytest.raises(AttributeError, match="module 'xai_core' has no attribute 'atributions'"):
        _ = xai_core.atributions
    assert not hasattr(xai_core, "no_such_name")
