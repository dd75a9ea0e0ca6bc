"""`write`: the page of a report."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from typing import Any

from xai_core import _checks, _version
from xai_core.report import arguments, maps, sections
from xai_core.report.markup import element, page


def write(
    path: str | PathLike[str],
    explanations: Any,
    inputs: Any = None,
    *,
    scores: Any = None,
    figures: Any = None,
    title: str = "Explanations",
    introduction: str = "",
    names: Sequence[str] | None = None,
    limit: int = 8,
) -> Path:
    """Write one HTML page that can be sent to somebody who has nothing but a browser.

    It holds the map of every method for each input, beside each other; a table of scores and
    their curves; further figures; what is known of each method: settings, layer, versions, cost,
    notes, and its numbers for each input; and for a paper, the methods sentences and the BibTeX
    entries of `Explanation.cite`. Pictures are inside the page, it loads nothing and runs no
    script, and it can be read on a phone. All names are shown as text, also where they hold HTML.

    Parameters
    ----------
    path : str or path
        ``.html`` is appended where it is missing. Its directory must exist; a file of that name
        is replaced.
    explanations : Explanation, list of these, or dict {title: Explanation}
        Of the same N inputs. For a model with several inputs, the structure that an explainer
        returns may stand for an Explanation.
    inputs : array, or tuple or dict of arrays, optional
        What was explained, which images are drawn over. Each Explanation finds its own among
        several. Series and tables know theirs.
    scores : MetricResult, list of these, or dict {title: result, list, or dict {name: result}}
        What metrics returned, a dict where there are several explanations. Titles that are not
        among the explanations', such as a random map, are rows of the table too.
    figures : matplotlib Figure, list of these, or dict {caption: Figure}, optional
        Further pictures. They are left as they are.
    title : str
        Head of the page.
    introduction : str
        What stands below it; an empty line starts a new paragraph.
    names : sequence of str, optional
        One per input, such as file names.
    limit : int
        How many inputs are drawn and listed, the first ones.

    Returns
    -------
    pathlib.Path
        The file that was written.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
        If ``path`` does not lie in a directory, or is one.
    TypeError, ValueError
        If something cannot be shown, or the explanations are of different inputs, or ``inputs``
        are not theirs. Nothing is written then.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from xai_core import Explanation
    >>> maps = {name: Explanation(np.eye(8)[None, ..., None], name) for name in ("A", "B")}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = write(f"{folder}/maps", maps, title="Two <maps>")
    ...     page = path.read_text(encoding="utf-8")
    >>> path.name, page.count("data:image/png"), "<h1>Two &lt;maps&gt;</h1>" in page
    ('maps.html', 2, True)
    """
    target = arguments.read_path(path)
    title = arguments.read_text("title", title)
    paragraphs = arguments.read_text("introduction", introduction).split("\n\n")
    limit = _checks.integer("limit", limit, 1)
    entries = arguments.read_explanations(explanations, inputs)
    names = arguments.read_names(names, len(entries[0].explanation))
    titles = [entry.title for entry in entries]
    columns = arguments.read_scores(scores, titles)
    given = arguments.read_figures(figures)
    main = [
        *(element("p", text.strip()) for text in paragraphs if text.strip()),
        *maps.drawn_maps(entries, names, limit),
        *sections.scores(columns, titles),
        *sections.curves(columns),
        *sections.figures(given),
        *sections.methods(entries, names, limit),
        *sections.references(entries, columns),
    ]
    version = f"xai_core {_version.__version__}"
    foot = f"Written by {version} on {datetime.now(UTC):%Y-%m-%d}."
    # A name may hold what UTF-8 cannot write (half a surrogate pair).
    text = page(title, version, main, foot).encode("utf-8", errors="xmlcharrefreplace")
    target.write_bytes(text)
    return target
