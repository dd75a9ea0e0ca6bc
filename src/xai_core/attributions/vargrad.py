"""VarGrad: the variance of maps of noisy inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from xai_core import estimators
from xai_core.attributions.noise import AbstractNoise, Statistic


@dataclass(frozen=True, eq=False, kw_only=True)
class VarGrad(AbstractNoise):
    r"""Variance of the maps of noisy copies of the input.

    .. math:: \hat\phi(x) = \frac{1}{n - 1} \sum_{k=1}^{n}
        \Bigl(\phi(x + \varepsilon_k) - \bar\phi\Bigr)^2, \qquad \varepsilon_k \sim N(0, \sigma^2)

    Parameters
    ----------
    model : model or explainer
        What is explained: an explainer, whose maps before any reduction of channels are taken as
        it is configured, or a model, which means its signed gradient.
    operator, output, batch_size : optional
        Those of the wrapped explainer; others are refused. For a model as for every explainer:
        see `AbstractExplainer`.
    progress
        As for every explainer.
    n_samples : int
        Number of noisy copies of each input, at least 2.
    noise : float or array
        Standard deviation of the normal noise, not negative: a share of the sample's range, or in
        the input's own units, then also an array that broadcasts against a sample, such as (W,).
    noise_scale : {"range", "absolute"}
        ``"range"`` multiplies ``noise`` with each sample's maximum minus minimum, of a series
        feature by feature. Tables need ``"absolute"``.
    reducer : {"max", "mean", "sum", "abs_max", "abs_mean"}, callable or None
        How the channels of images become one number, by default their mean.
    seed : int
        Key of the noise, from 0 to 2**64 - 1. All inputs have the same noise, on every backend
        and for every batch size.

    Raises
    ------
    TypeError, ValueError
        If a field is wrong, at construction; if inputs or targets do not fit, at the call.

    Notes
    -----
    Adebayo et al., 2018, "Sanity Checks for Saliency Maps",
    https://arxiv.org/abs/1810.03292. ``standard_error`` of the Explanation is that
    of the variance, from the fourth moment.

    Examples
    --------
    >>> import keras, numpy as np
    >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(),
    ...                           keras.layers.Dense(2)])
    >>> VarGrad(model, n_samples=4)(np.ones((1, 8, 8, 3)), targets=1).values.shape
    (1, 8, 8, 1)
    """

    reducer: str | Callable[..., Any] | None = "mean"

    source: ClassVar[str] = (
        "Adebayo et al., 2018, Sanity Checks for Saliency Maps, https://arxiv.org/abs/1810.03292"
    )

    zero_without_gradient: ClassVar[bool] = False  # linear models have no variance

    def _statistic(self) -> Statistic:
        """The variance, in one pass without cancellation."""
        return Statistic(4, estimate=estimators.variance, error=estimators.variance_error)
