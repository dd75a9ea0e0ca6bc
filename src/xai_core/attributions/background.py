"""Rows of data that stand where an input is not kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from xai_core import _baselines, _frames
from xai_core._inputs import as_structure
from xai_core._request import Request
from xai_core.typing import Array

_MOST = 100
"""Rows over which every mask is averaged, each at the cost of a model row."""


def check_field(background: Any, baseline: Any) -> None:
    """Raise if there is a baseline beside the background."""
    if background is not None and baseline is not None:
        raise ValueError(
            "`baseline` must be left out beside `background`, whose rows stand in its place. "
            f"Received: {type(baseline).__name__}."
        )


def length(background: Any, several: bool) -> int:
    """Number of rows of a background, of one array or of each of ``several`` inputs."""
    if isinstance(background, tuple) or (isinstance(background, list) and several):
        return length(background[0], several=False)
    if isinstance(background, Mapping):
        return length(next(iter(background.values())), several=False)
    return len(background)


def leaves(background: Any, request: Request, averaged: bool) -> list[Array]:
    """The rows of a background for each float input, (B, ...), checked."""
    given = _leaves(background, request)
    counts = {len(one) for one in given}
    if len(counts) != 1 or 0 in counts:
        raise ValueError(
            "`background` must hold at least one row, the same number for each input. Received: "
            f"{', '.join(str(one.shape) for one in given)}."
        )
    if averaged and len(given[0]) > _MOST:
        raise ValueError(
            f"`background` must hold at most {_MOST} rows, for each costs a model row per mask. "
            f"Received: {len(given[0])}. Summarise it, for example by the centres of "
            "sklearn.cluster.KMeans."
        )
    found = []
    for one, x in zip(given, request.batch.float_leaves(), strict=True):
        if one.shape[1:] != x.shape[1:]:
            raise ValueError(
                f"`background` must hold rows of shape {x.shape[1:]}, as the inputs. "
                f"Received: {one.shape[1:]}."
            )
        found.append(_baselines.as_type(_finite(one, request), x))
    return found


def _leaves(background: Any, request: Request) -> list[Array]:
    model, batch = request.model, request.batch
    structure = model.arranged(as_structure(background, model.several_inputs))
    found = keras.tree.flatten(structure)
    if len(found) != len(batch.leaves):
        raise ValueError(
            f"`background` must have the structure of the inputs, {len(batch.leaves)} arrays. "
            f"Received: {len(found)}."
        )
    if _frames.is_frame(background):
        _frames.check_columns("background", background, batch.columns)
        return [_frames.cells(background, found[0])]
    floats = [one for one, i in zip(found, batch.integers, strict=True) if not i]
    if any(one.ndim == 0 for one in floats):
        shown = next(one for one in floats if one.ndim == 0).item()
        raise ValueError(
            f"`background` must hold rows, with a batch axis first. Received: {shown!r}."
        )
    return floats


def _finite(rows: Array, request: Request) -> Array:
    if not request.model.on_host:
        if rows.dtype.kind not in "fiub" and rows.dtype.name != "bfloat16":
            raise TypeError(f"`background` must be numbers. Received: {rows.dtype}.")
        if not np.isfinite(rows.astype("float64")).all():
            raise ValueError("`background` must be finite. Received: NaN or infinity.")
    return rows
