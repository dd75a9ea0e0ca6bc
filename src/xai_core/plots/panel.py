"""What one axes shows, and how all axes of a figure are coloured."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.colors import Colormap

from xai_core.typing import Array


@dataclass(frozen=True, eq=False)
class Panel:
    """One sample of one explanation, in the layout that is drawn (channels last)."""

    values: Array
    picture: Array | None
    signed: bool
    title: str = ""
    names: tuple[str, ...] | None = None
    error: Array | None = None


@dataclass(frozen=True)
class Style:
    """Settings that hold for all panels of a figure; None means the default of that kind."""

    cmap: str | Colormap | None
    alpha: float | None
    clip: float | None
    shared: bool
