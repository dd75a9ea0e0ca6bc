"""Numbers that judge an explanation."""

from xai_core.metrics.deletion import Deletion, Insertion
from xai_core.metrics.result import MetricResult

__all__ = ["Deletion", "Insertion", "MetricResult"]
