"""The checks: `nox` runs all, `nox -s NAME` one of them, `nox -s demo` shows the package."""

from __future__ import annotations

import ast
import platform
import re
import tarfile
import zipfile
from pathlib import Path

import nox

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "virtualenv"
nox.options.error_on_missing_interpreters = True

ROOT = Path(__file__).parent
CONSTRAINTS = str(ROOT / ".ci" / "constraints.txt")
BACKENDS = ("jax", "tensorflow", "torch")
TENSORFLOW = "tensorflow-cpu" if platform.system() == "Linux" else "tensorflow"
GPUS = (
    "from xai_core import _backend; "
    "print(_backend.NAME, *(d for d in _backend.devices() if 'cpu' not in d.lower()))"
)
ON_GPU = ("tests/test_devices.py", "tests/test_agreement.py", "tests/attributions/test_contract.py")
# Two processes, of which the quicker one takes over what the other has not begun.
TWO_AT_ONCE = ("-n", "2", "--dist", "worksteal")
BRIDGED = ("jax", "tensorflow")
BRIDGE_TESTS = (
    *("tests/wrappers", "tests/attributions", "tests/metrics/test_deletion.py"),
    *("tests/test_detection.py", "tests/test_bad_models.py", "-k", "torch or bad_models"),
)
FRAMEWORKS = {"jax": "jax", "tensorflow": TENSORFLOW, "torch": "torch"}


@nox.session(default=False)
def demo(session: nox.Session) -> None:
    """Install the package with JAX and explain a small CNN: no download of data, no argument."""
    session.install("--constraint", CONSTRAINTS, ".[jax]")
    session.run("xai-core", "demo", *session.posargs, env={"MPLBACKEND": "Agg"})


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and layout with ruff."""
    session.install(*group("lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def build(session: nox.Session) -> None:
    """Build the sdist and from it the wheel that the tests install, and check what they hold."""
    session.install(*group("build"))
    for old in distributions(session).glob("xai_core-*"):
        old.unlink()
    session.run("python", "-m", "build", "--no-isolation", "--outdir", str(distributions(session)))
    with zipfile.ZipFile(built(session, "whl")) as wheel:
        check_wheel(session, wheel.namelist())
    with tarfile.open(built(session, "tar.gz")) as sdist:
        check_sdist(session, [name.partition("/")[2] for name in sdist.getnames()])


@nox.session
def types(session: nox.Session) -> None:
    """Check the types with pyright beside all three frameworks."""
    needed = nox.project.load_toml("pyproject.toml")["project"]["dependencies"]
    install(session, *group("types"), *needed, *FRAMEWORKS.values())
    session.run("pyright")


@nox.session(requires=["build"])
@nox.parametrize("backend", BACKENDS, ids=BACKENDS)
def tests(session: nox.Session, backend: str) -> None:
    """Run the tests on the built wheel, beside this framework and no other."""
    install_built(session, *group("test"), FRAMEWORKS[backend])
    env = environment(session, backend) | faster(session, backend)
    session.run("python", "-m", "pytest", *TWO_AT_ONCE, *session.posargs, env=env)


@nox.session(requires=["build"])
def docs(session: nox.Session) -> None:
    """Write the manual into docs/; every public name must have its place there."""
    install_built(session, *group("docs"), *FRAMEWORKS.values())
    folder = str(ROOT / "docs")
    with session.chdir(session.create_tmp()):
        script = str(ROOT / ".ci" / "docs.py")
        session.run("python", script, folder, env=environment(session, "jax"))


@nox.session(default=False, venv_backend="none")
def gpu(session: nox.Session) -> None:
    """Run the contract on the GPU of the caller's own environment, which holds the package."""
    found = session.run("python", "-c", GPUS, silent=True, log=False)
    backend, _, names = str(found).strip().splitlines()[-1].partition(" ")
    if not names:
        session.skip(f"{backend} finds no GPU.")
    session.log(f"{backend} on {names}")
    # Full precision, or maps could not equal the CPU's.
    env = {"NVIDIA_TF32_OVERRIDE": "0", "JAX_DEFAULT_MATMUL_PRECISION": "highest"}
    session.run("python", "-m", "pytest", *ON_GPU, *session.posargs, env=env)


@nox.session(default=False, requires=["build"])
@nox.parametrize("backend", BACKENDS, ids=BACKENDS)
def fuzz(session: nox.Session, backend: str) -> None:
    """Explain a hundred random networks by every method; takes up to 25 minutes per backend."""
    install_built(session, *group("test"), FRAMEWORKS[backend])
    # JAX's code without optimisation has gradients that are NaN, also without this package; and a
    # process of torch would wait for the threads of the other.
    own = {"JAX_DISABLE_MOST_OPTIMIZATIONS": None, "OMP_NUM_THREADS": "1"}
    env = environment(session, backend) | faster(session, backend) | own
    session.run("python", "tests/fuzz.py", *session.posargs, env=env)


@nox.session(requires=["build"])
@nox.parametrize("backend", BRIDGED, ids=BRIDGED)
def bridge(session: nox.Session, backend: str) -> None:
    """Run the tests of torch modules beside another framework, for which torch is there too."""
    install_built(session, *group("test"), FRAMEWORKS[backend], FRAMEWORKS["torch"])
    env = environment(session, backend) | faster(session, backend)
    tests = (*TWO_AT_ONCE, *BRIDGE_TESTS, *session.posargs)
    session.run("python", "-m", "pytest", *tests, env=env)


@nox.session(requires=["build"])
def examples(session: nox.Session) -> None:
    """Run every example: on the framework that it imports, else on JAX."""
    scripts = {path: imported_backend(path) for path in sorted(ROOT.glob("examples/*.py"))}
    if not scripts:
        session.error("examples/ holds no script.")
    frameworks = sorted({FRAMEWORKS[backend] for backend in scripts.values()})
    install_built(session, *frameworks)
    with session.chdir(session.create_tmp()):
        for path, backend in scripts.items():
            session.run("python", str(path), env=environment(session, backend))


def group(name: str) -> list[str]:
    """Return the tools of a dependency group."""
    return list(nox.project.dependency_groups(nox.project.load_toml("pyproject.toml"), name))


def install(session: nox.Session, *packages: str) -> None:
    """Install the versions that the checks are pinned to, most of whose byte code none needs."""
    session.install("--constraint", CONSTRAINTS, "--no-compile", *packages)


def install_built(session: nox.Session, *packages: str) -> None:
    """Install the wheel of this run, also over one of the same version, beside the packages."""
    wheel = built(session, "whl")
    install(session, wheel, *packages)
    session.install("--no-deps", "--force-reinstall", wheel)


def environment(session: nox.Session, backend: str) -> dict[str, str | None]:
    """Return variables under which a run depends on nothing of the user's."""
    return {
        "KERAS_BACKEND": backend,
        "KERAS_HOME": str(Path(session.create_tmp(), "keras").absolute()),
        "MPLBACKEND": "Agg",
        "PYTHONPATH": None,
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


def faster(session: nox.Session, backend: str) -> dict[str, str]:
    """Return variables that spare the tests much of their time, which is compiling.

    Their numbers need no optimised code, and the same code need not be compiled twice.
    """
    flags = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    if backend != "jax":
        return {"XLA_FLAGS": flags} if backend == "tensorflow" else {}
    return {
        "XLA_FLAGS": flags,
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_COMPILATION_CACHE_DIR": str(session.cache_dir / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


def distributions(session: nox.Session) -> Path:
    """Return the folder that `build` fills and later sessions install from."""
    return session.cache_dir / "distributions"


def built(session: nox.Session, suffix: str) -> str:
    """Return the one distribution of this kind."""
    (path,) = distributions(session).glob(f"xai_core-*.{suffix}")
    return str(path)


def check_wheel(session: nox.Session, names: list[str]) -> None:
    """Stop unless the wheel holds the package, its types and its licence, and nothing else."""
    package = {name.removeprefix("src/") for name in files("src/xai_core")}
    metadata = {name for name in names if ".dist-info/" in name}
    if missing := package - set(names):
        session.error(f"The wheel lacks {sorted(missing)}.")
    if more := set(names) - package - metadata:
        session.error(f"The wheel should not hold {sorted(more)}.")
    if "xai_core/py.typed" not in names:
        session.error("The wheel lacks py.typed.")
    if not any(name.endswith("/licenses/LICENSE") for name in metadata):
        session.error("The wheel lacks the licence.")


def check_sdist(session: nox.Session, names: list[str]) -> None:
    """Stop unless the sdist holds all that a check of it needs."""
    needed = {"LICENSE", "README.md", "noxfile.py", "pyproject.toml", ".ci/constraints.txt"}
    if missing := (needed | files("src") | files("tests")) - set(names):
        session.error(f"The sdist lacks {sorted(missing)}.")


def files(folder: str) -> set[str]:
    """Return the files below a folder, without what tools leave there."""
    found = (path.relative_to(ROOT) for path in (ROOT / folder).rglob("*") if path.is_file())
    left = re.compile(r"/(__pycache__|\.[^/]+)(/|$)")
    return {path.as_posix() for path in found if not left.search(path.as_posix())}


def imported_backend(path: Path) -> str:
    """Return the framework that a script imports, or JAX."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    names |= {
        node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module
    }
    tops = {name.partition(".")[0] for name in names}
    return next((backend for backend in BACKENDS if backend in tops), "jax")
