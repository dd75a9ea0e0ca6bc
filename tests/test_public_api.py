"""What a new public name brings with it: these tests name the part that is missing."""

import ast
import enum
import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from types import ModuleType

import pytest

import xai_core
from cases import CASES
from xai_core import attributions, metrics

PROJECT = Path(__file__).parents[1]
METHODS = attributions.__all__
METRICS = [name for name in metrics.__all__ if hasattr(getattr(metrics, name), "source")]
PUBLISHED = {
    **{name: getattr(attributions, name) for name in METHODS},
    **{name: getattr(metrics, name) for name in METRICS},
}
MODULES = [name for name in xai_core.__all__ if isinstance(getattr(xai_core, name), ModuleType)]
PUBLIC = [name for name in xai_core.__all__ if name not in {*MODULES, "__version__"}] + [
    f"{module}.{name}" for module in MODULES for name in getattr(xai_core, module).__all__
]


def lines(name: str) -> list[str]:
    return (PROJECT / name).read_text(encoding="utf-8").splitlines()


def find(dotted: str):
    found = xai_core
    for name in dotted.split("."):
        found = getattr(found, name)
    return found


def section(text: str, *titles: str) -> str:
    """Return what stands under these headings of a numpydoc docstring."""
    parts = re.split(r"^(.+)\n-{3,}\n", text, flags=re.MULTILINE)
    found = dict(zip(parts[1::2], parts[2::2], strict=True))
    return "\n".join(found.get(title, "") for title in titles)


def documented_names(text: str) -> set[str]:
    entries = re.findall(
        r"^([\w*][^:\n]*)", section(text, "Parameters", "Attributes"), re.MULTILINE
    )
    return {name.strip().lstrip("*") for entry in entries for name in entry.split(",")}


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_held_to_the_contract_by_a_row(name):
    assert [case.name for case in CASES].count(name) == 1


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_method_or_metric_has_a_test_file(name):
    package, module = PUBLISHED[name].__module__.split(".")[1:]
    assert (PROJECT / "tests" / package / f"test_{module}.py").is_file()


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_method_or_metric_stands_in_the_changelog(name):
    assert any(line.startswith("- ") and f"`{name}`" in line for line in lines("CHANGELOG.md"))


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_method_or_metric_stands_in_a_table_of_the_readme(name):
    assert any(line.startswith("|") and f"`{name}`" in line for line in lines("README.md"))


def test_the_names_that_stand_for_those_of_xplique_exist():
    rows = [line.split(" | ") for line in lines("README.md") if line.startswith("| ")]
    start = next(k for k, row in enumerate(rows) if row[0] == "| Xplique")
    cells = [row[1] for row in rows[start + 1 :] if len(row) > 1]
    dotted = {name for cell in cells for name in re.findall(r"`([a-z]+\.\w+)", cell)}
    # Wrappers of a framework exist where that is installed.
    dotted = {name for name in dotted if name.split(".")[0] in set(MODULES) - {"wrappers"}}
    classes = {name for cell in cells for name in re.findall(r"`([A-Z]\w+)[`(]", cell)}
    classes -= {"TypeError", "ValueError"}
    assert min(len(dotted), len(classes)) > 5
    assert all(find(name) is not None for name in dotted)
    assert classes <= {*PUBLISHED, *xai_core.__all__}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_method_or_metric_says_who_published_it(name):
    source = PUBLISHED[name].source
    assert re.search(r"\b(19|20)\d\d\b.*https://\S+$", source), source


def test_rows_name_methods_that_exist():
    assert {case.name for case in CASES} == set(METHODS)


@pytest.mark.parametrize(("package", "public"), [(attributions, METHODS), (metrics, METRICS)])
def test_every_concrete_explainer_and_metric_is_public(package, public):
    found = set()
    for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        module = importlib.import_module(info.name)
        found |= {
            name
            for name, value in vars(module).items()
            if inspect.isclass(value)
            and value.__module__ == info.name
            and isinstance(getattr(value, "source", None), str)
            and not name.startswith(("_", "Abstract"))
        }
    assert found == set(public)


def test_everything_public_can_be_had_and_is_listed():
    assert set(xai_core.__all__) <= set(dir(xai_core))
    assert list(xai_core.__all__) == sorted(xai_core.__all__)
    assert all(find(name) is not None for name in [*xai_core.__all__, *PUBLIC])
    packages = {info.name for info in pkgutil.iter_modules(xai_core.__path__) if info.ispkg}
    folders = packages - {"_backend", "cli"}
    assert folders <= set(MODULES)


def test_type_checkers_see_what_is_loaded_lazily():
    tree = ast.parse(Path(xai_core.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    names = {alias.name for node in block.body for alias in node.names}
    assert names | {"__version__"} == set(xai_core.__all__)


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_is_documented(name):
    value = find(name)
    text = inspect.getdoc(value) or ""
    assert text.partition("\n\n")[0].rstrip().endswith("."), "The first sentence ends with a stop."
    if inspect.isclass(value) and issubclass(value, Warning | enum.Enum):
        return
    missing = set(inspect.signature(value).parameters) - documented_names(text)
    assert not missing, "Parameters that are not described."
    if inspect.isfunction(value) and inspect.signature(value).return_annotation != "None":
        assert section(text, "Returns", "Yields").strip(), "What it returns."
    assert ">>> " in section(text, "Examples"), "A short example."
