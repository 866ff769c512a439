"""A drift refined far below a pixel, with the error that it still has.

Gauss-Newton on the difference of the two frames (Lucas & Kanade 1981, in the inverse compositional form of
Baker & Matthews 2004), at the pixels where the reference is steepest, from coarse to fine. What moves by
itself must not pull: Tukey's biweight leaves out pixels that differ by more than they should, first
generously, then down to the noise (graduated non-convexity, Black & Rangarajan 1996).

How wide is right depends on the film. Where some cells lie still, the narrow one finds them and forgets the
others; where every cell wanders a little, the mean of all is best. So each result carries its standard
error (:mod:`.certainty`), and the one with the smallest is taken.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dataops_parsl.algorithms.certainty import standard_error, tiles

Transform = Literal["translation", "rigid", "affine"]
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

N_PARAMETERS: dict[str, int] = {"translation": 2, "rigid": 3, "affine": 6}
_PIXELS, _PIXELS_FRAC = 20_000, 1 / 10  # frames are compared at the steepest ones: so many, or so many of all
_WIDTHS = (1.0, 0.35, 0.125)  # of the contrast of the reference: scales of the biweight
# The narrowest makes sharper what is known already. Alone it finds a few cells that happened to walk alike.
_NARROWEST, _KNOWN_PX = 0.05, 0.4
_TUKEY = 4.685  # 95 % efficient where nothing moves by itself
_MODEL_FRAC = 0.03  # of the contrast: what two aligned frames may differ by beside noise
_ITERATIONS = 4
_STILL_PX = 0.01
_BETTER_FRAC = 0.7  # a narrower width must promise this much less error
_LEAST_PIXELS = 64
_COARSE_SIDE_PX = 48


class Fit(NamedTuple):
    """A drift about the centre, and how sure it is.

    Attributes
    ----------
    matrix : (2, 2) float64
        A of :mod:`.shift`.
    drift_px : (2,) float64
        (dy, dx).
    error_px : float
        Standard error of the drift of a point, root mean square over the field; inf where nothing is known.
    freedom : float
        Degrees of freedom of that error: about the number of independent parts that were compared.
    width : float
        Scale of the biweight that gave it, in units of the frames.
    """

    matrix: Float64
    drift_px: Float64
    error_px: float
    freedom: float
    width: float


def fit(
    fixed: Float32, moved: Float32, start: Fit, transform: Transform, noise: float
) -> tuple[Fit, Pair | None]:
    """Refine `start`, coarse to fine; and the frames as they were compared in the end.

    Parameters
    ----------
    fixed, moved : (Y, X) float32
        Flattened frames (mean about 0) of one shape.
    start : Fit
        Where to begin; its error and width are not used.
    noise : float
        Standard deviation of the white noise in either frame before the smoothing that both had (a Gaussian
        of 1 px).
    """
    found, pair = start, None
    for factor in _levels(fixed.shape, transform):
        pair = Pair.of(fixed, moved, transform, factor, noise)
        found = pair.fit(found) if pair is not None else found
    return found, pair


def _levels(shape: tuple[int, ...], transform: Transform) -> list[int]:
    # A translation starts within a pixel; angle and stretch start at zero, many pixels off at the border.
    coarsest = 2 if transform == "translation" else max(1, min(shape) // _COARSE_SIDE_PX)
    factors = [1]
    while 2 * factors[-1] <= coarsest and min(shape) // (2 * factors[-1]) >= _COARSE_SIDE_PX:
        factors.append(2 * factors[-1])
    return factors[::-1]


def binned(image: Float32, factor: int) -> Float32:
    """Mean over blocks of `factor` x `factor` pixels; what is left over at the far edges is dropped."""
    if factor == 1:
        return image
    y, x = (n // factor for n in image.shape)
    blocks = image[: y * factor, : x * factor].reshape(y, factor, x, factor)
    return np.asarray(blocks.mean(axis=(1, 3)), dtype=np.float32)


class _Seen(NamedTuple):
    """The moved frame at the places where the reference's pixels went, and its gradient there."""

    values: Float64
    gradient: Float64
    inside: NDArray[np.bool_]


@dataclass(frozen=True)
class Pair:
    """Two frames at one level, ready to be compared at the reference's steepest pixels.

    Attributes
    ----------
    places, values, gradient : (2, n), (n,), (2, n) float64
        Pixels about the centre, the reference there, and its gradient.
    modes : (parameters, 2, n) float64
        How each parameter moves each pixel; those of the linear part are scaled by the half diagonal.
    """

    moved: Float32
    transform: Transform
    factor: int
    least_width: float
    contrast: float
    places: Float64
    values: Float64
    gradient: Float64
    modes: Float64

    @classmethod
    def of(
        cls, fixed: Float32, moved: Float32, transform: Transform, factor: int, noise: float
    ) -> Pair | None:
        """None where there is nothing to hold on to."""
        fixed, moved = binned(fixed, factor), binned(moved, factor)
        if min(fixed.shape) < 8:
            return None
        down, right = np.gradient(fixed)
        steep = down * down + right * right
        for edge in (np.s_[:2], np.s_[-2:], np.s_[:, :2], np.s_[:, -2:]):
            steep[edge] = 0
        flat = steep.ravel()
        n = min(max(_PIXELS, int(_PIXELS_FRAC * flat.size)), flat.size)
        at = np.flatnonzero(flat >= max(float(np.partition(flat, flat.size - n)[flat.size - n]), 1e-12))
        if len(at) < _LEAST_PIXELS:
            return None
        centre = (np.array(fixed.shape) - 1) / 2
        places = np.array(np.unravel_index(at, fixed.shape), dtype=np.float64) - centre[:, None]
        values = fixed.ravel()[at].astype(np.float64)
        contrast = float(np.sqrt(np.mean(values**2)))
        # Variance of white noise after a Gaussian of 1 px and a mean over a block.
        left = noise / (2 * math.sqrt(math.pi * (1 + (factor**2 - 1) / 12)))
        return cls(
            moved,
            transform,
            factor,
            max(math.sqrt(2) * left, _MODEL_FRAC * contrast),
            contrast,
            places,
            values,
            np.array([down.ravel()[at], right.ravel()[at]], dtype=np.float64),
            _modes(transform, places / (math.hypot(*fixed.shape) / 2)),
        )

    @cached_property
    def slopes(self) -> Float64:
        """How much each parameter changes the reference at each pixel; (parameters, n)."""
        return np.asarray(np.einsum("an,pan->pn", self.gradient, self.modes))

    @cached_property
    def tile(self) -> NDArray[np.int64]:
        """Number of the tile of each pixel."""
        return tiles(self.places, self.moved.shape)

    def fit(self, start: Fit) -> Fit:
        """Refine `start` at this level; the width with the smallest error is taken."""
        matrix, drift = start.matrix, start.drift_px / self.factor
        best: Fit | None = None
        gain: float | None = None
        for part in (*_WIDTHS, _NARROWEST):
            if part == _NARROWEST and (best is None or best.error_px > _KNOWN_PX):
                break
            width = max(part * self.contrast, self.least_width)
            matrix, drift, gain = self._descend(matrix, drift, gain, width)
            error, freedom = self._error(matrix, drift, gain, width)
            error *= self.factor
            if best is None or error < _BETTER_FRAC * best.error_px:
                best = Fit(matrix, drift * self.factor, error, freedom, width)
            if width == self.least_width:
                break
        assert best is not None
        return best

    def loss(self, found: Fit, width: float) -> float:
        """Mean of Tukey's loss, 0 (all alike) to 1 (nothing alike), over the pixels that both frames show."""
        seen = self._look(found.matrix, found.drift_px / self.factor)
        if np.count_nonzero(seen.inside) < _LEAST_PIXELS:
            return 1.0
        gain = self._gain(seen)
        weights = _weights(seen.values - gain * self.values, width, seen.inside)[0]
        return float(1 - np.mean(weights[seen.inside] ** 1.5))

    def _gain(self, seen: _Seen, weights: Float64 | None = None) -> float:
        """How much brighter the moved frame is (bleaching), by the ratio of the contrasts."""
        # A regression would explain cells that went elsewhere by a frame that went dark.
        weights = seen.inside.astype(np.float64) if weights is None else weights
        ours = float(np.sum(weights * self.values**2))
        theirs = float(np.sum(weights * seen.values**2))
        return math.sqrt(theirs / ours) if ours > 0 and theirs > 0 else 1.0

    def _descend(
        self, matrix: Float64, drift: Float64, gain: float | None, width: float
    ) -> tuple[Float64, Float64, float]:
        slopes = self.slopes
        half = math.hypot(*self.moved.shape) / 2
        overall = self._gain(self._look(matrix, drift))
        gain = overall if gain is None else gain
        for _ in range(_ITERATIONS):
            seen = self._look(matrix, drift)
            weights, _ = _weights(seen.values - gain * self.values, width, seen.inside)
            if np.count_nonzero(weights) < _LEAST_PIXELS:
                break
            normal = (slopes * weights) @ slopes.T
            pull = slopes @ (weights * (seen.values - gain * self.values)) / gain
            normal[np.diag_indices_from(normal)] += 1e-9 * np.trace(normal)
            step = np.asarray(np.linalg.solve(normal, pull), np.float64)
            matrix, drift = _stepped(matrix, drift, step, self.transform, half)
            gain = min(1.25 * overall, max(0.8 * overall, self._gain(seen, weights)))
            if np.abs(step).max() < _STILL_PX:
                break
        return matrix, drift, gain

    def _look(self, matrix: Float64, drift: Float64) -> _Seen:
        """Bilinear values of the moved frame, and their exact derivatives."""
        rows, columns = self.moved.shape
        centre = (np.array(self.moved.shape) - 1) / 2
        y, x = matrix @ self.places + (drift + centre)[:, None]
        inside = (y >= 0) & (y <= rows - 1) & (x >= 0) & (x <= columns - 1)
        y, x = np.clip(y, 0, rows - 1), np.clip(x, 0, columns - 1)
        row, column = np.minimum(y.astype(np.int64), rows - 2), np.minimum(x.astype(np.int64), columns - 2)
        down, right = y - row, x - column
        flat = self.moved.ravel()
        first = row * columns + column
        a, b, c, d = (flat[first + k] for k in (0, 1, columns, columns + 1))
        top, bottom = a + right * (b - a), c + right * (d - c)
        gradient = np.array([bottom - top, (1 - down) * (b - a) + down * (d - c)])
        return _Seen(top + down * (bottom - top), gradient, inside)

    def _error(self, matrix: Float64, drift: Float64, gain: float, width: float) -> tuple[float, float]:
        """Standard error of a point's drift at this level, and its freedom."""
        seen = self._look(matrix, drift)
        residual = seen.values - gain * self.values
        weights, bend = _weights(residual, width, seen.inside)
        gradient = matrix.T @ seen.gradient
        return standard_error(
            slopes=self.slopes,
            theirs=np.einsum("an,pan->pn", gradient, self.modes),
            bend=bend,
            pull=weights * residual,
            common=weights * np.sum(self.gradient * gradient, axis=0),
            modes=self.modes,
            tile=self.tile,
        )


def _weights(residual: Float64, width: float, inside: NDArray[np.bool_]) -> tuple[Float64, Float64]:
    """Tukey's weights, and the slope of weight times residual; 0 outside."""
    part = (residual / (_TUKEY * width)) ** 2
    near = (part < 1) & inside
    rest = np.where(near, 1 - part, 0.0)
    return rest**2, np.where(near, rest * (1 - 5 * part), 0.0)


def _modes(transform: Transform, places: Float64) -> Float64:
    """How each parameter moves points (2, n), in half diagonals about the centre; (parameters, 2, n)."""
    y, x = places
    one, none = np.ones_like(y), np.zeros_like(y)
    modes = [(one, none), (none, one)]
    if transform == "rigid":
        modes += [(-x, y)]
    elif transform == "affine":
        modes += [(y, none), (x, none), (none, y), (none, x)]
    return np.array(modes)


def _stepped(
    matrix: Float64, drift: Float64, step: Float64, transform: Transform, half: float
) -> tuple[Float64, Float64]:
    """T after the inverse of a small step: T(W(step)^-1(p))."""
    back = np.eye(2)
    if transform == "rigid":
        cos, sin = math.cos(step[2] / half), math.sin(step[2] / half)
        back = np.array([[cos, sin], [-sin, cos]])
    elif transform == "affine":
        back = np.asarray(np.linalg.inv(np.eye(2) + step[2:].reshape(2, 2) / half), np.float64)
    if transform == "translation":
        return matrix, drift - matrix @ step[:2]
    turned = matrix @ back
    return turned, drift - turned @ step[:2]


def identity(drift_px: tuple[float, float] = (0.0, 0.0)) -> Fit:
    """A start: a translation of unknown error."""
    return Fit(np.eye(2), np.array(drift_px, dtype=np.float64), math.inf, 0.0, math.inf)


def noise_of(image: NDArray[Any]) -> float:
    """Standard deviation of white noise in a (Y, X) image (Immerkaer 1996, with the median for the mean)."""
    work = np.asarray(image, dtype=np.float32)
    if min(work.shape) < 3:
        return 0.0
    # A ninth of the pixels is enough for a median.
    rows = work[:-2:3] - 2 * work[1:-1:3] + work[2::3]
    mixed = rows[:, :-2:3] - 2 * rows[:, 1:-1:3] + rows[:, 2::3]
    return 1.4826 * float(np.median(np.abs(mixed))) / 6
