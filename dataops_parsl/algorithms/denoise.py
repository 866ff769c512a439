"""Denoising of frames that are to be segmented, and how much noise a frame holds."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dataops_parsl.algorithms import nlm
from dataops_parsl.algorithms.ants_binding import ants, from_ants, quiet, to_ants

Float32 = NDArray[np.float32]

_BIN_PX = 256
_MAX_BINS = 32
_QUANTILE = 0.3  # of residuals: edges are in the upper ones
_QUANTILE_OF_NORMAL = 0.385320  # of |N(0, 1)|
_LEAST_SPAN_SIGMA = 3.0
_FITS = 4
_RESOLUTION = 1e-6  # of the range: float32 holds no finer noise


def denoise(image: NDArray[Any], method: Literal["nlm", "ants"] = "nlm") -> Float32:
    """Denoise one frame for segmentation; not for measuring.

    Either way patches of radius 1 are compared within a radius of 2 px, at full resolution: wider ones cost
    with the square of the radius. Bit-repeatable on one thread.

    Parameters
    ----------
    image : (Y, X) array
        Counts, finite.
    method : {"nlm", "ants"}
        "nlm": non-local means (see :mod:`dataops_parsl.algorithms.nlm`) of counts, compared as
        :func:`stabilize` gives them, in the dark and in bright cells alike; keeps the frame's mean.
        "ants": adaptive non-local means (Manjón et al. 2010, J. Magn. Reson. Imaging 31:192-203) as ANTs has
        it, with its Gaussian noise model (Rician, its default, is that of magnetic resonance and shifts dark
        backgrounds); slower, and lowers the mean by 0.1 to 1 %.

    Returns
    -------
    (Y, X) float32
        In the same units. A constant frame, or one with a side below 5 px, comes back unchanged; so does,
        with "nlm", one in which no noise is seen.

    Raises
    ------
    ValueError
        `image` is not two-dimensional, a pixel is NaN or infinite, or there is no such method.
    """
    if method not in ("nlm", "ants"):
        raise ValueError(f"no denoising method {method!r}: choose 'nlm' or 'ants'")
    if image.ndim != 2:
        raise ValueError(f"expected a (Y, X) frame, got shape {image.shape}")
    work = image.astype(np.float32)
    if not np.isfinite(work).all():
        raise ValueError("the frame holds NaN or infinite pixels: fill them before denoising")
    if min(work.shape) < 5 or np.ptp(work) == 0:
        return work
    if method == "nlm":
        noise = estimate_noise(work)
        return work if noise is None else nlm.non_local_means(work, stabilize(work, noise))
    library = ants()
    with quiet():
        return from_ants(
            library.denoise_image(to_ants(work), shrink_factor=1, p=1, r=2, noise_model="Gaussian")
        )


class Noise(NamedTuple):
    """Variance of the noise, counts²: ``variance + gain * (counts - counts_at)``, at least `floor`."""

    counts_at: float
    variance: float
    gain: float
    floor: float


def estimate_noise(image: Float32) -> Noise | None:
    """Fit the noise of a frame, which grows with the signal, without knowing the camera.

    Second differences along both axes cancel smooth structure (Immerkaer 1996, Comput. Vis. Image Underst.
    64:300-302). A low quantile of them, which edges hardly reach, is taken in bins of the local mean.

    Parameters
    ----------
    image : (Y, X) float32
        Counts, finite, at least 5 px a side.

    Returns
    -------
    Noise or None
        A line through the bins; constant where the frame's range is too small to tell or noise does not grow.
        None where no noise is seen: differences are 0 nearly everywhere.
    """
    along_x = image[:, :-2] + image[:, 2:] - 2 * image[:, 1:-1]
    residual = np.abs(along_x[:-2] + along_x[2:] - 2 * along_x[1:-1]) / 6
    mean = ndimage.uniform_filter(image, 3, mode="nearest")[1:-1, 1:-1]
    # Neighbouring residuals are correlated: every second row and column holds nearly all there is to know.
    every = 2 if residual.size > 4 * _BIN_PX else 1
    residual, mean = residual[::every, ::every].ravel(), mean[::every, ::every].ravel()
    order = np.argsort(mean, kind="stable")
    n_bins = min(_MAX_BINS, max(1, len(order) // _BIN_PX))
    bins = np.array_split(order, n_bins)
    counts = np.array([float(mean[b].mean(dtype=np.float64)) for b in bins])
    sigma = np.array([float(np.quantile(residual[b], _QUANTILE)) for b in bins]) / _QUANTILE_OF_NORMAL
    # Clipped pixels, black or saturated, show no noise: their bins say nothing of the others.
    least = _RESOLUTION * float(np.ptp(image))
    seen = sigma > max(least, 0.03 * float(sigma.max()))
    if not seen.any():
        return None
    counts, variance = counts[seen], sigma[seen] ** 2
    floor, typical = float(variance.min()) / 4, float(np.median(variance))
    if len(counts) > 2 and np.ptp(counts) > _LEAST_SPAN_SIGMA * typical**0.5:
        expected = variance
        for _ in range(_FITS):  # errors are relative; at first it is not known to what
            gain, at_first = np.polyfit(counts - counts[0], variance, 1, w=1 / expected)
            expected = np.maximum(gain * (counts - counts[0]) + at_first, floor)
        if gain > 0:
            return Noise(float(counts[0]), max(float(at_first), floor), float(gain), floor)
    return Noise(float(counts[0]), typical, 0.0, floor)


def stabilize(image: Float32, noise: Noise) -> Float32:
    """Transform counts (Y, X) so that their noise has a standard deviation of 1 everywhere.

    Anscombe's transform, generalized to gain, offset and read noise (Murtagh, Starck & Bijaoui 1995, Astron.
    Astrophys. Suppl. Ser. 112:179-189).
    """
    above = image - np.float32(noise.counts_at)
    first = noise.variance + 0.375 * noise.gain**2
    variance = np.maximum(np.float32(noise.gain) * above + np.float32(first), np.float32(noise.floor))
    # 2 (sqrt(first + gain x) - sqrt(first)) / gain, in a form that holds without gain too.
    return np.asarray(2 * above / (np.sqrt(variance) + np.float32(first**0.5)), dtype=np.float32)
