"""Which framework Keras runs on after `import xai_core`.

The cases run in a process of their own, with a fresh home folder, and twice in it: Keras writes
`keras.json` on its first import. Frameworks beside the one under test are hidden from the process.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

from xai_core import _choice

PRESENT = _choice.BACKEND
MISSING = next(name for name in ("torch", "jax") if name != PRESENT)
REPORT = (
    "import os, xai_core, keras;"
    "print('backend', keras.config.backend(), xai_core._choice.BACKEND, xai_core._choice.RULE);"
    "print('variable', os.environ.get('KERAS_BACKEND'))"
)
# What Keras writes on its first import, on every backend.
WRITTEN = {"backend": "tensorflow", "floatx": "float32", "epsilon": 1e-07}


HIDE = """
import sys
from importlib.machinery import PathFinder

class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name in {names} else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Finder
"""


def hide(*names: str) -> str:
    """Return statements after which these are not installed."""
    return HIDE.format(names=names)


OTHERS_HIDDEN = hide(*(name for name in _choice.USABLE if name != PRESENT))


def run(home: Path, code: str, **variables: str) -> subprocess.CompletedProcess:
    """Run a program in which nothing but ``variables`` names a backend."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("KERAS_")}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**own, "HOME": str(home), "USERPROFILE": str(home), **variables},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def reported(done: subprocess.CompletedProcess) -> list[str]:
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.splitlines() if line.startswith(("backend", "variable"))]


def refused(done: subprocess.CompletedProcess) -> str:
    assert done.returncode == 1, done.stdout
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: "), done.stderr
    return last


def write(folder: Path, **settings: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "keras.json").write_text(json.dumps(settings), encoding="utf-8")


def runs(tmp_path: Path, code: str, **variables: str) -> list[subprocess.CompletedProcess]:
    """Run twice in one home; the second time `keras.json` is there."""
    first = run(tmp_path, code, **variables)
    if not (tmp_path / ".keras" / "keras.json").exists():
        write(tmp_path / ".keras", **WRITTEN)
    return [first, run(tmp_path, code, **variables)]


def test_nothing_named_takes_the_only_framework(tmp_path):
    for done in runs(tmp_path, OTHERS_HIDDEN + REPORT):
        backend, variable = reported(done)
        assert backend.startswith(f"backend {PRESENT} {PRESENT} ")
        assert variable == "variable None"
    settings = json.loads((tmp_path / ".keras" / "keras.json").read_text(encoding="utf-8"))
    assert settings["backend"] == "tensorflow"


def test_nothing_installed_names_the_three_extras(tmp_path):
    for done in runs(tmp_path, hide(*_choice.USABLE) + REPORT):
        message = refused(done)
        assert all(f'pip install "xai-core[{name}]"' in message for name in _choice.USABLE)


def test_a_variable_that_names_a_missing_framework_is_refused(tmp_path):
    for done in runs(tmp_path, hide(MISSING) + REPORT, KERAS_BACKEND=MISSING):
        message = refused(done)
        assert f"'{MISSING}', named by the environment variable KERAS_BACKEND," in message
        assert f'pip install "xai-core[{MISSING}]"' in message
        assert PRESENT in message


def test_a_file_that_names_a_missing_framework_is_refused(tmp_path):
    write(tmp_path / ".keras", backend=MISSING)
    for done in runs(tmp_path, hide(MISSING) + REPORT):
        message = refused(done)
        assert f"'{MISSING}', named by " in message
        assert "keras.json" in message
        assert f'pip install "xai-core[{MISSING}]"' in message


@pytest.mark.parametrize("backend", ["numpy", "openvino"])
@pytest.mark.parametrize("where", ["variable", "file"])
def test_a_backend_without_gradients_is_refused(tmp_path, backend, where):
    if where == "file":
        write(tmp_path / ".keras", backend=backend)
    variables = {"KERAS_BACKEND": backend} if where == "variable" else {}
    for done in runs(tmp_path, REPORT, **variables):
        message = refused(done)
        assert f"'{backend}', named by" in message
        assert "Usable are jax, tensorflow, torch." in message
        assert f"installed: {PRESENT}" in message


def test_a_keras_that_is_already_imported_is_taken_as_it_is(tmp_path):
    named = f"import os; os.environ['KERAS_BACKEND'] = {PRESENT!r}; import keras;"
    renamed = "os.environ['KERAS_BACKEND'] = 'numpy';"
    for done in runs(tmp_path, named + renamed + REPORT):
        backend, variable = reported(done)
        assert backend.startswith(f"backend {PRESENT} {PRESENT} Keras was imported before")
        assert variable == "variable numpy"


def test_an_imported_keras_without_gradients_is_refused(monkeypatch):
    monkeypatch.setattr(keras.config, "backend", lambda: "numpy")
    with pytest.raises(ImportError, match=r"'numpy', of the Keras that is already imported, .*jax"):
        _choice.choose()


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Return a machine without Keras, of which a test says what is installed and named."""

    def set_up(*installed: str, named: str | None = None, **settings: object) -> None:
        monkeypatch.delitem(sys.modules, "keras")
        monkeypatch.setattr(_choice, "_is_installed", lambda name: name in installed)
        monkeypatch.setenv("KERAS_HOME", str(tmp_path))
        if named is None:
            monkeypatch.delenv("KERAS_BACKEND", raising=False)
        else:
            monkeypatch.setenv("KERAS_BACKEND", named)
        if settings:
            write(tmp_path, **settings)

    return set_up


@pytest.mark.parametrize("settings", [{}, {"backend": "tensorflow"}, {"floatx": "float32"}])
@pytest.mark.parametrize(
    ("installed", "taken"),
    [
        (("jax", "tensorflow", "torch"), "tensorflow"),
        (("jax", "torch"), "jax"),
        (("torch",), "torch"),
    ],
)
def test_the_default_gives_way_to_what_is_installed(machine, settings, installed, taken):
    machine(*installed, **settings)
    backend, rule = _choice.choose()
    assert backend == taken
    assert "KERAS_BACKEND" in rule or "is not installed" in rule


def test_the_variable_wins_over_the_file(machine):
    machine("jax", "torch", named="torch", backend="jax")
    assert _choice.choose() == ("torch", "The environment variable KERAS_BACKEND names it.")


def test_an_empty_variable_names_nothing(machine):
    machine("jax", "torch", named="", backend="torch")
    assert _choice.choose()[0] == "torch"


def test_the_file_wins_over_the_default(machine):
    machine("jax", "tensorflow", "torch", backend="torch")
    assert _choice.choose()[0] == "torch"


@pytest.mark.parametrize("text", ["", "{", "[1]"])
def test_a_file_that_holds_no_settings_names_nothing(machine, tmp_path, text):
    machine("jax")
    (tmp_path / "keras.json").write_text(text, encoding="utf-8")
    assert _choice.choose()[0] == "jax"


def test_an_unknown_name_is_refused_with_the_usable_ones(machine):
    machine("jax", named="mxnet")
    with pytest.raises(ImportError, match=r"'mxnet'.*Usable are jax, tensorflow, torch"):
        _choice.choose()


def test_a_bare_folder_is_no_framework(tmp_path, monkeypatch):
    (tmp_path / "not_a_package").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert not _choice._is_installed("not_a_package")
    assert _choice._is_installed(PRESENT)


def test_a_failing_import_leaves_the_variable_as_it_was(monkeypatch):
    def fail(name):
        raise RuntimeError(name)

    monkeypatch.setattr(_choice.importlib, "import_module", fail)
    for before in ("", "jax"):
        monkeypatch.setenv("KERAS_BACKEND", before)
        with pytest.raises(RuntimeError, match="keras"):
            _choice.import_keras("torch")
        assert os.environ["KERAS_BACKEND"] == before
