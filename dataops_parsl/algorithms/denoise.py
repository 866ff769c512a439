"""Denoising by ANTs: adaptive non-local means (Manjón et al. 2010, J. Magn. Reson. Imaging 31:192-203)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataops_parsl.algorithms.ants_binding import ants, from_ants, quiet, to_ants


def denoise(image: NDArray[Any]) -> NDArray[np.float32]:
    """Denoise one frame for segmentation; not for measuring.

    Patches of radius 1 are compared within a radius of 2 px, at full resolution: wider ones cost with the
    square of the radius, for little. The noise model is Gaussian: ANTs' default, Rician, is that of magnetic
    resonance and shifts dark backgrounds (by -0.5 counts at 2 counts), while the noise level is estimated
    locally either way, which follows the Poisson noise of a camera. Bit-repeatable on one thread.

    Parameters
    ----------
    image : (Y, X) array
        Counts, finite.

    Returns
    -------
    (Y, X) float32
        In the same units. A constant frame, or one with a side below 5 px, comes back unchanged.

    Raises
    ------
    ValueError
        `image` is not two-dimensional, or a pixel is NaN or infinite.
    """
    if image.ndim != 2:
        raise ValueError(f"expected a (Y, X) frame, got shape {image.shape}")
    work = image.astype(np.float32)
    if not np.isfinite(work).all():
        raise ValueError("the frame holds NaN or infinite pixels: fill them before denoising")
    if min(work.shape) < 5 or np.ptp(work) == 0:
        return work
    library = ants()
    with quiet():
        return from_ants(
            library.denoise_image(to_ants(work), shrink_factor=1, p=1, r=2, noise_model="Gaussian")
        )
