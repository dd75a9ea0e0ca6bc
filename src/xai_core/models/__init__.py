"""Small models to try explanations on."""

from __future__ import annotations

from xai_core.models.convolutional import small_cnn
from xai_core.models.training import fit_classifier

__all__ = ["fit_classifier", "small_cnn"]
