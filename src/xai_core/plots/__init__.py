"""Pictures: arrays or results in, a matplotlib Figure out; nothing is shown or kept open."""

from __future__ import annotations

from xai_core.plots.bars import bar
from xai_core.plots.channels import series
from xai_core.plots.curve import curves
from xai_core.plots.flipped import flip
from xai_core.plots.grid import attributions
from xai_core.plots.steps import waterfall
from xai_core.plots.swarm import beeswarm

__all__ = ["attributions", "bar", "beeswarm", "curves", "flip", "series", "waterfall"]
