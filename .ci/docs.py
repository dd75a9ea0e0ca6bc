"""Write the manual of the installed package: a page for each module, from its docstrings.

Run by `nox -s docs`, which names the folder.
"""

import sys
import types
import warnings
from pathlib import Path

import pdoc

import xai_core


def public(module: types.ModuleType) -> list[str]:
    """Return the public names of a module, which this also loads where they are lazy."""
    return [name for name in module.__all__ if getattr(module, name) is not None]


def main(folder: Path) -> int:
    """Write all pages, and name what has none."""
    names = public(xai_core)
    lazy = [getattr(xai_core, name) for name in names]
    modules = [xai_core, *(one for one in lazy if isinstance(one, types.ModuleType))]
    pdoc.render.configure(docformat="numpy", search=True, show_source=False)
    # It looks for names of inherited annotations in the wrong module, and shows them as they are.
    warnings.filterwarnings("ignore", message="Error parsing type annotation")
    pdoc.pdoc("xai_core", output_directory=folder)
    missing = []
    for module in modules:
        page = folder / f"{module.__name__.replace('.', '/')}.html"
        text = page.read_text(encoding="utf-8") if page.exists() else ""
        for name in public(module):
            own_page = isinstance(getattr(module, name), types.ModuleType)
            if not own_page and f'id="{name}"' not in text:
                missing.append(f"{module.__name__}.{name}")
    if missing:
        print(f"No documentation of {', '.join(missing)}.")
        return 1
    count = sum(len(public(module)) for module in modules)
    print(f"{count} public names are documented in {folder}/index.html.")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
