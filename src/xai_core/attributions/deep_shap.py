"""DeepSHAP: DeepLIFT, averaged over a background."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from xai_core._request import Group, Request
from xai_core.attributions import background, sites
from xai_core.attributions.differences import AbstractDifferences


@dataclass(frozen=True, eq=False, kw_only=True)
class DeepSHAP(AbstractDifferences):
    r"""Mean of the attributions of DeepLIFT over rows of data as baselines.

    .. math:: \phi(x) = \frac{1}{B} \sum_{b=1}^{B} m(x, x_b) \odot (x - x_b)

    with the multipliers m of `DeepLIFT`. The attributions of a sample sum up to s(x) less the mean
    score of the background, ``base_values``.

    Parameters
    ----------
    model, operator, output, batch_size, progress
        As for every explainer: see `AbstractExplainer`. Models of Keras, and torch modules on the
        torch backend.
    background : array, shape (B, ...)
        The rows x_b, each of which costs two model rows per input; for several inputs one array
        for each, in their structure. Of an embedding, rows of tokens.
    reducer : {"max", "mean", "sum", "abs_max", "abs_mean"}, callable or None
        How the channels of images become one number, by default their sum.
    layer, call
        Explain the output of a layer: see `AbstractGradient`.
    check_completeness : bool
        Raise if the attributions are not complete: see `DeepLIFT`.

    Raises
    ------
    TypeError, ValueError
        If a field is wrong, at construction; if inputs, targets or background do not fit, the
        model runs an operation without a rule, or the attributions are not complete, at the call.

    Notes
    -----
    Lundberg and Lee, 2017, "A Unified Approach to Interpreting Model Predictions",
    https://arxiv.org/abs/1705.07874, section 4.2

    Examples
    --------
    >>> import keras, numpy as np
    >>> hidden = keras.layers.Dense(3, activation="relu", kernel_initializer="ones")
    >>> layers = [keras.Input((4,)), hidden, keras.layers.Dense(2)]
    >>> explainer = DeepSHAP(keras.Sequential(layers), background=np.eye(4))
    >>> explainer(np.ones((2, 4)), targets=1).values.shape
    (2, 4)
    """

    background: Any = None

    source: ClassVar[str] = "Lundberg and Lee, 2017, SHAP, https://arxiv.org/abs/1705.07874"

    def _check_reference(self) -> None:
        """Check that there is a background."""
        if self.background is None:
            raise ValueError(
                "`background` must hold rows of data. Received: None. For one baseline take "
                "DeepLIFT."
            )

    def _check_request(self, request: Request) -> None:
        """Check that the background fits the inputs."""
        super()._check_request(request)
        rows = sites.background_rows(request, self._site(request), self.background)
        request.decided["background"] = rows

    def _count(self) -> int:
        """Number of rows of the background."""
        return background.length(self.background, self._model.several_inputs)

    def _references(self, group: Group) -> Iterator[Any]:
        """Each row of the background, for all inputs of the group."""
        place = sites.tokens_at(group.request, self._site(group.request))
        leaves = group.request.decided["background"]
        for k in range(len(leaves[0])):
            rows = (np.repeat(leaf[k : k + 1], len(group), axis=0) for leaf in leaves)
            yield sites.with_rows(place, group.inputs(), tuple(map(group.to_device, rows)))
