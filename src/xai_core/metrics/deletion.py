"""Deletion and Insertion: remove or insert the most important elements, and follow the score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xai_core.metrics.curve import AbstractCurve


@dataclass(frozen=True, eq=False, kw_only=True)
class Deletion(AbstractCurve):
    r"""Area under the score's curve while the most important elements are removed.

    .. math:: \int_0^1 s\bigl(x_{[\text{first } q \text{ of the ranking} = b]}\bigr) \, dq

    A good explanation makes the score fall soon: lower is better. All channels of a position of
    an image go together, and channels of a map are added up for the ranking; equal values keep
    the order of the positions.

    Parameters
    ----------
    model : model, function or estimator
        Any model that predicts.
    operator, output : optional
        By default those of the Explanation.
    batch_size, progress
        As for every explainer.
    steps : int, optional
        Number of steps, at most one per element; None is one per element.
    baseline : number, array, "mean", "blur", callable or list
        What stands where an element is removed: see `IntegratedGradients`. A list means the
        average of the curves.

    Raises
    ------
    TypeError, ValueError
        If a field is wrong, at construction; if maps, inputs and targets do not fit one another,
        at the call.

    Warns
    -----
    ExplanationWarning
        If a score of a class is outside [0, 1], for areas of logits mean little.

    Notes
    -----
    Petsiuk, Das and Saenko, 2018, "RISE: Randomized Input Sampling for Explanation of Black-box
    Models", https://arxiv.org/abs/1806.07421. ``flip_share`` of the result is the smallest share
    whose removal changes the predicted class.

    Examples
    --------
    >>> import numpy as np
    >>> weights = np.array([4.0, 3.0, 2.0, 1.0])
    >>> deletion = Deletion(lambda x: x @ weights, operator="regression", steps=None)
    >>> x = np.ones((1, 4))
    >>> float(deletion(x * weights, x, targets=0))
    3.75
    """

    higher_is_better: ClassVar[bool] = False
    inserts: ClassVar[bool] = False
    source: ClassVar[str] = "Petsiuk et al., 2018, RISE, https://arxiv.org/abs/1806.07421"


@dataclass(frozen=True, eq=False, kw_only=True)
class Insertion(AbstractCurve):
    r"""Area under the score's curve while the most important elements are inserted.

    .. math:: \int_0^1 s\bigl(b_{[\text{first } q \text{ of the ranking} = x]}\bigr) \, dq

    A good explanation makes the score rise soon: higher is better. Ranking as in `Deletion`.

    Parameters
    ----------
    model : model, function or estimator
        Any model that predicts.
    operator, output : optional
        By default those of the Explanation.
    batch_size, progress
        As for every explainer.
    steps : int, optional
        Number of steps, at most one per element; None is one per element.
    baseline : number, array, "mean", "blur", callable or list
        Where the curve begins: see `IntegratedGradients`. A list means the average of the curves.

    Raises
    ------
    TypeError, ValueError
        If a field is wrong, at construction; if maps, inputs and targets do not fit one another,
        at the call.

    Warns
    -----
    ExplanationWarning
        If a score of a class is outside [0, 1], for areas of logits mean little.

    Notes
    -----
    Petsiuk, Das and Saenko, 2018, "RISE: Randomized Input Sampling for Explanation of Black-box
    Models", https://arxiv.org/abs/1806.07421. The paper begins with a blurred image.

    Examples
    --------
    >>> import numpy as np
    >>> weights = np.array([4.0, 3.0, 2.0, 1.0])
    >>> insertion = Insertion(lambda x: x @ weights, operator="regression", steps=None)
    >>> x = np.ones((1, 4))
    >>> float(insertion(x * weights, x, targets=0))
    6.25
    """

    higher_is_better: ClassVar[bool] = True
    inserts: ClassVar[bool] = True
    source: ClassVar[str] = "Petsiuk et al., 2018, RISE, https://arxiv.org/abs/1806.07421"
