"""Means over replicates, and the difference to controls; the replicate is the unit, not the cell.

Cells of one well share everything that was done to it, so that counting them as independent makes any
difference significant (Lord et al. 2020, J Cell Biol 219:e202001064).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import hypot

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Mean:
    """A mean over replicates.

    Attributes
    ----------
    mean : float
        NaN without any replicate.
    sem : float
        Standard deviation (n - 1) over the root of n; NaN below two replicates: one has no spread to show.
    n : int
        Replicates with a known value.
    """

    mean: float
    sem: float
    n: int


def mean_of(values: npt.ArrayLike) -> Mean:
    """Mean and standard error over replicates.

    Parameters
    ----------
    values : (N,) float64
        One value a replicate; NaN (unknown) is left out.

    Returns
    -------
    Mean
    """
    given = np.asarray(values, dtype=np.float64).ravel()
    known = given[~np.isnan(given)]
    n = len(known)
    if n == 0:
        return Mean(float("nan"), float("nan"), 0)
    sem = float(known.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
    return Mean(float(known.mean()), sem, n)


def minus_control(treated: Mean, control: Mean) -> Mean:
    """The mean above the controls' mean.

    Parameters
    ----------
    treated, control : Mean

    Returns
    -------
    Mean
        Difference of the means. Its standard error is that of two independent means, the root of the sum of
        their squares, and NaN unless both have one. ``n`` is that of `treated`.
    """
    return Mean(treated.mean - control.mean, hypot(treated.sem, control.sem), treated.n)
