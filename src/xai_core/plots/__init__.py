"""Pictures: arrays or Explanations in, a matplotlib Figure out; nothing is shown or kept open."""

from __future__ import annotations

from xai_core.plots.grid import attributions

__all__ = ["attributions"]
