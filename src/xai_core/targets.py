"""Make targets: what of an output is explained.

Over columns (N, K): indices, names and weights. Over the positions of a segmentation: masks of the
outputs' own shape. Of a detector: rows of boxes.
"""

from __future__ import annotations

from xai_core._boxes import boxes, convert_boxes, denormalize_boxes, normalize_boxes
from xai_core._columns import contrast, encode, runner_up
from xai_core._zones import border, zone, zones

__all__ = [
    "border",
    "boxes",
    "contrast",
    "convert_boxes",
    "denormalize_boxes",
    "encode",
    "normalize_boxes",
    "runner_up",
    "zone",
    "zones",
]
