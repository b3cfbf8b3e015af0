"""Numbers that describe the values of a slice, and the histogram from which colours are chosen."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

BINS = 64
PERCENTILES = (0.5, 99.5)


def describe(values: Array, *, approximate: bool) -> dict[str, Any]:
    """Describe the values of an array of any shape.

    Parameters
    ----------
    values
        Numbers or booleans; of complex numbers the amplitude is described.
    approximate
        Whether `values` is only a sample of what was asked for; handed on.

    Returns
    -------
    dict
        ``count`` (of finite values), ``nonfinite``, ``min``, ``max``, ``mean``, ``std``, ``p_low`` and ``p_high``
        (percentiles 0.5 and 99.5), ``positive_min`` (least value above zero), ``histogram`` with ``counts`` and
        ``edges``, ``approx``. Values are None where there is no finite number, and where the calculation goes beyond
        double precision.
    """
    numbers = np.abs(values) if values.dtype.kind == "c" else values
    flat = numbers.reshape(-1)
    if flat.dtype.kind == "f":
        finite = flat[np.isfinite(flat)]
        finite = finite.astype(np.float64) if finite.dtype.itemsize < 4 else finite
    else:
        finite = flat.astype(np.uint8) if flat.dtype.kind == "b" else flat
    found: dict[str, Any] = {
        "count": int(finite.size),
        "nonfinite": int(flat.size - finite.size),
        "approx": approximate,
    }
    if not finite.size:
        nothing = dict.fromkeys(("min", "max", "mean", "std", "p_low", "p_high", "positive_min", "histogram"))
        return found | nothing
    low, high = float(finite.min()), float(finite.max())
    positive = finite[finite > 0]
    return found | {
        "min": low,
        "max": high,
        **_summary(finite),
        "positive_min": float(positive.min()) if positive.size else None,
        "histogram": _histogram(finite, low, high),
    }


def _summary(finite: Array) -> dict[str, float | None]:
    # Squares and sums of the greatest numbers are beyond all numbers, and JSON has no word for infinity.
    with np.errstate(over="ignore", invalid="ignore"):
        found = {"mean": float(finite.mean(dtype=np.float64)), "std": float(finite.std(dtype=np.float64))}
        found["p_low"], found["p_high"] = map(float, np.percentile(finite, PERCENTILES))
    return {name: value if np.isfinite(value) else None for name, value in found.items()}


def _histogram(finite: Array, low: float, high: float) -> dict[str, Any] | None:
    width = float(high) - float(low)
    if not np.isfinite(width):
        return None
    # Between numbers that are nearly the same there is no room for the edges of so many bins.
    if width <= BINS * np.spacing(max(abs(low), abs(high))):
        half = max(abs(low) * 0.5, 0.5)
        low, high = low - half, high + half
    # The edges between single precision numbers need double precision.
    wide = finite.astype(np.float64, copy=False) if finite.dtype.kind == "f" else finite
    counts, edges = np.histogram(wide, bins=BINS, range=(low, high))
    return {"counts": counts.tolist(), "edges": edges.tolist()}
