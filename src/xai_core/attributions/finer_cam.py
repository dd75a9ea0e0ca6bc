"""Finer-CAM: what speaks for a class and not for the classes that are most like it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from keras import ops

from xai_core import _checks, operators
from xai_core._request import Group, Request
from xai_core.attributions.cam import AbstractCAM
from xai_core.attributions.cam_maps import at_gradients
from xai_core.attributions.grad_cam import weighted_sum
from xai_core.attributions.layer_outputs import Site
from xai_core.attributions.running import Maps
from xai_core.typing import Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class FinerCAM(AbstractCAM):
    r"""Grad-CAM of the difference between a class and those with the closest outputs.

    .. math:: \phi = \mathrm{ReLU}\Bigl(\sum_k \alpha_k A^k\Bigr), \qquad
        \alpha_k = \frac{1}{Z} \sum_{ij} \frac{\partial}{\partial A^k_{ij}}
        \Bigl(y_c - \frac{\gamma}{n} \sum_{d \in D} y_d\Bigr)

    where D are the n classes other than c whose outputs differ least from y_c. The map is resized
    linearly to the input, and not normalised; ``scores`` of the Explanation are y_c.

    Parameters
    ----------
    model, operator, output, batch_size, progress
        As for every explainer: see `AbstractExplainer`.
    layer : str, int, layer, (features, head), list, optional
        Where: a name or path of names, an index into the model's layers, a dotted name of a torch
        module, or the layer itself; a list for the mean of the maps at several, each divided by
        its largest absolute value. By default the last layer with a spatial map that the score
        depends on; the Explanation tells which.
    call : int, optional
        Which call, of a layer that the model calls several times.
    signed : bool
        Leave out the ReLU, so that evidence against the target is negative.
    gamma : float
        How strongly the other classes are subtracted; 0 gives Grad-CAM.
    n_similar : int
        Number of other classes, fewer than the model has.

    Raises
    ------
    TypeError, ValueError
        If a field is wrong or the layer unknown, at construction; if inputs or targets do not
        fit or the layer has no spatial map, at the call.

    Notes
    -----
    For operator "classification" and targets that are classes, not weights. The paper compares
    logits: pass ``output="logits"`` for a model that returns probabilities.

    Zhang et al., 2025, "Finer-CAM: Spotting the Difference Reveals Finer Details for Visual
    Explanation", https://arxiv.org/abs/2501.11309

    Examples
    --------
    >>> import keras, numpy as np
    >>> layers = [keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, name="features"),
    ...           keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(6)]
    >>> explanation = FinerCAM(keras.Sequential(layers))(np.ones((1, 8, 8, 3)))
    >>> explanation.layer, explanation.values.shape
    ('features', (1, 8, 8, 1))
    """

    gamma: float = 0.6
    n_similar: int = 3

    source: ClassVar[str] = "Zhang et al., 2025, Finer-CAM, https://arxiv.org/abs/2501.11309"

    def _check_own_fields(self) -> None:
        """Check how many classes count, how much, and that there are classes."""
        _checks.number("gamma", self.gamma, minimum=0)
        _checks.integer("n_similar", self.n_similar, minimum=1)
        if self._operator is not operators.classification:
            raise ValueError(
                '`operator` must be "classification" for FinerCAM, which compares classes. '
                f"Received: {operators.name_of(self._operator)}. GradCAM explains other scores."
            )

    def _mapped(self, group: Group, site: Site) -> Maps:
        """The rule above at one layer."""
        self._check_classes(group.request)
        settings = float(self.gamma), self.n_similar
        return at_gradients(group, site, weighted_sum, self.signed, _contrast, settings)

    def _check_classes(self, request: Request) -> None:
        """Raise unless the targets are classes, and enough others are left."""
        shape = request.score.head.shape
        if request.targets and request.targets[0].ndim != 2:
            raise ValueError(
                "`targets` must be classes, integers (N,) or names, for FinerCAM. Received: "
                f"weights of shape {('N', *request.targets[0].shape[2:])}. GradCAM takes weights."
            )
        if len(shape) != 2 or self.n_similar >= shape[1]:
            most = shape[1] - 1 if len(shape) == 2 else 0
            advice = f"Pass n_similar={most} or fewer." if most else "GradCAM needs no others."
            raise ValueError(
                "`n_similar` must be less than the number of classes, so that this many others are "
                f"left. Received: {self.n_similar}, and outputs of shape {('N', *shape[1:])}. "
                f"{advice}"
            )


def _contrast(
    score: Any, floats: Any, integers: Any, targets: Any, gamma: float, count: int
) -> tuple[Tensor, Any]:
    """What is differentiated, and (scores, targets)."""
    scores, used, outputs = score.with_outputs(floats, integers, targets)
    every: Any = ops.expand_dims(outputs, 1)
    classes = ops.arange(outputs.shape[1])
    own = ops.expand_dims(ops.cast(used[0], "int32"), -1) == ops.cast(classes, "int32")
    distances: Any = ops.stop_gradient(ops.abs(every - ops.expand_dims(scores, -1)))
    distances = ops.where(own, float("inf"), distances)
    # Sorted and not `top_k`, for frameworks order equal distances differently there.
    ranks: Any = ops.argsort(ops.argsort(distances, axis=-1), axis=-1)
    chosen = ops.where(ranks < count, every, ops.zeros_like(every))
    total: Any = ops.sum(chosen, axis=-1)
    return scores - gamma * total / count, (scores, used)
