"""Long lines at the resolution of a screen, without losing a single extreme value."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def step_for(length: int, points: int) -> int:
    """Return how many values one min/max pair stands for; 1 means that the values themselves are sent.

    Parameters
    ----------
    length
        Number of values of the line.
    points
        Number of pairs wanted; up to twice as many values are sent as they are.
    """
    return 1 if length <= 2 * points else -(-length // points)


def envelope(values: Array, step: int) -> Array:
    """Return minimum and maximum of every `step` values.

    Parameters
    ----------
    values
        Shape ``(n,)``, real numbers. NaN is left out; where there is nothing else the pair is NaN.
    step
        Length of a group; the last one may be shorter.

    Returns
    -------
    Array
        Shape ``(ceil(n / step), 2)``, dtype of `values`.
    """
    groups, rest = divmod(len(values), step)
    whole = values[: groups * step].reshape(groups, step)
    pairs = np.empty((groups + bool(rest), 2), values.dtype)
    pairs[:groups, 0] = np.fmin.reduce(whole, axis=1) if groups else 0
    pairs[:groups, 1] = np.fmax.reduce(whole, axis=1) if groups else 0
    if rest:
        tail = values[groups * step :]
        pairs[groups] = np.fmin.reduce(tail), np.fmax.reduce(tail)
    return pairs
