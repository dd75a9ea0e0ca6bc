"""Who published a method, and how to say what was computed: BibTeX and a methods sentence.

The entries stand in ``references.bib``. An Explanation knows its method by name only, also after it
was loaded from a file, so the name is what an entry is found by.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

__all__ = ["Citation", "Paper", "cited", "paper"]

_ENTRY = re.compile(r"^@\w+\{.*?^\}$", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(r"^ +(\w+) = \{(.*)\},$", re.MULTILINE)
_KEYWORDS = re.compile(r"^ +keywords = .*\n", re.MULTILINE)
_SHARED = ("model", "operator", "output", "batch_size", "progress", "explainer", "method")
_FORMS = {"raw": "output as it is", "softmax": "softmax output", "sigmoid": "sigmoid output"}
_COUNTED = {"n_samples": "samples", "steps": "steps"}


class Paper(NamedTuple):
    """An entry of the bibliography: how a text cites it, where it stands, and its BibTeX."""

    short: str
    url: str
    bibtex: str


@dataclass(frozen=True)
class Citation:
    """What a paper says of an Explanation; ``print`` shows both parts.

    Parameters
    ----------
    sentence : str
        For the section on methods: method, papers, settings, score, versions.
    bibtex : str
        The entries of the papers, of a wrapped explainer too; empty where none is known.

    Examples
    --------
    >>> print(Citation("Maps were drawn by hand.", ""))
    Maps were drawn by hand.
    """

    sentence: str
    bibtex: str

    def __str__(self) -> str:
        """Both parts, one below the other."""
        return "\n\n".join(part for part in (self.sentence, self.bibtex) if part)


def paper(name: str) -> Paper | None:
    """Return the paper of a method or metric.

    Parameters
    ----------
    name : str
        Name of its class.

    Returns
    -------
    Paper or None
        None if the bibliography has no entry of this name.

    Examples
    --------
    >>> paper("SmoothGrad").short, paper("SmoothGrad").url
    ('Smilkov et al., 2017', 'https://arxiv.org/abs/1706.03825')
    """
    return papers().get(name)


@cache
def papers() -> Mapping[str, Paper]:
    """Return the paper of each method and metric by its name."""
    text = resources.files("xai_core").joinpath("references.bib").read_text(encoding="utf-8")
    found = {}
    for entry in _ENTRY.findall(text):
        fields = dict(_FIELD.findall(entry))
        made = Paper(_short(fields), fields["url"], _KEYWORDS.sub("", entry))
        found |= dict.fromkeys(fields["keywords"].split(", "), made)
    return found


def cited(explanation: Any) -> Citation:
    """Return sentence and BibTeX of an Explanation.

    Parameters
    ----------
    explanation : Explanation
        Of which method, config, layer, seed and versions are read.

    Returns
    -------
    Citation
        See `Explanation.cite`.

    Examples
    --------
    >>> from xai_core import Explanation
    >>> print(cited(Explanation([[0.5]], "MyMethod", config={"steps": 20})))
    Attributions were computed with MyMethod (20 steps).
    """
    chain = explainers(explanation)
    own = [list(_settings(explanation, config)) for _, config in chain]
    told = {name for _, config in chain for name in config}
    own[0] += [
        f"{name} {getattr(explanation, name)}"
        for name in ("layer", "seed")
        if name not in told and getattr(explanation, name) is not None
    ]
    known = {name: paper(name) for name, _ in chain}
    parts = [_named(name, known[name], more) for (name, _), more in zip(chain, own, strict=True)]
    sentence = (
        f"Attributions were computed with {' of '.join(parts)}"
        f"{_score(explanation.config)}{_software(explanation.versions)}."
    )
    entries = dict.fromkeys(one.bibtex for one in known.values() if one is not None)
    return Citation(sentence, "\n\n".join(entries))


def explainers(explanation: Any) -> list[tuple[str, Mapping[str, Any]]]:
    """Return name and settings of the method, of the explainer that it wraps, and so on."""
    found = [(explanation.method or "a method without a name", explanation.config)]
    while isinstance(inner := found[-1][1].get("explainer"), Mapping):
        found.append((str(inner.get("method", "an explainer")), inner))
    return found


def setting(name: str, value: Any) -> str:
    """Return a setting and its value as a text tells them, such as ``"noise scale range"``."""
    words = name.replace("_", " ")
    if isinstance(value, bool):
        return words if value else f"not {words}"
    if name in _COUNTED:
        return f"{value} {_COUNTED[name]}"
    return f"{words} {shown(value)}"


def shown(value: Any) -> str:
    """Return a JSON value as a text tells it; arrays are known by their shape."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    if isinstance(value, float):
        return format(value, ".6g")
    if isinstance(value, Mapping) and "shape" in value:
        return f"array of shape ({', '.join(map(str, value['shape']))})"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {shown(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(shown, value))}]"
    return str(value)


def _short(fields: Mapping[str, str]) -> str:
    """Return the families of up to two authors, or the first one's, with the year."""
    families = [author.partition(",")[0] for author in fields["author"].split(" and ")]
    names = f"{families[0]} et al." if len(families) > 2 else " and ".join(families)
    return f"{names}, {fields['year']}"


def _settings(explanation: Any, config: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a text tells of the settings; what is None was left to the method."""
    for name, value in config.items():
        if name == "layer":
            value = explanation.layer if explanation.layer is not None else value
        if name == "reducer":
            if explanation.values.ndim > 3:
                yield "channels not reduced" if value is None else f"channels reduced by {value}"
        elif name not in _SHARED and value is not None:
            yield setting(name, value)


def _named(name: str, known: Paper | None, settings: list[str]) -> str:
    more = [*([] if known is None else [known.short]), *([", ".join(settings)] if settings else [])]
    return f"{name} ({'; '.join(more)})" if more else name


def _score(config: Mapping[str, Any]) -> str:
    """Return which score was explained, if a model gave one."""
    if config.get("model") is None or config.get("operator") is None:
        return ""
    output = config.get("output", "raw")
    return f" for the score {config['operator']!r} of the model's {_FORMS.get(output, output)}"


def _software(versions: Mapping[str, str]) -> str:
    if not versions:
        return ""
    (first, number), *others = versions.items()
    beside = ", ".join(" ".join(pair) for pair in others)
    return f", using {first} {number}" + (f" ({beside})" if beside else "")
