"""Maps over the input that tell which features a score depends on, one method per file."""

from xai_core.attributions.grad_cam import GradCAM
from xai_core.attributions.gradient_input import GradientInput
from xai_core.attributions.integrated_gradients import IntegratedGradients
from xai_core.attributions.random_map import RandomMap
from xai_core.attributions.saliency import Saliency

__all__ = [
    "GradCAM",
    "GradientInput",
    "IntegratedGradients",
    "RandomMap",
    "Saliency",
]
