"""Speed, path and spread of tracks, from positions and real time stamps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_S_PER_MIN = 60.0


@dataclass(frozen=True)
class Motion:
    """How objects and tracks moved.

    Attributes
    ----------
    step_speed_um_min : (N,) float64
        Per object, in the order of the input: displacement since the track's previous object over the time
        between them, in µm/min; NaN for a track's first object.
    step_frames : (N,) float64
        Frames since the track's previous object, above 1 where the step spans a gap; NaN for a track's first.
    track_id : (K,) int64
        Tracks, ascending.
    path_um : (K,) float64
        Sum of a track's displacements; 0 for a lone object.
    net_um : (K,) float64
        Distance from a track's first to its last object.
    straightness_frac : (K,) float64
        ``net_um / path_um``, in 0..1; NaN where nothing moved.
    speed_um_min : (K,) float64
        ``path_um`` over the time from first to last object; NaN for a lone object.
    """

    step_speed_um_min: FloatArray
    step_frames: FloatArray
    track_id: IntArray
    path_um: FloatArray
    net_um: FloatArray
    straightness_frac: FloatArray
    speed_um_min: FloatArray


def measure(
    track_id: npt.ArrayLike, frame: npt.ArrayLike, time_s: npt.ArrayLike, yx_um: npt.ArrayLike
) -> Motion:
    """Measure the motion of every track.

    Parameters
    ----------
    track_id : (N,) int
        Track of each object.
    frame : (N,) int
        Frame of each object; a track has one object a frame at most, and may miss frames.
    time_s : (N,) float64
        Time stamp of the object's frame, in s. Speeds divide by real time, over gaps too.
    yx_um : (N, 2) float64
        Position in µm, corrected for drift.

    Returns
    -------
    Motion

    Raises
    ------
    ValueError
        If the arrays do not fit one another, hold NaN, or a track's time does not rise from frame to frame.
    """
    steps = _steps(track_id, frame, time_s, yx_um)
    track, time, position = steps.track, steps.time, steps.position
    step_speed, step_frames = np.full((2, len(track)), np.nan)
    step_speed[steps.row] = steps.um / steps.min
    step_frames[steps.row] = steps.frames

    ids, first = np.unique(track, return_index=True)
    last = np.append(first[1:], len(track))[: len(ids)] - 1
    owner = np.searchsorted(ids, track[steps.at])
    path_um = np.bincount(owner, weights=steps.um, minlength=len(ids)).astype(np.float64)
    net_um = np.linalg.norm(position[last] - position[first], axis=1)
    total_min = (time[last] - time[first]) / _S_PER_MIN
    # Rounding of the sum may leave the path a hair shorter than the net way of a straight track.
    straightness = np.minimum(_ratio(net_um, path_um), 1.0)
    return Motion(step_speed, step_frames, ids, path_um, net_um, straightness, _ratio(path_um, total_min))


def speed_in(
    state: npt.ArrayLike,
    track_id: npt.ArrayLike,
    frame: npt.ArrayLike,
    time_s: npt.ArrayLike,
    yx_um: npt.ArrayLike,
) -> FloatArray:
    """Speed of each track while it is in a state, such as in contact.

    Parameters
    ----------
    state : (N,) bool
        Whether each object is in the state. A step counts when both of its ends are; one that spans a gap
        does not, as nobody saw what was between.
    track_id, frame, time_s, yx_um
        As in `measure`.

    Returns
    -------
    (K,) float64
        Path over time of these steps, µm/min, in the order of ``Motion.track_id``; NaN without any.

    Raises
    ------
    ValueError
        As `measure`, and if `state` has another length.
    """
    steps = _steps(track_id, frame, time_s, yx_um)
    given = np.asarray(state, dtype=np.bool_).ravel()
    if len(given) != len(steps.track):
        raise ValueError(f"state has {len(given)} rows and track_id {len(steps.track)}")
    inside = given[steps.order]
    counts = inside[steps.at] & inside[steps.at - 1] & (steps.frames == 1)
    ids = np.unique(steps.track)
    owner = np.searchsorted(ids, steps.track[steps.at][counts])
    path_um, spent_min = (
        np.bincount(owner, weights=values[counts], minlength=len(ids)).astype(np.float64)
        for values in (steps.um, steps.min)
    )
    return _ratio(path_um, spent_min)


@dataclass(frozen=True)
class Spread:
    """Mean squared displacement by lag; all (K,), lags without any pair left out.

    Attributes
    ----------
    lag_frames : int64
        1, 2, ...
    lag_s : float64
        Mean of the real time between the frames of the pairs.
    msd_um2 : float64
    n_steps : int64
        Pairs of objects of one track. They overlap: there are fewer independent ones.
    """

    lag_frames: IntArray
    lag_s: FloatArray
    msd_um2: FloatArray
    n_steps: IntArray


def mean_squared_displacement(
    track_id: npt.ArrayLike,
    frame: npt.ArrayLike,
    time_s: npt.ArrayLike,
    yx_um: npt.ArrayLike,
    max_lag_frames: int,
) -> Spread:
    """Average squared displacement over all pairs of objects of one track, by their distance in frames.

    Time-averaged and pooled over tracks: a long track weighs more than a short one (Qian, Sheetz & Elson
    1991, Biophys J 60:910).

    Parameters
    ----------
    track_id, frame, time_s, yx_um
        As in `measure`.
    max_lag_frames : int
        Largest lag.

    Returns
    -------
    Spread

    Raises
    ------
    ValueError
        As `measure`.
    """
    steps = _steps(track_id, frame, time_s, yx_um)
    found: list[tuple[int, float, float, int]] = []
    if len(steps.track):
        start = int(steps.frame.min())
        # Lags stay within a track's own numbers.
        width = int(steps.frame.max()) - start + 1 + max(max_lag_frames, 0)
        code = np.searchsorted(np.unique(steps.track), steps.track) * width + steps.frame - start
        for lag in range(1, max_lag_frames + 1):
            to = np.minimum(np.searchsorted(code, code + lag), len(code) - 1)
            first = np.flatnonzero(code[to] == code + lag)
            if first.size:
                last = to[first]
                squared = ((steps.position[last] - steps.position[first]) ** 2).sum(axis=1)
                elapsed = steps.time[last] - steps.time[first]
                found.append((lag, float(elapsed.mean()), float(squared.mean()), len(first)))
    lags, lag_s, msd, n = zip(*found, strict=True) if found else ((), (), (), ())
    return Spread(
        np.array(lags, np.int64),
        np.array(lag_s, np.float64),
        np.array(msd, np.float64),
        np.array(n, np.int64),
    )


@dataclass(frozen=True)
class _Steps:
    """Objects in order of track and frame (N), and the steps between them (M)."""

    track: IntArray
    frame: IntArray
    time: FloatArray
    position: FloatArray
    order: IntArray
    """Rows of the input."""
    at: IntArray
    """Where each step ends, in this order; it starts one before."""
    row: IntArray
    """Where each step ends, in the input."""
    um: FloatArray
    min: FloatArray
    frames: IntArray


def _steps(
    track_id: npt.ArrayLike, frame: npt.ArrayLike, time_s: npt.ArrayLike, yx_um: npt.ArrayLike
) -> _Steps:
    track, frames = (np.asarray(values).astype(np.int64).ravel() for values in (track_id, frame))
    time = np.asarray(time_s, dtype=np.float64).ravel()
    position = np.asarray(yx_um, dtype=np.float64)
    if position.size == 0:
        position = np.empty((0, 2))
    if position.ndim != 2 or position.shape[1] != 2:
        raise ValueError(f"yx_um must have shape (N, 2), got {position.shape}")
    if not len(track) == len(frames) == len(time) == len(position):
        raise ValueError(
            f"track_id, frame, time_s and yx_um have {len(track)}, {len(frames)}, {len(time)} and "
            f"{len(position)} rows"
        )
    if not (np.isfinite(time).all() and np.isfinite(position).all()):
        raise ValueError("time_s and yx_um must be finite; leave objects without time or place out")
    order = np.lexsort((frames, track))
    track, frames, time, position = track[order], frames[order], time[order], position[order]
    at = np.flatnonzero(track[1:] == track[:-1]) + 1
    elapsed_min = (time[at] - time[at - 1]) / _S_PER_MIN
    late = np.flatnonzero(elapsed_min <= 0)
    if late.size:
        where = at[late[0]]
        raise ValueError(f"time does not rise towards frame {frames[where]} of track {track[where]}")
    step_um = np.linalg.norm(position[at] - position[at - 1], axis=1)
    passed = frames[at] - frames[at - 1]
    return _Steps(track, frames, time, position, order, at, order[at], step_um, elapsed_min, passed)


def _ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Quotient; NaN where the denominator is 0."""
    quotient = np.full(len(numerator), np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator > 0)
    return quotient
