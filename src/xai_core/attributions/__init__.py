"""Maps over the input that tell which features a score depends on, one method per file."""

from xai_core.attributions.ablation_cam import AblationCAM
from xai_core.attributions.conductance import Conductance
from xai_core.attributions.deconvnet import DeconvNet
from xai_core.attributions.deep_lift import DeepLIFT
from xai_core.attributions.deep_shap import DeepSHAP
from xai_core.attributions.eigen_cam import EigenCAM
from xai_core.attributions.eigen_grad_cam import EigenGradCAM
from xai_core.attributions.expected_gradients import ExpectedGradients
from xai_core.attributions.fem import FEM
from xai_core.attributions.finer_cam import FinerCAM
from xai_core.attributions.forgrad import FORGrad
from xai_core.attributions.full_grad import FullGrad
from xai_core.attributions.grad_cam import GradCAM
from xai_core.attributions.grad_cam_plus_plus import GradCAMPlusPlus
from xai_core.attributions.gradient_input import GradientInput
from xai_core.attributions.guided_backprop import GuidedBackprop
from xai_core.attributions.guided_grad_cam import GuidedGradCAM
from xai_core.attributions.hires_cam import HiResCAM
from xai_core.attributions.hsic import HSIC
from xai_core.attributions.integrated_gradients import IntegratedGradients
from xai_core.attributions.kernel_shap import KernelSHAP
from xai_core.attributions.layer_cam import LayerCAM
from xai_core.attributions.lime import LIME
from xai_core.attributions.occlusion import Occlusion
from xai_core.attributions.random_map import RandomMap
from xai_core.attributions.rise import RISE
from xai_core.attributions.saliency import Saliency
from xai_core.attributions.score_cam import ScoreCAM
from xai_core.attributions.shapley_sampling import ShapleySampling
from xai_core.attributions.smoothgrad import SmoothGrad
from xai_core.attributions.sobol import Sobol
from xai_core.attributions.squaregrad import SquareGrad
from xai_core.attributions.vargrad import VarGrad
from xai_core.attributions.xgrad_cam import XGradCAM

__all__ = [
    "FEM",
    "HSIC",
    "LIME",
    "RISE",
    "AblationCAM",
    "Conductance",
    "DeconvNet",
    "DeepLIFT",
    "DeepSHAP",
    "EigenCAM",
    "EigenGradCAM",
    "ExpectedGradients",
    "FORGrad",
    "FinerCAM",
    "FullGrad",
    "GradCAM",
    "GradCAMPlusPlus",
    "GradientInput",
    "GuidedBackprop",
    "GuidedGradCAM",
    "HiResCAM",
    "IntegratedGradients",
    "KernelSHAP",
    "LayerCAM",
    "Occlusion",
    "RandomMap",
    "Saliency",
    "ScoreCAM",
    "ShapleySampling",
    "SmoothGrad",
    "Sobol",
    "SquareGrad",
    "VarGrad",
    "XGradCAM",
]
