"""Who imports whom, and the habits of the source, read from the installed package."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[1]
FRAMEWORKS = frozenset({"jax", "jaxlib", "tensorflow", "torch"})

# Within each of these layers a module may import those before it.
LAYER_0 = ("typing", "_checks", "_choice", "_version")
LAYER_1 = (
    *("_arrays", "_backend", "_progress", "sampling", "estimators", "_segments", "images"),
    *("designs", "_coalition_regression", "coalitions", "surrogates"),
    *("kernels", "criterion", "dependence", "indices", "sensitivity"),
    *("citations", "_explanation_fields", "_explanation_text", "_explanation_file"),
    "explanation",
    *(
        "_frames",
        "_inputs",
        "_loaders",
        "_baselines",
        "_detection",
        "_columns",
        "_boxes",
    ),
    *("_zones", "targets", "_representations", "operators", "_doubts", "_target_leaves"),
)
LAYER_2 = (
    *("layers", "operations", "wrappers", "propagation", "_replay"),
    *("_execution", "_scoring", "_request", "perturbation"),
)
# Packages of which none imports another.
LAYER_3 = ("attributions", "concepts", "feature_visualization", "example_based", "metrics")
BESIDE_3 = ("plots", "datasets", "models")
LAYER_4 = ("description", "evaluation", "report", "parallel")
LAYER_5 = ("", "cli", "__main__")

ARRAYS = frozenset({"numpy", "keras"})
MATHS = ARRAYS | {"scipy", "sklearn"}
THIRD_PARTY = {
    **dict.fromkeys(LAYER_0, ARRAYS),
    "_choice": set(),
    **dict.fromkeys((*LAYER_1, *LAYER_2, *LAYER_3, *LAYER_4), MATHS),
    "_backend": MATHS | FRAMEWORKS,
    "wrappers": MATHS | FRAMEWORKS,
    "_progress": MATHS | {"rich"},
    "plots": ARRAYS | {"matplotlib"},
    "datasets": ARRAYS | {"sklearn"},
    "models": ARRAYS,
    **dict.fromkeys(LAYER_5, MATHS | {"rich", "PIL"}),
}


@dataclass(frozen=True)
class Import:
    """One import: the module that it names, and where it stands."""

    name: str
    where: str
    in_function: bool

    @property
    def top(self) -> str:
        return self.name.partition(".")[0]


@dataclass(frozen=True)
class Module:
    """One source file; ``name`` is dotted and starts below the package."""

    name: str
    path: Path
    text: str
    tree: ast.Module

    @property
    def part(self) -> str:
        return self.name.partition(".")[0]

    @property
    def stem(self) -> str:
        return self.name.rpartition(".")[2]

    def at(self, node: ast.AST) -> str:
        return f"{self.name or '__init__'}:{getattr(node, 'lineno', 1)}"


def read_modules() -> dict[str, Module]:
    spec = importlib.util.find_spec("xai_core")
    root = Path(spec.origin).parent
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        text = path.read_text(encoding="utf-8")
        found[name] = Module(name, path, text, ast.parse(text))
    return found


MODULES = read_modules()


def walk(node: ast.AST, in_function: bool = False) -> Iterator[tuple[ast.AST, bool]]:
    """Yield every node below, and whether it stands in a function."""
    for child in ast.iter_child_nodes(node):
        yield child, in_function
        enters = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from walk(child, in_function or enters)


def imports(module: Module) -> Iterator[Import]:
    for node, in_function in walk(module.tree):
        for name in imported_names(node, module):
            yield Import(name, module.at(node), in_function)


def imported_names(node: ast.AST, module: Module) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = absolute(node, module)
        return [deepest(f"{base}.{alias.name}", base) for alias in node.names]
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
        text = node.args[0].values[0] if isinstance(node.args[0], ast.JoinedStr) else node.args[0]
        return [text.value.strip(".")] if isinstance(text, ast.Constant) else []
    return []


def absolute(node: ast.ImportFrom, module: Module) -> str:
    if not node.level:
        return node.module or ""
    package = ["xai_core", *filter(None, module.name.split("."))]
    if module.path.name != "__init__.py":
        package.pop()
    package = package[: len(package) - node.level + 1]
    return ".".join([*package, *filter(None, [node.module])])


def deepest(name: str, base: str) -> str:
    """Return the name if it is a module of ours, else that of the module that holds it."""
    return name if name.removeprefix("xai_core.") in MODULES else base


def ours(module: Module) -> Iterator[tuple[str, Import]]:
    """Yield the part of the package that each import of our own enters."""
    for found in imports(module):
        if found.top == "xai_core":
            yield found.name.removeprefix("xai_core").strip(".").partition(".")[0], found


def allowed_parts(part: str) -> set[str]:
    if part in LAYER_5:
        return {module.part for module in MODULES.values()}
    if part in BESIDE_3:
        return {part, "typing", "_checks", "explanation", "images"}
    below: list[str] = []
    for layer in (LAYER_0, LAYER_1, LAYER_2):
        if part in layer:
            return {*below, *layer[: layer.index(part) + 1]}
        below += layer
    return {*below, part, *((*LAYER_3, *BESIDE_3) if part in LAYER_4 else ())}


def functions(module: Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node, _ in walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def defined_names(module: Module) -> set[str]:
    """Return what the module defines at its top, or imports from elsewhere."""
    found = set()
    for node in module.tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
        elif isinstance(node, ast.ImportFrom):
            base = absolute(node, module)
            aliases = {alias.asname or alias.name: f"{base}.{alias.name}" for alias in node.names}
            found |= {name for name, full in aliases.items() if deepest(full, base) == base}
    return found


def test_every_module_has_a_layer():
    known = {*LAYER_0, *LAYER_1, *LAYER_2, *LAYER_3, *BESIDE_3, *LAYER_4, *LAYER_5}
    assert not {module.part for module in MODULES.values()} - known


def test_imports_of_our_own_point_down():
    offences = [
        f"{found.where} imports {found.name}"
        for module in MODULES.values()
        for part, found in ours(module)
        if part not in allowed_parts(module.part)
    ]
    assert not offences


def test_imports_of_others_are_those_of_the_layer():
    offences = [
        f"{found.where} imports {found.name}"
        for module in MODULES.values()
        for found in imports(module)
        if found.top not in {*sys.stdlib_module_names, "xai_core", *THIRD_PARTY[module.part]}
        and (module.name, found.name) not in {("_choice", "keras"), ("_choice", "keras.config")}
    ]
    assert not offences


def test_frameworks_and_matplotlib_stay_in_their_folders():
    homes = {**dict.fromkeys(FRAMEWORKS, ("_backend", "wrappers")), "matplotlib": ("plots",)}
    offences = [
        f"{found.where} imports {found.name}"
        for module in MODULES.values()
        for found in imports(module)
        if module.part not in homes.get(found.top, (module.part,))
    ]
    assert not offences


def test_scikit_learn_is_imported_inside_functions():
    offences = [
        found.where
        for module in MODULES.values()
        for found in imports(module)
        if found.top == "sklearn" and not found.in_function
    ]
    assert not offences


def test_the_backend_is_asked_for_in_one_place():
    """Elsewhere the backend's name is a key of a table, never compared."""

    def names_backend(node: ast.AST) -> bool:
        called = node.func if isinstance(node, ast.Call) else node
        return ast.unparse(called).rpartition(".")[2].lower().endswith("backend")

    offences = []
    for module in MODULES.values():
        for node, _ in walk(module.tree):
            sides = [node.left, *node.comparators] if isinstance(node, ast.Compare) else []
            subject = [node.subject] if isinstance(node, ast.Match) else []
            if any(names_backend(side) for side in [*sides, *subject]):
                offences.append(module.at(node))
    assert not [where for where in offences if not where.startswith(("_backend", "_choice"))]


def test_no_assert_and_no_print_outside_the_command_line():
    offences = []
    for module in MODULES.values():
        for node, _ in walk(module.tree):
            prints = isinstance(node, ast.Call) and ast.unparse(node.func) == "print"
            if isinstance(node, ast.Assert) or (prints and module.part != "cli"):
                offences.append(module.at(node))
    assert not offences


def test_nothing_silences_the_type_checker():
    pattern = re.compile(r"#\s*(type:\s*ignore|pyright:)")
    assert not [module.name for module in MODULES.values() if pattern.search(module.text)]


def test_modules_are_named_for_what_they_hold():
    vague = {"utils", "util", "common", "helpers", "helper", "misc", "core"}
    assert not [name for name in MODULES if vague & set(name.strip("_").split("."))]


def test_no_module_has_the_name_of_something_it_holds():
    """Else lazy access would hand out the module."""
    offences = [module.name for module in MODULES.values() if module.stem in defined_names(module)]
    for module in MODULES.values():
        if module.path.name == "__init__.py":
            prefix = f"{module.name}." if module.name else ""
            offences += [
                prefix + name for name in defined_names(module) if prefix + name in MODULES
            ]
    assert not offences


def test_files_and_functions_stay_small():
    offences = [
        f"{module.name}: {len(module.text.splitlines())} lines"
        for module in MODULES.values()
        if len(module.text.splitlines()) > 400
    ]
    for module in MODULES.values():
        lines = module.text.splitlines()
        for function in functions(module):
            count = code_lines(function, lines)
            if count > 40:
                offences.append(f"{module.at(function)} {function.name}: {count} lines")
    assert not offences


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> int:
    """Count the lines of the body, without docstring, blank lines and comments."""
    body = function.body
    documented = ast.get_docstring(function) is not None
    first = body[0].end_lineno + 1 if documented else body[0].lineno
    code = (line.strip() for line in lines[first - 1 : function.end_lineno])
    return sum(1 for line in code if line and not line.startswith("#"))


def test_examples_stay_short():
    paths = sorted((PROJECT / "examples").glob("*.py"))
    assert not [
        path.name for path in paths if len(path.read_text(encoding="utf-8").splitlines()) > 80
    ]


def test_no_file_names_a_folder_of_some_machine():
    """A folder from the root of a disk means nothing to anybody else."""
    pattern = re.compile(r"(?<![\w.:/~-])/(?:home|root|work|opt|mnt|Users)/\w")
    folders = ("tests", "examples", "benchmarks", ".ci", ".github")
    paths = [path for folder in folders for path in (PROJECT / folder).rglob("*")]
    paths += [*PROJECT.glob("*.*"), *(module.path for module in MODULES.values())]
    texts = [path for path in paths if path.suffix in {".py", ".md", ".toml", ".txt"}]
    texts.append(PROJECT / ".ci" / "run")
    assert not [
        str(path)
        for path in texts
        if path.is_file() and pattern.search(path.read_text(encoding="utf-8"))
    ]
