"""FORGrad: low-pass filtered maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import keras
import numpy as np
from keras import ops

from xai_core import _backend, _checks, images
from xai_core._request import Group, Request
from xai_core.attributions import provenance, running, sigma_search
from xai_core.attributions.base import AbstractExplainer
from xai_core.attributions.running import Maps
from xai_core.attributions.sigma_search import SHARE, SigmaFit
from xai_core.explanation import Explanation
from xai_core.typing import Tensor

_STILL_TRUE = ("base_values",)
_OF_UNFILTERED = (
    *("standard_error", "unreduced_standard_error", "completeness_gap"),
    *("features", "feature_standard_error", "first_order", "interactions", "p_values"),
)


@dataclass(frozen=True, eq=False, kw_only=True)
class FORGrad(AbstractExplainer):
    r"""Map of another explainer without its high frequencies.

    .. math:: \phi_\sigma = \bigl| F^{-1}(F(\phi) \odot w_\sigma) \bigr|

    where F is the discrete Fourier transform over the axes of space and time of the map
    :math:`\phi`, channels reduced, and w keeps the frequencies up to the radius sigma as
    `xai_core.images.low_pass` does. Pooling and strides put much noise of high frequency into the
    gradients of a network.

    Parameters
    ----------
    model : explainer
        Whose maps are filtered, such as ``Saliency(model)``. It keeps its own settings.
    operator, output, batch_size
        Those of the explainer; another value is refused.
    progress
        As for every explainer: see `AbstractExplainer`.
    sigma : float, optional
        The radius in cycles per longest side L, by default 15 L / 224. Below 1 only the mean of
        a map is left, which the default is for L < 15: pass a larger one there.
    signed : bool
        Leave out the absolute value.

    Raises
    ------
    TypeError, ValueError
        If ``model`` is not an explainer or a field is wrong, at construction; if inputs or
        targets do not fit or an input is a table, at the call.

    Notes
    -----
    What the explainer tells of its unfiltered map, such as a completeness gap or standard errors,
    is left out. The best sigma differs from model to model and from method to method: where it
    matters, `fit_sigma` chooses the one with the most faithful maps.

    Muzellec et al., 2023, "Gradient strikes back: How filtering out high frequencies improves
    explanations", https://arxiv.org/abs/2307.09591

    Examples
    --------
    >>> import keras, numpy as np
    >>> from xai_core.attributions import Saliency
    >>> layers = [keras.Input((16, 16, 3)), keras.layers.Conv2D(4, 3),
    ...           keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)]
    >>> explainer = FORGrad(Saliency(keras.Sequential(layers)), sigma=4)
    >>> explainer(np.ones((1, 16, 16, 3))).values.shape
    (1, 16, 16, 1)
    """

    output: Any = None
    batch_size: Any = None
    sigma: float | None = None
    signed: bool = False

    wraps: ClassVar[bool] = True
    needs_explainer: ClassVar[bool] = True
    fitted: ClassVar[SigmaFit | None] = None
    source: ClassVar[str] = (
        "Muzellec et al., 2023, Gradient strikes back, https://arxiv.org/abs/2307.09591"
    )

    def _check_fields(self) -> None:
        """Check the radius and the flag."""
        if self.sigma is not None:
            images.check_sigma(self.sigma)
        _checks.flag("signed", self.signed)

    def _check_request(self, request: Request) -> None:
        """Check what the explainer checks, and that every input has an axis of space or time."""
        self._base._check_request(request)
        if request.decided.get("site") is not None:
            raise ValueError(
                "`layer` must be left out of the explainer that FORGrad filters, whose maps have "
                f"the inputs' size. Received: {type(self._base).__name__} with "
                f"{request.decided['site'].name!r}."
            )
        for leaf in request.batch.float_leaves():
            if leaf.ndim < 3:
                raise ValueError(
                    "`FORGrad` needs inputs with space or time, (N, T, W), (N, H, W, C) or "
                    f"(N, D, H, W, C), for a table has no frequencies. Received: shape "
                    f"{leaf.shape}."
                )
            request.layout(leaf.ndim)

    def fit_sigma(
        self, inputs: Any, metric: Any, targets: Any = None, sigmas: Sequence[float] | None = None
    ) -> Self:
        """Choose the radius whose maps a metric finds best, on average over the inputs.

        The unfiltered maps are computed once. Choose it on other inputs than those on which maps
        are judged afterwards.

        Parameters
        ----------
        inputs, targets
            As for a call.
        metric : metric of faithfulness, such as `Deletion`
            Called with (Explanation, inputs, targets) for each radius; ``float`` of what it returns
            is the score, and its ``higher_is_better`` tells the direction.
        sigmas : sequence of float, optional
            Radii to try: by default 15 L / 224, half octaves below and above it from 1 cycle on,
            and L, which filters nothing.

        Returns
        -------
        FORGrad
            The same settings with the best ``sigma``, the larger one of equals. Its ``fitted``
            holds ``metric``, ``sigmas`` and ``scores``: what was tried.

        Raises
        ------
        TypeError
            If ``metric`` is no such object.
        ValueError
            If a radius is not positive, there is none, a score is not finite, or inputs and
            targets do not fit.

        Notes
        -----
        The rule is that of Muzellec et al.: the radius with the largest mean faithfulness over a
        validation set, for each model and method.

        Examples
        --------
        >>> import keras, numpy as np
        >>> from xai_core.attributions import Saliency
        >>> from xai_core.metrics import Deletion
        >>> model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(),
        ...                           keras.layers.Dense(2)])
        >>> images = np.random.default_rng(0).random((2, 8, 8, 1)).astype("float32")
        >>> deletion = Deletion(model, output="softmax")
        >>> explainer = FORGrad(Saliency(model)).fit_sigma(images, deletion, sigmas=[2, 8])
        >>> explainer.sigma in (2, 8), explainer.fitted.sigmas
        (True, (2.0, 8.0))
        """
        sigma_search.check_metric(metric)
        tried = None if sigmas is None else sigma_search.candidates(sigmas)
        request = self._request(inputs, [targets])
        (unfiltered,) = running.explanations(self._base, request, 1)
        if tried is None:
            tried = sigma_search.usual_candidates([lengths for _, lengths in _sides(request)])

        def judged(sigma: float) -> Any:
            candidate = replace(self, sigma=sigma)
            maps = keras.tree.map_structure(
                lambda one: candidate._low_passed(one, sigma), unfiltered
            )
            return metric(maps, inputs, targets)

        sigma, record = sigma_search.fitted(metric, tried, judged)
        best = replace(self, sigma=sigma)
        # No field: it changes nothing, and is forgotten where a copy has other settings.
        object.__setattr__(best, "fitted", record)
        return best

    def _low_passed(self, explanation: Explanation | None, sigma: float) -> Explanation | None:
        """What a call gives, from the Explanation of the explainer; None for integer inputs."""
        if explanation is None:
            return None
        values = images.low_pass(explanation.values, sigma, explanation.data_format)
        return replace(
            explanation,
            values=values if self.signed else np.abs(values),
            method=type(self).__name__,
            config=provenance.configuration(self),
            **dict.fromkeys(_OF_UNFILTERED),
        )

    def rows(self, *shapes: Sequence[int]) -> Any:
        """Model rows of one input: those of the explainer."""
        return self._base.rows(*shapes)

    def _rows_of(self, request: Request) -> Any:
        return self._base._rows_of(request)

    def _maps(self, group: Group, reduced: bool) -> Maps:
        """Filter the maps of the explainer."""
        maps: Maps = self._base._maps(group, reduced)
        request = group.request
        axes, lengths = zip(*_sides(request), strict=True)
        radii = [SHARE * max(own) if self.sigma is None else self.sigma for own in lengths]
        device = None if request.model is None else request.model.device
        masks = tuple(
            _backend.to_device(images.frequency_mask(own, radius), device)
            for own, radius in zip(lengths, radii, strict=True)
        )
        # Behind the batch axis there is one for targets.
        static = {"axes": tuple(tuple(a + 1 for a in own) for own in axes), "signed": self.signed}
        if request.engine is None:
            values = _filter_step(None, maps.values, masks, **static)
        else:
            values = group.step(_filter_step, maps.values, masks, rows=0, **static)
        return maps._replace(
            values=values,
            facts={name: fact for name, fact in maps.facts.items() if name in _STILL_TRUE},
            per_leaf={},
            notes=(*maps.notes, *self._decided(radii)),
            doubts=(*maps.doubts, *_doubts(radii)),
        )

    def _decided(self, radii: Sequence[float]) -> list[str]:
        """What a user should know of the radius."""
        shown = " and ".join(f"{radius:.3g}" for radius in radii)
        if self.fitted is not None:
            tried = len(self.fitted.sigmas)
            return [f"`sigma` {self.sigma:.3g} was the best of {tried} by {self.fitted.metric}."]
        return [f"`sigma` {shown} is 15/224 of the longest side."] if self.sigma is None else []


def _sides(request: Request) -> list[tuple[tuple[int, ...], list[int]]]:
    """The axes of space and time of each float input, and their lengths."""
    shapes = [leaf.shape for leaf in request.batch.float_leaves()]
    axes = [images.spatial_axes(len(shape), request.layout(len(shape))) for shape in shapes]
    return [(own, [shape[a] for a in own]) for shape, own in zip(shapes, axes, strict=True)]


def _doubts(radii: Sequence[float]) -> list[str]:
    if min(radii) >= 1:
        return []
    return [
        f"`sigma` {min(radii):.3g} is below 1, which leaves nothing but the mean of each map. "
        "Pass a larger `sigma`."
    ]


def _filter_step(
    score: Any,
    values: tuple[Tensor, ...],
    masks: tuple[Tensor, ...],
    *,
    axes: tuple[tuple[int, ...], ...],
    signed: bool,
) -> tuple[Tensor, ...]:
    del score
    kept = [images.filtered(*leaf) for leaf in zip(values, masks, axes, strict=True)]
    return tuple(kept if signed else map(ops.abs, kept))
