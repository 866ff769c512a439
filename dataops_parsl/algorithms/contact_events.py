"""Contact events: maximal runs of contact of two tracks, and why each of their ends is where it is.

That two cells were not seen in contact means little unless both were seen. An end is exact only where both
cells were observed apart beside it; otherwise it is censored, and the reason says by what.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

START_REASONS = ("contact", "film", "division", "edge", "lost")
END_REASONS = ("separated", "film", "division", "edge", "lost")
_APART, _FILM, _DIVISION, _EDGE, _LOST, _OBSERVED = range(6)

_FACTS = (
    "first_frame",
    "last_frame",
    "starts_by_division",
    "ends_by_division",
    "first_touches_edge",
    "last_touches_edge",
)


@dataclass(frozen=True)
class Tracks:
    """What is known of the tracks of one population.

    Attributes
    ----------
    track_id : (K,) int
        Tracks, in any order.
    first_frame, last_frame : (K,) int
        Frames of each track's first and last object.
    starts_by_division, ends_by_division : (K,) bool
        Whether the track is a daughter; whether it divides.
    first_touches_edge, last_touches_edge : (K,) bool
        Whether the track's first, and last, object touches the border of the image.
    observed_track_id, observed_frame : (N,) int
        Track and frame of every object: where a track has a gap, it was not observed.
    """

    track_id: npt.ArrayLike
    first_frame: npt.ArrayLike
    last_frame: npt.ArrayLike
    starts_by_division: npt.ArrayLike
    ends_by_division: npt.ArrayLike
    first_touches_edge: npt.ArrayLike
    last_touches_edge: npt.ArrayLike
    observed_track_id: npt.ArrayLike
    observed_frame: npt.ArrayLike


@dataclass(frozen=True)
class ContactEvents:
    """Contact events, by ascending pair and start.

    Attributes
    ----------
    track_a, track_b : (E,) int64
        The pair.
    start_frame, end_frame : (E,) int64
        First and last frame of contact, both inclusive.
    n_frames : (E,) int64
        Frames of contact; bridged frames are not counted.
    start_reason : (E,) str
        "contact" (seen apart before: the contact began here), or why the pair was not observed before:
        "film" (no valid frame), "division" (a track is a daughter), "edge" (a track came in at the border),
        "lost" (a track begins here for no known reason, or has a gap).
    end_reason : (E,) str
        "separated" (seen apart after), "film", "division" (a track divides), "edge", "lost".
    min_gap_um : (E,) float64
        Smallest distance during the event.
    """

    track_a: IntArray
    track_b: IntArray
    start_frame: IntArray
    end_frame: IntArray
    n_frames: IntArray
    start_reason: npt.NDArray[np.str_]
    end_reason: npt.NDArray[np.str_]
    min_gap_um: FloatArray


def find(
    track_a: npt.ArrayLike,
    track_b: npt.ArrayLike,
    frame: npt.ArrayLike,
    gap_um: npt.ArrayLike,
    *,
    tracks_a: Tracks,
    tracks_b: Tracks,
    valid_frames: npt.ArrayLike,
    bridge_frames: int = 1,
    min_frames: int = 2,
) -> ContactEvents:
    """Join contacts of a pair of tracks in successive frames into events.

    Parameters
    ----------
    track_a, track_b, frame : (C,) int
        Contacts: pairs of tracks within the radius, at most once a frame.
    gap_um : (C,) float64
        Distance of each contact, in µm.
    tracks_a, tracks_b : Tracks
        The tracks of both sides; the same object twice for contacts within one population.
    valid_frames : (F,) int
        Frames of the film that could be observed.
    bridge_frames : int
        Frames without contact that do not end an event: both cells apart, one of them not observed, or no
        valid frame. Also how many frames without observation beside an event are looked past for the pair
        being apart.
    min_frames : int
        Frames of contact that an event has at least.

    Returns
    -------
    ContactEvents

    Raises
    ------
    ValueError
        If arrays do not fit one another, a pair is in contact twice in a frame, a contact names an unknown
        track, or a parameter is out of range.

    Notes
    -----
    Of several reasons for one end the first counts of: seen apart, film, division, edge, lost. The cell's
    state (a death) is not known here; a later step may put it in the place of a reason.
    """
    if bridge_frames < 0 or min_frames < 1:
        raise ValueError(
            f"bridge_frames must be 0 or more and min_frames 1 or more, got {bridge_frames} and {min_frames}"
        )
    a, b, frames = (np.asarray(values).astype(np.int64).ravel() for values in (track_a, track_b, frame))
    gaps = np.asarray(gap_um, dtype=np.float64).ravel()
    if not len(a) == len(b) == len(frames) == len(gaps):
        raise ValueError(
            f"track_a, track_b, frame and gap_um have {len(a)}, {len(b)}, {len(frames)} and {len(gaps)} rows"
        )
    order = np.lexsort((frames, b, a))
    a, b, frames, gaps = a[order], b[order], frames[order], gaps[order]
    same_pair = (a[1:] == a[:-1]) & (b[1:] == b[:-1])
    step = np.diff(frames)
    twice = np.flatnonzero(same_pair & (step == 0))
    if twice.size:
        at = twice[0]
        raise ValueError(f"tracks {a[at]} and {b[at]} are in contact more than once in frame {frames[at]}")

    begins = np.ones(len(a), np.bool_)
    begins[1:] = ~same_pair | (step > bridge_frames + 1)
    first = np.flatnonzero(begins)
    n_frames = np.diff(np.append(first, len(a)))
    lowest = np.minimum.reduceat(gaps, first) if first.size else np.empty(0)
    long = n_frames >= min_frames
    first, n_frames, lowest = first[long], n_frames[long], lowest[long]
    last = first + n_frames - 1

    valid = _Keys(np.zeros(np.size(valid_frames), np.int64), valid_frames)
    sides = (_Side(tracks_a, a[first], "tracks_a"), _Side(tracks_b, b[first], "tracks_b"))
    start = _reasons(sides, frames[first], -1, bridge_frames + 1, valid)
    end = _reasons(sides, frames[last], 1, bridge_frames + 1, valid)
    return ContactEvents(
        track_a=a[first],
        track_b=b[first],
        start_frame=frames[first],
        end_frame=frames[last],
        n_frames=n_frames,
        start_reason=np.array(START_REASONS)[start],
        end_reason=np.array(END_REASONS)[end],
        min_gap_um=lowest,
    )


class _Keys:
    """A set of (id, frame) pairs that answers for arrays of them."""

    def __init__(self, ids: npt.ArrayLike, frames: npt.ArrayLike) -> None:
        id_array, frame_array = (np.asarray(v).astype(np.int64).ravel() for v in (ids, frames))
        if len(id_array) != len(frame_array):
            raise ValueError(f"observations have {len(id_array)} track ids and {len(frame_array)} frames")
        self._low = int(frame_array.min(initial=0))
        self._span = int(frame_array.max(initial=0)) - self._low + 1
        self._keys = np.unique(id_array * self._span + (frame_array - self._low))

    def holds(self, ids: IntArray, frames: IntArray) -> BoolArray:
        shifted = frames - self._low
        key = ids * self._span + shifted
        at = np.searchsorted(self._keys, key)
        found = np.zeros(len(key), np.bool_)
        inside = (at < len(self._keys)) & (shifted >= 0) & (shifted < self._span)
        found[inside] = self._keys[at[inside]] == key[inside]
        return found


class _Side:
    """One track of each event, and what became of it."""

    def __init__(self, tracks: Tracks, ids: IntArray, name: str) -> None:
        known = np.asarray(tracks.track_id).astype(np.int64).ravel()
        by_id = np.argsort(known, kind="stable")
        at = np.searchsorted(known[by_id], ids)
        strange = np.ones(len(ids), np.bool_)
        inside = at < len(known)
        strange[inside] = known[by_id[at[inside]]] != ids[inside]
        if strange.any():
            raise ValueError(f"track {ids[strange][0]} is in contact but not in {name}")
        self._ids = ids
        self._observed = _Keys(tracks.observed_track_id, tracks.observed_frame)
        facts = {}
        for field in _FACTS:
            values = np.asarray(getattr(tracks, field)).astype(np.int64).ravel()
            if len(values) != len(known):
                raise ValueError(f"{name}.{field} has {len(values)} values for {len(known)} tracks")
            facts[field] = values[by_id[at]]
        self._facts = facts

    def observed(self, frame: IntArray) -> BoolArray:
        return self._observed.holds(self._ids, frame)

    def why_not(self, frame: IntArray, direction: int) -> IntArray:
        """Per event: why this track was not observed in a frame beside it, if it was not."""
        if direction > 0:
            over = frame > self._facts["last_frame"]
            division, edge = self._facts["ends_by_division"], self._facts["last_touches_edge"]
        else:
            over = frame < self._facts["first_frame"]
            division, edge = self._facts["starts_by_division"], self._facts["first_touches_edge"]
        reason = np.select(
            [self.observed(frame), over & (division > 0), over & (edge > 0)],
            [_OBSERVED, _DIVISION, _EDGE],
            _LOST,
        )
        return reason.astype(np.int64)


def _reasons(
    sides: tuple[_Side, _Side], frame: IntArray, direction: int, n_looked: int, valid: _Keys
) -> IntArray:
    """Why each event ends at its frame, in the given direction of time."""
    a, b = sides
    reason = np.full(len(frame), _FILM, np.int64)
    undecided = np.ones(len(frame), np.bool_)
    for step in range(1, n_looked + 1):
        beside = frame + direction * step
        valid_there = valid.holds(np.zeros(len(frame), np.int64), beside)
        apart = valid_there & a.observed(beside) & b.observed(beside)
        reason[apart] = _APART
        # The first frame that could be observed says why the pair was not, unless it is seen apart further
        # on.
        decides = valid_there & undecided & ~apart
        why = np.minimum(a.why_not(beside, direction), b.why_not(beside, direction))
        reason[decides] = why[decides]
        undecided &= ~valid_there
    return reason
