"""One page to hand on: explanations, scores, curves and figures in a self-contained HTML file."""

from xai_core.report.writing import write

__all__ = ["write"]
