"""What every explainer returns: the map, and all that is needed to know where it came from."""

from __future__ import annotations

import zlib
from dataclasses import KW_ONLY, dataclass, field, fields
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from xai_core import _checks, _explanation_file, _explanation_text, citations
from xai_core._explanation_fields import (
    PER_SAMPLE,
    TUPLES,
    frozen,
    json_values,
    map_array,
    per_sample,
    strings,
)
from xai_core.typing import Array

__all__ = ["Explanation", "check_rows", "row_fingerprints"]


@dataclass(frozen=True, eq=False, repr=False)
class Explanation:
    """Attributions of N inputs, with the score that they explain and their provenance.

    ``np.asarray(explanation)`` is ``values``. ``explanation[i]``, slices, integer arrays and
    boolean masks give Explanations (an integer keeps a batch axis of 1), so that iterating
    yields one Explanation per input. Two Explanations are equal only if they are the same
    object, and there is no arithmetic: take the array.

    All arrays are read-only, and share no memory that a caller can write: an array that could
    still be written from outside is copied. ``config`` and ``versions`` are kept as what their
    JSON text gives back (tuples become lists).

    Parameters
    ----------
    values : array, shape (N, ...)
        The attributions, kept as float32 on the host. They broadcast against the inputs:
        (N, W), (N, T, W), (N, H, W, 1) or (N, 1, H, W).
    method : str
        Name of the explainer's class.
    config : dict
        Its settings, as JSON values.
    data_format : {"channels_last", "channels_first"}
        Where the channel axis of inputs and values stands.
    targets : array, shape (N,), (N, K) or (N, ...), optional
        The explained column of each row (integers), the weights of the K columns, masks of a
        segmentation's outputs, reference boxes (N, B, 4 + 1 + K), or embeddings.
    scores : array, shape (N,), optional
        f(x), the explained score.
    base_values : array, shape (N,), optional
        The score of the baseline.
    standard_error : array, shape of ``values``, optional
        Of methods that sample, where no channels were reduced.
    unreduced_standard_error : array, optional
        The same before channels were reduced.
    completeness_gap : array, shape (N,), optional
        Sum of the attributions minus (f(x) - f(baseline)).
    inputs : array, shape (N, W) or (N, T, W), optional
        The explained rows of tables and series.
    fingerprints : array, shape (N,), optional
        See `row_fingerprints`.
    features, feature_standard_error, first_order, p_values : array, shape (N, d), optional
        One number per cell (a column, a patch, a segment) instead of one per element.
    interactions : array, shape (N, d, d), optional
        Of pairs of cells.
    rows : array, shape (N,), optional
        Number of rows that the model computed for each input.
    converged : array, shape (N,), optional
        Whether ``tolerance`` was met.
    feature_mask : array, optional
        Which cell each element belongs to: of one sample's shape where all inputs share it, of
        rank and length of ``values`` where each has its own.
    class_names, feature_names : tuple of str, optional
        Names of the output's columns and of the input's features.
    seed : int, optional
        Of methods that sample.
    layer : str, optional
        The layer that was used.
    versions : dict
        Package name: version.
    seconds : float, optional
        Time of the whole call that this result is of, also after slicing.
    targets_used : bool
        False for methods whose result does not depend on the targets.
    notes : tuple of str
        What was decided automatically.

    Raises
    ------
    ValueError
        If a field that has one row per input has another number of rows than ``values``.
    TypeError
        If ``values`` holds no numbers, or ``config`` something that JSON cannot write.

    Examples
    --------
    >>> import numpy as np
    >>> explanation = Explanation(
    ...     np.ones((2, 3)), "Saliency", targets=[0, 1], scores=[0.93, 0.5],
    ...     class_names=("cat", "dog"),
    ... )
    >>> explanation
    Explanation(method='Saliency', shape=(2, 3), targets=['cat', 'dog'], scores=[0.93, 0.5])
    >>> explanation[1].values.shape, explanation.label(0)
    ((1, 3), 'cat 0.93')
    """

    values: Array
    method: str
    _: KW_ONLY
    config: dict[str, Any] = field(default_factory=dict)
    data_format: str = "channels_last"
    targets: Array | None = None
    scores: Array | None = None
    base_values: Array | None = None
    standard_error: Array | None = None
    unreduced_standard_error: Array | None = None
    completeness_gap: Array | None = None
    inputs: Array | None = None
    fingerprints: Array | None = None
    features: Array | None = None
    feature_standard_error: Array | None = None
    first_order: Array | None = None
    interactions: Array | None = None
    p_values: Array | None = None
    rows: Array | None = None
    converged: Array | None = None
    feature_mask: Array | None = None
    class_names: tuple[str, ...] | None = None
    feature_names: tuple[str, ...] | None = None
    seed: int | None = None
    layer: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    seconds: float | None = None
    targets_used: bool = True
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check every field and detach it from the caller's objects."""
        checked: dict[str, Any] = {"values": map_array(self.values)}
        rows = len(checked["values"])
        for name, rank in PER_SAMPLE.items():
            checked[name] = per_sample(name, getattr(self, name), rank, rows)
        if self.feature_mask is not None:
            checked["feature_mask"] = frozen(self.feature_mask)
        for name in TUPLES:
            checked[name] = strings(name, getattr(self, name))
        for name in ("config", "versions"):
            checked[name] = json_values(name, getattr(self, name))
        if self.seed is not None:
            checked["seed"] = _checks.integer("seed", self.seed)
        if self.seconds is not None:
            checked["seconds"] = float(self.seconds)
        _checks.choice("data_format", self.data_format, ("channels_last", "channels_first"))
        _checks.flag("targets_used", self.targets_used)
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """``values``, as NumPy asks for them."""
        return np.array(self.values, dtype=dtype, copy=copy)

    def __len__(self) -> int:
        """Return the number of explained inputs."""
        return len(self.values)

    def __getitem__(self, index: Any) -> Explanation:
        """Rows of the result; out of range raises IndexError, which also ends a loop."""
        rows = _row_index(index, len(self))
        taken = {item.name: getattr(self, item.name) for item in fields(self)}
        for name in ("values", *PER_SAMPLE):
            if taken[name] is not None:
                taken[name] = taken[name][rows]
        mask = self.feature_mask
        if mask is not None and mask.ndim == self.values.ndim and len(mask) == len(self):
            taken["feature_mask"] = mask[rows]
        return Explanation(**taken)

    def __repr__(self) -> str:
        """Tell the method, the shape, what is explained, and the scores."""
        parts = [f"method={self.method!r}", f"shape={self.values.shape}"]
        if self.targets is not None:
            names = _explanation_text.listed(self.targets, lambda row: repr(_name(self, row)))
            parts.append(f"targets={names}")
        if not self.targets_used:
            parts.append("targets_used=False")
        if self.scores is not None:
            parts.append(f"scores={_explanation_text.listed(self.scores, '{:.4g}'.format)}")
        if self.layer is not None:
            parts.append(f"layer={self.layer!r}")
        return f"Explanation({', '.join(parts)})"

    def label(self, index: int = 0) -> str:
        """Return what is explained in one row, as a title: class name and score.

        Parameters
        ----------
        index : int
            The row.

        Returns
        -------
        str
            For example ``"tabby cat 0.93"``; empty where neither is known.
        """
        row = self[_checks.integer("index", index)]
        parts = [] if row.targets is None else [_name(row, row.targets[0])]
        if row.scores is not None:
            parts.append(_explanation_text.short(float(row.scores[0])))
        return " ".join(parts)

    def cite(self) -> citations.Citation:
        """Return how a paper tells of this result, of a wrapped explainer too.

        Returns
        -------
        Citation
            ``sentence`` tells method, settings, score and versions for the section on methods,
            ``bibtex`` holds the entries of the papers. ``print`` shows both.

        Examples
        --------
        >>> explanation = Explanation([[0.5, 1.0]], "SmoothGrad", config={"n_samples": 50})
        >>> explanation.cite().sentence
        'Attributions were computed with SmoothGrad (Smilkov et al., 2017; 50 samples).'
        """
        return citations.cited(self)

    def save(self, path: str | PathLike[str]) -> Path:
        """Write the result to one ``.npz`` file; a file of that name is replaced.

        It holds one array per field and a JSON text with the rest, never a pickle.
        ``numpy.load`` opens it too.

        Parameters
        ----------
        path : str or path
            ``.npz`` is appended where it is missing. Its directory must exist.

        Returns
        -------
        pathlib.Path
            The file that was written.

        Raises
        ------
        FileNotFoundError
            If the directory does not exist.
        TypeError
            If ``inputs`` or ``targets`` hold objects other than numbers, strings and None.
        """
        path = _explanation_file.npz_path(path)
        _explanation_file.write(path, {f.name: getattr(self, f.name) for f in fields(self)})
        return path

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Explanation:
        """Read what `save` wrote, every field as it was.

        Parameters
        ----------
        path : str or path
            ``.npz`` is appended where it is missing.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is no Explanation, or was written by a newer version of the package.
        """
        path = _explanation_file.npz_path(path)
        found = _explanation_file.read(path)
        if not {"values", "method"} <= found.keys() <= {f.name for f in fields(cls)}:
            raise ValueError(
                "`path` must hold the fields of an Explanation. "
                f"Received: {str(path)!r} with {sorted(found)}."
            )
        return cls(**found)


def row_fingerprints(inputs: Any) -> Array | None:
    """CRC-32 of the bytes of each row, by which a later call knows the rows again.

    Parameters
    ----------
    inputs : array, shape (N, ...)
        The rows as they were given, in their own dtype.

    Returns
    -------
    array of uint32, shape (N,), or None
        None for arrays of Python objects, whose bytes are addresses.

    Examples
    --------
    >>> import numpy as np
    >>> row_fingerprints(np.zeros((1, 2), np.uint8)).tolist()
    [1104745215]
    """
    array = np.asarray(inputs)
    if array.dtype.hasobject:
        return None
    row_size = int(np.prod(array.shape[1:]))
    rows = np.ascontiguousarray(array).reshape(len(array), row_size).view(np.uint8)
    return np.array([zlib.crc32(row.data) for row in rows], dtype=np.uint32)


def check_rows(explanation: Explanation, inputs: Any) -> None:
    """Raise unless ``inputs`` are the rows that were explained, in the same order.

    Parameters
    ----------
    explanation : Explanation
        Nothing is checked but the number of rows where it holds no fingerprints.
    inputs : array, shape (N, ...)
        What the explainer was given.

    Raises
    ------
    ValueError
        If the number of rows, their order, their dtype or their data differ.
    """
    array = np.asarray(inputs)
    if array.ndim == 0 or len(array) != len(explanation):
        raise ValueError(
            f"`inputs` must have one row per explained input, here {len(explanation)}. "
            f"Received: shape {array.shape}."
        )
    known = explanation.fingerprints
    found = None if known is None else row_fingerprints(array)
    if known is None or found is None or np.array_equal(found, known):
        return
    reordered = np.array_equal(np.sort(found), np.sort(known))
    received = "the same rows in another order" if reordered else "other data or another dtype"
    raise ValueError(
        f"`inputs` must be the rows that {explanation.method or 'the explainer'} was given, in "
        f"the same order. Received: {received} ({array.dtype}, shape {array.shape}). A shuffled "
        "loader changes the order; for other data on purpose, pass "
        "`dataclasses.replace(explanation, fingerprints=None)`."
    )


def _row_index(index: Any, length: int) -> Any:
    if isinstance(index, slice):
        return index
    rows = np.asarray(index)
    if rows.shape == (0,) and rows.dtype.kind == "f":
        rows = rows.astype(np.intp)
    one_flag = rows.dtype == bool and rows.ndim == 0
    if isinstance(index, tuple) or rows.dtype.kind not in "iub" or rows.ndim > 1 or one_flag:
        raise TypeError(
            "An Explanation is indexed by an integer, a slice, or a 1-D array of integers or "
            f"booleans, over its rows. Received: {index!r}. Take `values` for other axes."
        )
    if rows.ndim:
        return rows
    if not -length <= rows < length:
        raise IndexError(f"Row {int(rows)} is out of range for an Explanation of {length} rows.")
    start = int(rows) % length
    return slice(start, start + 1)


def _name(explanation: Explanation, target: Any) -> str:
    operator = explanation.config.get("operator")
    return _explanation_text.target_name(target, explanation.class_names, operator)
