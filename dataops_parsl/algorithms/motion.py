"""Speed and path of tracks, from positions and real time stamps."""

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
    track, time, position = track[order], time[order], position[order]
    goes_on = track[1:] == track[:-1]
    elapsed_min = np.diff(time)[goes_on] / _S_PER_MIN
    late = np.flatnonzero(elapsed_min <= 0)
    if late.size:
        at = order[1:][goes_on][late[0]]
        raise ValueError(
            f"time does not rise towards frame {frames[at]} of track {track[1:][goes_on][late[0]]}"
        )
    step_um = np.linalg.norm(np.diff(position, axis=0)[goes_on], axis=1)
    step_speed = np.full(len(track), np.nan)
    step_speed[order[1:][goes_on]] = step_um / elapsed_min

    ids, first = np.unique(track, return_index=True)
    last = np.append(first[1:], len(track))[: len(ids)] - 1
    owner = np.searchsorted(ids, track[1:][goes_on])
    path_um = np.bincount(owner, weights=step_um, minlength=len(ids)).astype(np.float64)
    net_um = np.linalg.norm(position[last] - position[first], axis=1)
    total_min = (time[last] - time[first]) / _S_PER_MIN
    # Rounding of the sum may leave the path a hair shorter than the net way of a straight track.
    straightness = np.minimum(_ratio(net_um, path_um), 1.0)
    return Motion(step_speed, ids, path_um, net_um, straightness, _ratio(path_um, total_min))


def _ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Quotient; NaN where the denominator is 0."""
    quotient = np.full(len(numerator), np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator > 0)
    return quotient
