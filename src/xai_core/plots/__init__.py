"""Pictures: arrays or results in, a matplotlib Figure out; nothing is shown or kept open."""

from __future__ import annotations

from xai_core.plots.curve import curves
from xai_core.plots.flipped import flip
from xai_core.plots.grid import attributions

__all__ = ["attributions", "curves", "flip"]
