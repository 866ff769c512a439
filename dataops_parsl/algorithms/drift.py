"""Drift between two frames, found in two steps.

Phase correlation (Kuglin & Hines 1975; the peak refined by a parabola) gives the start, and a few iterations
of ANTs (Avants et al. 2011, with the mutual information of Mattes et al. 2003) refine it. The mutual
information, rather than a sum of squares, and only where the frames look alike already: with 70 % of the
cells moving by themselves that errs by a tenth of a pixel where squares err by one.

What a :class:`Shift` means, and how to chain and undo it, stands in :mod:`.shift`, given on from here.
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from dataops_parsl.algorithms.ants_binding import ants, quiet, to_ants
from dataops_parsl.algorithms.shift import IDENTITY, Shift, apply, compose, inside, rotation, valid_mask

__all__ = ["IDENTITY", "Shift", "Transform", "apply", "compose", "estimate", "valid_mask"]

Transform = Literal["translation", "rigid"]
Float32 = NDArray[np.float32]
Window = tuple[slice, slice]

_WORK_SIDE_PX = 1024  # longer frames are binned to this: the shift is sub-pixel there as well
_MAX_SHIFT_FRAC = 0.4  # of the side; what is left to compare is too little beyond
_SMOOTH_PX = 1.0
_SAMPLES = 16_384  # pixels at which ANTs compares
_CANDIDATES = 4  # peaks of each correlation surface that are tried
_LOW_PASS_PX = 1.5
_WHITE_FLOOR = 0.1  # of the mean magnitude: emptier frequencies are not blown up
_MIN_SIDE_PX = 16
_AGREE_WINDOW_PX = 17
_AGREE_CORRELATION = 0.7
_KEEP_FRAC = 0.95  # ANTs diverged if less of the start's correlation is left
_MIN_AGREE_FRAC = 0.02  # with less to go by, ANTs sees the whole window


def estimate(
    reference: NDArray[Any], moving: NDArray[Any], *, transform: Transform = "translation"
) -> tuple[Shift, float]:
    """Find the drift of `moving` against `reference`.

    Bit-repeatable on one thread. Frames whose longer side exceeds 1024 px are binned first.

    Parameters
    ----------
    reference, moving : (Y, X) array
        Counts of the same channel, of equal shape, finite.
    transform : {"translation", "rigid"}
        Rigid adds a rotation about the centre; the start is a translation all the same, so angles up to
        about 3 degrees are found.

    Returns
    -------
    shift : Shift
        :data:`IDENTITY` where a frame has no structure.
    confidence : float
        Zero-normalized cross-correlation of the aligned frames over their overlap, smoothed and with the
        background flattened, clipped to 0..1; 0.0 where a frame has no structure (constant, or too small).

    Raises
    ------
    ValueError
        The shapes differ or are not (Y, X), a pixel is NaN or infinite, or `transform` is unknown.
    """
    if reference.ndim != 2 or reference.shape != moving.shape:
        raise ValueError(f"expected two (Y, X) frames of one shape, got {reference.shape} and {moving.shape}")
    if transform not in ("translation", "rigid"):
        raise ValueError(f"transform must be 'translation' or 'rigid', got {transform!r}")
    bin_px = math.ceil(max(reference.shape) / _WORK_SIDE_PX)
    fixed, moved = _prepare(reference, bin_px), _prepare(moving, bin_px)
    if min(fixed.shape) < _MIN_SIDE_PX or not fixed.any() or not moved.any():
        return IDENTITY, 0.0
    start, start_score = _start(fixed, moved)
    shift, score = start, start_score
    refined = _refine(fixed, moved, start, transform)
    if refined is not None:
        refined_score = _score(fixed, moved, refined)
        # Cells that moved by themselves make the correlation prefer a shift that errs towards theirs.
        if refined_score >= _KEEP_FRAC * start_score:
            shift, score = refined, refined_score
    if score <= 0:
        return IDENTITY, 0.0
    return Shift(shift.dy_px * bin_px, shift.dx_px * bin_px, shift.angle_deg), min(score, 1.0)


def _prepare(image: NDArray[Any], bin_px: int) -> Float32:
    """Bin, stabilize the variance of counts, smooth lightly, and take the slow background away."""
    work = image.astype(np.float32)
    if not np.isfinite(work).all():
        raise ValueError("a frame holds NaN or infinite pixels: fill them, or register another channel")
    if bin_px > 1:
        y, x = (n // bin_px for n in work.shape)
        work = work[: y * bin_px, : x * bin_px].reshape(y, bin_px, x, bin_px).mean(axis=(1, 3))
    if min(work.shape) < _MIN_SIDE_PX or np.ptp(work) == 0:
        return np.zeros(work.shape, dtype=np.float32)
    work = np.sqrt(work - work.min())
    work = ndimage.gaussian_filter(work, _SMOOTH_PX)
    window = max(5, min(work.shape) // 8)
    slow = ndimage.uniform_filter(ndimage.uniform_filter(work, window), window)
    return np.asarray(work - slow, dtype=np.float32)


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


def _refine(fixed: Float32, moved: Float32, start: Shift, transform: Transform) -> Shift | None:
    """Let ANTs improve `start` on the window that both frames show; None where it cannot."""
    whole = (round(start.dy_px), round(start.dx_px))
    here, there = _overlap(fixed.shape, *whole)
    first = np.array([here[0].start, here[1].start], dtype=float)
    window = fixed[here]
    half = (np.array(window.shape) - 1) / 2
    # With the origin of space in the window's middle, ANTs' identity start turns about that middle.
    origin = (-float(half[0]), -float(half[1]))
    mask = _agreement(window, moved[there])
    library = ants()
    with tempfile.TemporaryDirectory(prefix="drift-") as folder, quiet():
        found = library.registration(
            to_ants(window, origin),
            to_ants(moved[there], origin),
            type_of_transform="Translation" if transform == "translation" else "Rigid",
            initial_transform="Identity",
            outprefix=str(Path(folder) / "t_"),
            aff_metric="mattes",
            aff_sampling=32,
            aff_random_sampling_rate=min(1.0, _SAMPLES / window.size),
            aff_iterations=(10, 5),
            aff_shrink_factors=(2, 1),
            aff_smoothing_sigmas=(2, 0),
            mask=to_ants(mask, origin),
            mask_all_stages=True,
        )
        affine = library.read_transform(found["fwdtransforms"][0])
        at = np.array(affine.apply_to_point((0.0, 0.0)))
        arm = np.array(affine.apply_to_point((1000.0, 0.0))) - at
    angle_deg = 0.0 if transform == "translation" else math.degrees(math.atan2(arm[1], arm[0]))
    # ANTs turns q = p - first - half into R q + at, in the moved window, which begins at first + whole.
    centre = (np.array(fixed.shape) - 1) / 2
    middle = first + half
    drift = middle + at + whole - centre + rotation(angle_deg) @ (centre - middle)
    return Shift(float(drift[0]), float(drift[1]), angle_deg)
