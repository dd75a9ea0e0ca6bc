"""Data to try explanations on, without a download."""

from __future__ import annotations

from xai_core.datasets.bundled import Split, digits

__all__ = ["Split", "digits"]
