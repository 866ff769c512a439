"""Drift between two frames: found, refined, judged, and how sure it is.

Phase correlation (Kuglin & Hines 1975; the peak refined by a parabola) gives the start, :mod:`.align`
refines it far below a pixel and says how large its error is, and ANTs (:mod:`.judge`) is asked whether it
would rather be elsewhere. Where the frames look more alike at ANTs' answer, they are refined from there.

What a :class:`Shift` means, and how to chain and undo it, stands in :mod:`.shift`, given on from here.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from dataops_parsl.algorithms import align
from dataops_parsl.algorithms.align import Fit, Float32, Transform
from dataops_parsl.algorithms.judge import judged
from dataops_parsl.algorithms.shift import (
    IDENTITY,
    NAMES,
    Shift,
    apply,
    compose,
    inside,
    invert,
    valid_mask,
)

__all__ = [
    "IDENTITY",
    "NAMES",
    "Found",
    "Shift",
    "Transform",
    "apply",
    "compose",
    "estimate",
    "invert",
    "is_seen",
    "valid_mask",
]

Window = tuple[slice, slice]

_WORK_SIDE_PX = 1024  # longer frames are binned to this: the shift is sub-pixel there as well
_MAX_SHIFT_FRAC = 0.4  # of the side; what is left to compare is too little beyond
_SMOOTH_PX = 1.0
_CANDIDATES = 4  # peaks of each correlation surface that are tried
_LOW_PASS_PX = 1.5
_WHITE_FLOOR = 0.1  # of the mean magnitude: emptier frequencies are not blown up
_MIN_SIDE_PX = 16
# Of the side. Narrower, it follows the cells, and at the border not as they move: an error of 0.1 px.
_BACKGROUND_FRAC = 1 / 3
_FINE_PX = 17  # what is wider, in every second pixel, is light and no cell
_SEEN_SIGMAS = 4


class Found(NamedTuple):
    """What two frames say of the drift between them.

    Attributes
    ----------
    shift : Shift
        :data:`IDENTITY` where a frame has no structure.
    confidence : float
        Chance that the drift of a point is right to within one pixel: ``1 - (1 + 2 / (n error²))^(-n/2)``
        with n degrees of freedom (Student's t in two dimensions), fewer where few cells are seen; 0.0
        where a frame has no structure (constant, or too small).
    error_px : float
        Standard error of the drift of a point, root mean square over the field, px; inf where unknown.
    """

    shift: Shift
    confidence: float
    error_px: float


NOTHING = Found(IDENTITY, 0.0, math.inf)


def estimate(reference: NDArray[Any], moving: NDArray[Any], *, transform: Transform = "translation") -> Found:
    """Find the drift of `moving` against `reference`.

    Bit-repeatable on one thread. Frames whose longer side exceeds 1024 px are binned first.

    Parameters
    ----------
    reference, moving : (Y, X) array
        Counts of the same channel, of equal shape, finite.
    transform : {"translation", "rigid", "affine"}
        Rigid adds a rotation about the centre, affine stretch and shear as well. The start is a translation
        all the same, so angles up to about 3 degrees and stretches up to about 4 % are found.

    Returns
    -------
    Found

    Raises
    ------
    ValueError
        The shapes differ or are not (Y, X), a pixel is NaN or infinite, or `transform` is unknown.
    """
    if reference.ndim != 2 or reference.shape != moving.shape:
        raise ValueError(f"expected two (Y, X) frames of one shape, got {reference.shape} and {moving.shape}")
    if transform not in align.N_PARAMETERS:
        raise ValueError(f"transform must be one of {', '.join(align.N_PARAMETERS)}, got {transform!r}")
    bin_px = math.ceil(max(reference.shape) / _WORK_SIDE_PX)
    (fixed, noise), (moved, other_noise) = (_prepare(image, bin_px) for image in (reference, moving))
    if min(fixed.shape) < _MIN_SIDE_PX or not fixed.any() or not moved.any():
        return NOTHING
    start, _ = _start(fixed, moved)
    noise = max(noise, other_noise)
    first = align.identity((start.dy_px, start.dx_px))
    best, pair = align.fit(fixed, moved, first, transform, noise)
    if pair is None or not math.isfinite(best.error_px):
        return NOTHING
    ants = judged(fixed, moved, best, transform)
    if pair.loss(ants, best.width) < pair.loss(best, best.width):
        again = pair.fit(ants)
        if math.isfinite(again.error_px) and pair.loss(again, best.width) < pair.loss(best, best.width):
            best = again
    error_px = best.error_px * bin_px
    return Found(_shift(best, transform, bin_px), _confidence(error_px, best.freedom), error_px)


def detail_px(image: NDArray[Any]) -> float:
    """Size of the finest structure of a frame: its contrast over its mean slope, what noise adds taken off.

    Parameters
    ----------
    image : (Y, X) array
        Counts, finite.

    Returns
    -------
    float
        px; about the radius of small sharp cells. It grows when the focus is lost; inf where there is no
        structure beyond noise.
    """
    bin_px = math.ceil(max(1, *image.shape) / _WORK_SIDE_PX)
    flat, noise = _prepare(image, bin_px)
    if not flat.any():
        return math.inf
    down, right = np.gradient(flat)
    # White noise after a Gaussian of 1 px: its variance, and as much again in both slopes together.
    from_noise = noise**2 / (4 * math.pi * _SMOOTH_PX**2)
    contrast = float(np.mean(flat**2)) - from_noise
    slope = float(np.mean(down**2 + right**2)) - from_noise / _SMOOTH_PX**2
    return bin_px * math.sqrt(contrast / slope) if contrast > 0 and slope > 0 else math.inf


def is_seen(image: NDArray[Any]) -> bool:
    """Whether anything is seen in a frame beyond noise and uneven light: its split-half reliability.

    Noise is unrelated in every second pixel and in their diagonal neighbours, what is seen is in both. Rows
    and columns of a camera may share noise: their means are taken off.

    Parameters
    ----------
    image : (Y, X) array
        Counts, finite.

    Returns
    -------
    bool
        Whether the halves correlate by more than four standard deviations of chance. Halves narrower than
        16 px tell nothing: then whether the frame is anything but constant.
    """
    rows, columns = (n // 2 * 2 for n in image.shape)
    halves = image[:rows:2, :columns:2], image[1:rows:2, 1:columns:2]
    if min(halves[0].shape) < _MIN_SIDE_PX:
        return bool(_prepare(image, 1)[0].any())
    bin_px = math.ceil(max(halves[0].shape) / _WORK_SIDE_PX)
    one, other = (_prepare(half, bin_px)[0] for half in halves)
    one, other = (_level(half - ndimage.uniform_filter(half, _FINE_PX)) for half in (one, other))
    return _zncc(one, other) > _SEEN_SIGMAS * math.sqrt(2 * math.pi * _SMOOTH_PX**2 / one.size)


def _level(image: Float32) -> Float32:
    """Means of all rows and columns taken off."""
    image = image - image.mean(axis=0)
    return np.asarray(image - image.mean(axis=1, keepdims=True), dtype=np.float32)


def _confidence(error_px: float, freedom: float) -> float:
    if error_px == 0:
        return 1.0
    return -math.expm1(-freedom / 2 * math.log1p(2 / (freedom * error_px**2)))


def _shift(found: Fit, transform: Transform, bin_px: int) -> Shift:
    dy, dx = (float(part) * bin_px for part in found.drift_px)
    if transform == "translation":
        return Shift(dy, dx)
    if transform == "rigid":
        return Shift(dy, dx, math.degrees(math.atan2(found.matrix[1, 0], found.matrix[0, 0])))
    return Shift.of(found.matrix, np.array([dy, dx]))


def _prepare(image: NDArray[Any], bin_px: int) -> tuple[Float32, float]:
    """Bin, stabilize the variance of counts, smooth lightly, take the slow background away; and the noise."""
    work = image.astype(np.float32)
    if not np.isfinite(work).all():
        raise ValueError("a frame holds NaN or infinite pixels: fill them, or register another channel")
    if bin_px > 1:
        y, x = (n // bin_px for n in work.shape)
        work = work[: y * bin_px, : x * bin_px].reshape(y, bin_px, x, bin_px).mean(axis=(1, 3))
    if min(work.shape) < _MIN_SIDE_PX or np.ptp(work) == 0:
        return np.zeros(work.shape, dtype=np.float32), 0.0
    work = np.sqrt(work - work.min())
    noise = align.noise_of(work)
    work = ndimage.gaussian_filter(work, _SMOOTH_PX)
    window = max(5, int(_BACKGROUND_FRAC * min(work.shape)))
    slow = ndimage.uniform_filter(ndimage.uniform_filter(work, window), window)
    return np.asarray(work - slow, dtype=np.float32), noise


def _zncc(one: Float32, other: Float32) -> float:
    one = one - one.mean()
    other = other - other.mean()
    norm = math.sqrt(float(np.vdot(one, one)) * float(np.vdot(other, other)))
    return float(np.vdot(one, other)) / norm if norm > 0 else 0.0


def _score(fixed: Float32, moved: Float32, shift: Shift) -> float:
    seen = valid_mask(fixed.shape, shift)
    if np.count_nonzero(seen) < _MIN_SIDE_PX**2:
        return 0.0
    return _zncc(fixed[seen], apply(moved, shift)[seen])


def _overlap(shape: tuple[int, ...], dy_px: int, dx_px: int) -> tuple[Window, Window]:
    """Windows of the reference and of the moved frame that show the same after a shift of whole pixels."""
    rows, columns = inside(shape[0], dy_px), inside(shape[1], dx_px)
    return (
        (slice(*rows), slice(*columns)),
        (slice(rows[0] + dy_px, rows[1] + dy_px), slice(columns[0] + dx_px, columns[1] + dx_px)),
    )


def _start(fixed: Float32, moved: Float32) -> tuple[Shift, float]:
    """Best of zero and of the peaks of two correlation surfaces, whitened and plain, by ZNCC."""
    # Whitening finds a few static cells among many that move; the plain surface survives noise. Noise is
    # kept out of the whitened one by a low-pass, without which it would weigh as much as the cells.
    padded = tuple(fft.next_fast_len(n, real=True) for n in fixed.shape)
    cross = fft.rfft2(moved, padded) * np.conj(fft.rfft2(fixed, padded))
    frequency = np.hypot(fft.fftfreq(padded[0])[:, None], fft.rfftfreq(padded[1])[None, :])
    low_pass = np.exp(-2 * (np.pi * _LOW_PASS_PX * frequency) ** 2).astype(np.float32)
    magnitude = np.abs(cross)
    white = cross * (low_pass / (magnitude + _WHITE_FLOOR * magnitude.mean()))
    best, at_zero = IDENTITY, _zncc(fixed, moved)
    best_score = at_zero
    for spectrum in (white, cross):
        surface = fft.irfft2(spectrum, padded)
        for dy, dx in _peaks(surface, fixed.shape):
            here, there = _overlap(fixed.shape, round(dy), round(dx))
            score = _zncc(fixed[here], moved[there])
            if score > max(best_score, at_zero + _chance(fixed[here].size)):
                best, best_score = Shift(dy, dx), score
    return best, best_score if best is IDENTITY else _score(fixed, moved, best)


def _chance(n_pixels: int) -> float:
    """What the best of many random matches of smoothed noise may reach: six standard deviations."""
    return 6 * math.sqrt(4 * math.pi * _SMOOTH_PX**2 / n_pixels)


def _peaks(surface: Float32, shape: tuple[int, ...]) -> list[tuple[float, float]]:
    """Highest maxima of a cyclic correlation surface, as signed sub-pixel shifts (dy, dx)."""
    reach = [max(1, int(_MAX_SHIFT_FRAC * n)) for n in shape]
    window = np.roll(surface, reach, axis=(0, 1))[: 2 * reach[0] + 1, : 2 * reach[1] + 1].copy()
    ringed = np.pad(window, 1, mode="edge")
    found = []
    for _ in range(_CANDIDATES):
        row, column = (int(i) for i in np.unravel_index(int(np.argmax(window)), window.shape))
        dy = _vertex(ringed[row : row + 3, column + 1])
        dx = _vertex(ringed[row + 1, column : column + 3])
        found.append((row - reach[0] + dy, column - reach[1] + dx))
        window[max(0, row - 3) : row + 4, max(0, column - 3) : column + 4] = -np.inf
    return found


def _vertex(values: Float32) -> float:
    """Vertex of the parabola through three equidistant values, as an offset from the middle one."""
    before, at, after = (float(value) for value in values)
    bend = before - 2 * at + after
    return 0.0 if bend >= 0 else min(0.5, max(-0.5, (before - after) / (2 * bend)))
