"""HTML in which every text is escaped, and the frame of a page that loads nothing."""

from __future__ import annotations

import base64
import html
import io
import struct
from collections.abc import Iterable, Sequence
from typing import Any

_WITHOUT_END = frozenset({"br", "img", "meta"})
# Nothing but pictures inside the page and its own style: browsers refuse the rest.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light dark; --line: #d5d9de; --soft: #f3f5f7; --muted: #59636e;
  --link: #0550ae; --text: #1f2328; --back: #ffffff; }
@media (prefers-color-scheme: dark) {
  :root { --line: #3d444d; --soft: #1a2028; --muted: #9aa4af; --link: #6cb6ff; --text: #e6edf3;
    --back: #0f141a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1rem; color: var(--text);
  background: var(--back); font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0.5rem 0; }
h2 { font-size: 1.25rem; margin: 2.2rem 0 0.6rem; padding-bottom: 0.2rem;
  border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.2rem 0 0.4rem; }
a { color: var(--link); }
p { max-width: 46rem; }
.muted { color: var(--muted); }
.panels { display: grid; gap: 0.8rem; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, var(--wide, 15rem)), 1fr)); }
figure { margin: 0; padding: 0.4rem; border: 1px solid var(--line); border-radius: 0.4rem; }
.figures { display: grid; gap: 0.8rem; align-items: start;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
.figures figure { max-width: 46rem; }
img { display: block; width: 100%; max-width: 100%; height: auto; background: #ffffff;
  border-radius: 0.2rem; }
figcaption { font-size: 0.85rem; line-height: 1.35; padding: 0.3rem 0.1rem 0; }
.scroll { overflow-x: auto; max-width: 100%; margin: 0.6rem 0; }
table { border-collapse: collapse; font-size: 0.9rem; overflow-wrap: normal; }
th, td { text-align: left; vertical-align: top; padding: 0.25rem 0.9rem 0.25rem 0;
  border-bottom: 1px solid var(--line); }
.numbers td { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.numbers th + th { text-align: right; }
.facts th { font-weight: normal; color: var(--muted); white-space: nowrap; }
.facts td { overflow-wrap: anywhere; min-width: 10rem; }
tr.control { color: var(--muted); font-style: italic; }
details { border: 1px solid var(--line); border-radius: 0.4rem; padding: 0 0.8rem;
  margin: 0.6rem 0; }
summary { cursor: pointer; font-weight: 600; padding: 0.6rem 0; }
pre { background: var(--soft); padding: 0.8rem; border-radius: 0.4rem; overflow-x: auto;
  font-size: 0.8rem; overflow-wrap: normal; }
footer { margin-top: 2.5rem; font-size: 0.85rem; color: var(--muted); }
@media (max-width: 30rem) { .images { --wide: 9.5rem; } body { padding: 0.7rem; }
  table { font-size: 0.8rem; } th, td { padding-right: 0.5rem; }
    .numbers th:first-child { max-width: 9rem; overflow-wrap: break-word; } }
@media print { details::details-content { content-visibility: visible; block-size: auto; } }
"""


class Markup(str):
    """Text that is HTML already; any other is escaped where it enters an `element`."""


def element(kind: str, /, *content: Any, **attributes: Any) -> Markup:
    """Return an element; a trailing underscore of an attribute's name is left out."""
    head = [kind]
    for key, value in attributes.items():
        if value is True:
            head.append(key.rstrip("_"))
        elif value is not None and value is not False:
            head.append(f'{key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"')
    start = f"<{' '.join(head)}>"
    return Markup(start if kind in _WITHOUT_END else f"{start}{joined(content)}</{kind}>")


def joined(parts: Iterable[Any]) -> Markup:
    """Return parts one after the other, those that are not HTML escaped; None is left out."""
    return Markup("".join(_escaped(part) for part in parts if part is not None))


def table(rows: Sequence[Sequence[Any]], head: Sequence[Any] = (), **attributes: Any) -> Markup:
    """Return a table that scrolls by itself; the first cell of a row names it."""
    body = [
        element("tr", element("th", name, scope="row"), *(element("td", cell) for cell in cells))
        for name, *cells in rows
    ]
    return scrolling(head, body, **attributes)


def scrolling(head: Sequence[Any], body: Sequence[Markup], **attributes: Any) -> Markup:
    """Return a table of rows that are HTML already."""
    names = element("tr", *(element("th", cell, scope="col") for cell in head)) if head else None
    parts = [] if names is None else [element("thead", names)]
    inner = element("table", *parts, element("tbody", *body), **attributes)
    return element("div", inner, class_="scroll")


def picture(figure: Any, alt: str, caption: Any, dpi: int) -> Markup:
    """Return a matplotlib Figure as a PNG inside the page."""
    buffer = io.BytesIO()
    # A label may be wider than the figure.
    figure.savefig(buffer, format="png", dpi=dpi, bbox_inches="tight", pad_inches=0.05)
    # Width and height, which a PNG begins with, keep its place while the page is laid out.
    width, height = struct.unpack(">II", buffer.getvalue()[16:24])
    source = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
    image = element("img", src=source, alt=alt, width=width, height=height)
    return element("figure", image, element("figcaption", caption) if caption else None)


def page(title: str, version: str, main: Sequence[Markup], foot: str) -> str:
    """Return the whole document."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="generator", content=version),
        element("title", title),
        element("style", Markup(_STYLE)),
    )
    body = element(
        "body",
        element("header", element("h1", title)),
        element("main", *main),
        element("footer", foot),
    )
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def _escaped(part: Any) -> str:
    return part if isinstance(part, Markup) else html.escape(str(part))
