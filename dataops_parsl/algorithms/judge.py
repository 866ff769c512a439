"""ANTs, asked whether a drift is right: it starts at the answer, and says where it would rather be.

ANTs (Avants et al. 2011) compares by the mutual information of Mattes et al. (2003), which knows nothing of
how the drift was found. Only places where the frames look alike already are shown to it: with 70 % of the
cells moving by themselves it errs by a tenth of a pixel on them, by one pixel on the whole frame.
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dataops_parsl.algorithms.align import Fit, Float32, Transform, binned
from dataops_parsl.algorithms.ants_binding import ants, quiet, to_ants

_SIDE_PX = 256  # longer frames are binned to this: ANTs costs as many pixels as it is given
_SAMPLES = 4_096  # pixels at which ANTs compares
_AGREE_WINDOW_PX = 17
_AGREE_CORRELATION = 0.7
_MIN_AGREE_FRAC = 0.02  # with less to go by, ANTs sees the whole frame
_ARM_PX = 1000.0
_TYPES = {"translation": "Translation", "rigid": "Rigid", "affine": "Affine"}


def judged(fixed: Float32, moved: Float32, found: Fit, transform: Transform) -> Fit:
    """Let ANTs improve a drift.

    Parameters
    ----------
    fixed, moved : (Y, X) float32
        Flattened frames of one shape.
    found : Fit
        Where it starts.
    transform : {"translation", "rigid", "affine"}

    Returns
    -------
    Fit
        Where it ended; error and width are those of `found`.
    """
    factor = max(1, math.ceil(max(fixed.shape) / _SIDE_PX))
    small, other = binned(fixed, factor), binned(moved, factor)
    centre = (np.array(small.shape) - 1) / 2
    offset = found.drift_px / factor + centre - found.matrix @ centre
    seen = ndimage.affine_transform(
        np.ones(other.shape, np.float32), found.matrix, offset, order=1, mode="constant"
    )
    at_rest = ndimage.affine_transform(other, found.matrix, offset, order=1, mode="nearest")
    # With the origin of space in the middle, ANTs' identity start turns about that middle.
    origin = (-float(centre[0]), -float(centre[1]))
    mask = _agreement(small, at_rest) & (seen > 0.99)
    library = ants()
    with tempfile.TemporaryDirectory(prefix="drift-") as folder, quiet():
        moves = library.registration(
            to_ants(small, origin),
            to_ants(at_rest, origin),
            type_of_transform=_TYPES[transform],
            initial_transform="Identity",
            outprefix=str(Path(folder) / "t_"),
            aff_metric="mattes",
            aff_sampling=32,
            aff_random_sampling_rate=min(1.0, _SAMPLES / small.size),
            aff_iterations=(5,),
            aff_shrink_factors=(1,),
            aff_smoothing_sigmas=(0,),
            mask=to_ants(mask, origin),
            mask_all_stages=True,
        )
        affine = library.read_transform(moves["fwdtransforms"][0])
        at, *arms = (
            np.array(affine.apply_to_point(point)) for point in ((0.0, 0.0), (_ARM_PX, 0.0), (0.0, _ARM_PX))
        )
    rest = np.eye(2)
    if transform == "affine":
        rest = np.stack([(arm - at) / _ARM_PX for arm in arms], axis=1)
    elif transform == "rigid":
        angle = math.atan2(arms[0][1] - at[1], arms[0][0] - at[0])
        rest = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return found._replace(matrix=found.matrix @ rest, drift_px=found.matrix @ at * factor + found.drift_px)


def _agreement(fixed: Float32, moved: Float32) -> NDArray[np.bool_]:
    """Where both frames look alike already: cells that moved by themselves must not pull at the drift."""

    def local(values: Float32) -> Float32:
        return np.asarray(ndimage.uniform_filter(values, _AGREE_WINDOW_PX))

    fixed_mean, moved_mean = local(fixed), local(moved)
    covariance = local(fixed * moved) - fixed_mean * moved_mean
    variances = (local(fixed * fixed) - fixed_mean**2) * (local(moved * moved) - moved_mean**2)
    alike = covariance > _AGREE_CORRELATION * np.sqrt(np.maximum(variances, 0))
    if np.count_nonzero(alike) < _MIN_AGREE_FRAC * alike.size:
        return np.ones(alike.shape, dtype=np.bool_)
    return np.asarray(alike)
