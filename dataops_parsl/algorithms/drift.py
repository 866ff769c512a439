"""Drift between two frames: found, chained, and undone.

A :class:`Shift` says where the *content* went: a point seen at ``p = (y, x)`` in the reference frame is seen
at ``T(p) = R(angle) (p - c) + c + (dy, dx)`` in the drifted one, ``c = ((Y - 1) / 2, (X - 1) / 2)`` being the
centre of the image and ``R = [[cos, -sin], [sin, cos]]`` acting on (y, x): a positive angle turns the content
counter-clockwise on a screen whose y axis points down.

:func:`estimate` starts from phase correlation (Kuglin & Hines 1975; peak refined by a parabola) and refines
with a few iterations of ANTs (Avants et al. 2011, mutual information of Mattes et al. 2003).
"""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from dataops_parsl.algorithms.ants_binding import ants, quiet, to_ants

Transform = Literal["translation", "rigid"]
Float32 = NDArray[np.float32]

_WORK_SIDE_PX = 1024  # longer frames are binned to this: the shift is sub-pixel there as well
_MAX_SHIFT_FRAC = 0.4  # of the side; what is left to compare is too little beyond
_SMOOTH_PX = 1.0
_SAMPLES = 16_384  # pixels at which ANTs compares
_CANDIDATES = 4  # peaks of each correlation surface that are tried
_LOW_PASS_PX = 1.5
_WHITE_FLOOR = 0.1  # of the mean magnitude: emptier frequencies are not blown up
_MIN_SIDE_PX = 16


@dataclass(frozen=True)
class Shift:
    """Drift of the content, see the module's docstring; px, px and degrees."""

    dy_px: float
    dx_px: float
    angle_deg: float = 0.0


IDENTITY = Shift(0.0, 0.0, 0.0)


def compose(first: Shift, then: Shift) -> Shift:
    """Chain two drifts: reference to middle frame (``first``), middle to last frame (``then``).

    ``T(p) = T_then(T_first(p))``, which is ``R(a1 + a2) (p - c) + c + R(a2) d1 + d2``. Both turn about the same
    centre, so the shape of the frames does not enter.
    """
    turned = _rotation(then.angle_deg) @ (first.dy_px, first.dx_px)
    return Shift(
        float(turned[0] + then.dy_px), float(turned[1] + then.dx_px), first.angle_deg + then.angle_deg
    )


def _rotation(angle_deg: float) -> NDArray[np.float64]:
    cos, sin = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    return np.array([[cos, -sin], [sin, cos]])


def _inside(n: int, shift_px: float) -> tuple[int, int]:
    """First and one past the last index p of an axis with 0 <= p + shift <= n - 1."""
    first = min(n, max(0, math.ceil(-shift_px)))
    return first, max(first, min(n, math.floor(n - 1 - shift_px) + 1))


def _turn(shape: tuple[int, int], shift: Shift) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Matrix and offset with T(p) = matrix @ p + offset."""
    matrix = _rotation(shift.angle_deg)
    centre = (np.array(shape) - 1) / 2
    return matrix, centre + (shift.dy_px, shift.dx_px) - matrix @ centre


def valid_mask(shape: tuple[int, int], shift: Shift) -> NDArray[np.bool_]:
    """Where a frame moved back by :func:`apply` shows what was acquired.

    Parameters
    ----------
    shape : tuple of int
        (Y, X) of the frame.
    shift : Shift
        Its drift.

    Returns
    -------
    (Y, X) bool
        False where the source position lies outside the drifted frame.
    """
    if shift.angle_deg == 0:
        mask = np.zeros(shape, dtype=np.bool_)
        mask[slice(*_inside(shape[0], shift.dy_px)), slice(*_inside(shape[1], shift.dx_px))] = True
        return mask
    matrix, offset = _turn(shape, shift)
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    inside = np.ones(shape, dtype=np.bool_)
    for axis, n in enumerate(shape):
        at = matrix[axis, 0] * rows + (matrix[axis, 1] * columns + offset[axis])
        inside &= (at >= 0) & (at <= n - 1)
    return inside


def apply(image: NDArray[Any], shift: Shift, *, order: Literal[0, 1] = 1, fill: float = 0) -> NDArray[Any]:
    """Move a drifted frame back into the reference frame.

    Parameters
    ----------
    image : (Y, X) array
        Drifted frame.
    shift : Shift
        Its drift.
    order : {0, 1}
        0 takes the nearest pixel and keeps the dtype, for labels; 1 interpolates linearly to float32.
    fill : float
        Value where :func:`valid_mask` is False.

    Returns
    -------
    (Y, X) array
        float32 for ``order=1``, the dtype of `image` for ``order=0``; never `image` itself.

    Raises
    ------
    ValueError
        `image` is not two-dimensional, or `order` is neither 0 nor 1.
    """
    if image.ndim != 2:
        raise ValueError(f"expected a (Y, X) frame, got shape {image.shape}")
    if order not in (0, 1):
        raise ValueError(f"order must be 0 (nearest) or 1 (linear), got {order}")
    source = image if order == 0 else image.astype(np.float32, copy=False)
    if shift.angle_deg == 0:
        return _translate(source, shift, order, fill)
    matrix, offset = _turn(image.shape, shift)
    out = ndimage.affine_transform(source, matrix, offset, order=order, mode="nearest", output=source.dtype)
    out[~valid_mask(image.shape, shift)] = fill
    return np.asarray(out)


def _translate(source: NDArray[Any], shift: Shift, order: int, fill: float) -> NDArray[Any]:
    out = np.full(source.shape, fill, dtype=source.dtype)
    where = []
    for axis, shift_px in enumerate((shift.dy_px, shift.dx_px)):
        first, stop = _inside(source.shape[axis], shift_px)
        if stop == first:
            return out
        where.append(slice(first, stop))
        whole = math.floor(shift_px + 0.5) if order == 0 else math.floor(shift_px)
        part = 0.0 if order == 0 else shift_px - whole
        low = _slab(source, axis, first + whole, stop + whole)
        # A neighbour with weight 0 must not be read: it may be NaN or outside the frame.
        if part:
            high = _slab(source, axis, first + whole + 1, stop + whole + 1)
            source = low * np.float32(1 - part) + high * np.float32(part)
        else:
            source = low
    out[tuple(where)] = source
    return out


def _slab(image: NDArray[Any], axis: int, first: int, stop: int) -> NDArray[Any]:
    return image[first:stop] if axis == 0 else image[:, first:stop]


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
        about 5 degrees are found.

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
        if refined_score >= start_score:
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


def _overlap(shape: tuple[int, int], dy_px: int, dx_px: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Windows of the reference and of the moved frame that show the same after a shift of whole pixels."""
    rows, columns = _inside(shape[0], dy_px), _inside(shape[1], dx_px)
    return (
        (slice(*rows), slice(*columns)),
        (slice(rows[0] + dy_px, rows[1] + dy_px), slice(columns[0] + dx_px, columns[1] + dx_px)),
    )


def _start(fixed: Float32, moved: Float32) -> tuple[Shift, float]:
    """Best of zero and of the peaks of two correlation surfaces, whitened and plain, by ZNCC."""
    shape = (fixed.shape[0], fixed.shape[1])
    # Whitening finds a few static cells among many that move; the plain surface survives noise. Noise is
    # kept out of the whitened one by a low-pass, without which it would weigh as much as the cells.
    padded = tuple(fft.next_fast_len(n, real=True) for n in shape)
    cross = fft.rfft2(moved, padded) * np.conj(fft.rfft2(fixed, padded))
    frequency = np.hypot(fft.fftfreq(padded[0])[:, None], fft.rfftfreq(padded[1])[None, :])
    low_pass = np.exp(-2 * (np.pi * _LOW_PASS_PX * frequency) ** 2).astype(np.float32)
    magnitude = np.abs(cross)
    white = cross * (low_pass / (magnitude + _WHITE_FLOOR * magnitude.mean()))
    best, best_score = IDENTITY, _zncc(fixed, moved)
    # A random match of smoothed noise must not be taken for a shift.
    margin = 3 * math.sqrt(4 * math.pi * _SMOOTH_PX**2 / fixed.size)
    threshold = best_score + margin
    for spectrum in (white, cross):
        surface = fft.irfft2(spectrum, padded)
        for dy, dx in _peaks(surface, shape):
            here, there = _overlap(shape, round(dy), round(dx))
            score = _zncc(fixed[here], moved[there])
            if score > max(best_score, threshold):
                best, best_score = Shift(dy, dx), score
    return best, best_score if best is IDENTITY else _score(fixed, moved, best)


def _peaks(surface: Float32, shape: tuple[int, int]) -> list[tuple[float, float]]:
    """Highest maxima of a cyclic correlation surface, as signed sub-pixel shifts (dy, dx)."""
    reach = [max(1, int(_MAX_SHIFT_FRAC * n)) for n in shape]
    size = surface.shape
    centred = np.roll(surface, reach, axis=(0, 1))[: 2 * reach[0] + 1, : 2 * reach[1] + 1].copy()
    found = []
    for _ in range(_CANDIDATES):
        row, column = (int(i) for i in np.unravel_index(int(np.argmax(centred)), centred.shape))
        dy, dx = row - reach[0], column - reach[1]
        part = []
        for axis, n in enumerate(size):
            step = [(0, 0), (0, 0), (0, 0)]
            step = [((dy + k) % size[0], dx % size[1]) if axis == 0 else (dy % size[0], (dx + k) % size[1]) for k in (-1, 0, 1)]
            before, at, after = (float(surface[i]) for i in step)
            bend = before - 2 * at + after
            part.append(0.0 if bend >= 0 else float(np.clip((before - after) / (2 * bend), -0.5, 0.5)))
        found.append((dy + part[0], dx + part[1]))
        centred[max(0, row - 3) : row + 4, max(0, column - 3) : column + 4] = -np.inf
    return found


def _refine(fixed: Float32, moved: Float32, start: Shift, transform: Transform) -> Shift | None:
    """Let ANTs improve `start` on the window that both frames show; None where it cannot."""
    shape = (fixed.shape[0], fixed.shape[1])
    whole = (round(start.dy_px), round(start.dx_px))
    here, there = _overlap(shape, *whole)
    first = np.array([here[0].start, here[1].start], dtype=float)
    window = fixed[here]
    half = (np.array(window.shape) - 1) / 2
    # With the origin of space in the window's middle, ANTs' identity start turns about that middle.
    origin = (-float(half[0]), -float(half[1]))
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
            aff_iterations=(20, 10),
            aff_shrink_factors=(4, 2),
            aff_smoothing_sigmas=(2, 1),
        )
        affine = library.read_transform(found["fwdtransforms"][0])
        at = np.array(affine.apply_to_point((0.0, 0.0)))
        arm = np.array(affine.apply_to_point((1000.0, 0.0))) - at
    angle_deg = 0.0 if transform == "translation" else math.degrees(math.atan2(arm[1], arm[0]))
    # ANTs: p - first - half turns into R (p - first - half) + at, in the moved window that begins at first + whole.
    centre = (np.array(shape) - 1) / 2
    middle = first + half
    drift = middle + at + whole - centre + _rotation(angle_deg) @ (centre - middle)
    return Shift(float(drift[0]), float(drift[1]), angle_deg)
