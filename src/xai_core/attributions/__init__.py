"""Maps over the input that tell which features a score depends on, one method per file."""

from xai_core.attributions.forgrad import FORGrad
from xai_core.attributions.grad_cam import GradCAM
from xai_core.attributions.grad_cam_plus_plus import GradCAMPlusPlus
from xai_core.attributions.gradient_input import GradientInput
from xai_core.attributions.hsic import HSIC
from xai_core.attributions.integrated_gradients import IntegratedGradients
from xai_core.attributions.kernel_shap import KernelSHAP
from xai_core.attributions.lime import LIME
from xai_core.attributions.occlusion import Occlusion
from xai_core.attributions.random_map import RandomMap
from xai_core.attributions.rise import RISE
from xai_core.attributions.saliency import Saliency
from xai_core.attributions.shapley_sampling import ShapleySampling
from xai_core.attributions.smoothgrad import SmoothGrad
from xai_core.attributions.sobol import Sobol
from xai_core.attributions.squaregrad import SquareGrad
from xai_core.attributions.vargrad import VarGrad

__all__ = [
    "HSIC",
    "LIME",
    "RISE",
    "FORGrad",
    "GradCAM",
    "GradCAMPlusPlus",
    "GradientInput",
    "IntegratedGradients",
    "KernelSHAP",
    "Occlusion",
    "RandomMap",
    "Saliency",
    "ShapleySampling",
    "SmoothGrad",
    "Sobol",
    "SquareGrad",
    "VarGrad",
]
