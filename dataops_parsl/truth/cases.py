"""Which hard cases a simulated film really holds, target by target."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dataops_parsl.truth.hard import CASES, Flags

if TYPE_CHECKING:
    from dataops_parsl.truth.film import Film

Table = dict[str, NDArray[np.generic]]

RADIUS_UM = 2.0
WINDOW_S = 3600.0
WHOLE_S = 300.0
NEAR_UM = (3.0, 6.0)
NEAR_S = 600.0


def happened(film: Film) -> Table:
    """What `Film.cases` returns: the targets that the film ever shows, and a bool for each case."""
    shown = film.seen["target"].area_px > 0
    close = film.contacts(RADIUS_UM)
    dead_s = film.targets.death_time_s
    times = film.times_s()
    death_frame = np.minimum(np.searchsorted(times, dead_s), len(times))
    dies = (dead_s > 0) & (dead_s <= times[-1])
    dies[dies] = shown[death_frame[dies], np.flatnonzero(dies)]
    found = {name: np.zeros(len(dead_s), np.bool_) for name in CASES}
    found["dead_at_start"] = (dead_s <= 0) & shown.any(axis=0)
    found["dye_lost"] = dies & film.targets.dye_lost
    found["near_miss"] = _near_misses(film)
    found["out_of_focus"] = _blurred(film, shown)
    candidates = candidates_of(film, close)
    found["several_candidates"] = dies & (film.killer_id > 0) & (candidates >= 2)
    found["spontaneous_death"] = dies & (film.killer_id < 0) & (candidates == 0)
    found["corpse_detaches"] = dies & _detached(film, death_frame)
    frame, target = close["frame"].astype(np.int64), close["target_id"].astype(np.int64) - 1
    effector = close["effector_id"].astype(np.int64) - 1
    alive = dead_s[target] > times[frame]
    lively = film.effectors.death_time_s[effector] > times[frame]
    found["dead_effector"][target[alive & ~lively]] = True
    outlived = dead_s[target] - times[frame] > WINDOW_S
    harmless = alive & lively & outlived & (film.killer_id[target] != effector + 1)
    found["harmless_contact"][target[harmless]] = True
    rows = np.flatnonzero(shown.any(axis=0))
    return {"target_id": film.targets.ids[rows], **{name: found[name][rows] for name in CASES}}


def candidates_of(film: Film, close: Table | None = None) -> NDArray[np.int64]:
    """For each target that dies in the film, the live effectors in contact in the hour before; else 0.

    Parameters
    ----------
    close : Table
        `film.contacts` up to the contact radius, where they are at hand.
    """
    close = film.contacts(RADIUS_UM) if close is None else close
    times, dead_s = film.times_s(), film.targets.death_time_s
    frame, target = close["frame"].astype(np.int64), close["target_id"].astype(np.int64) - 1
    effector = close["effector_id"].astype(np.int64) - 1
    death_frame = np.searchsorted(times, dead_s)
    in_film = np.flatnonzero((dead_s > 0) & (death_frame < len(times)))
    seen_dead_s = np.full(len(dead_s), np.nan)
    seen_dead_s[in_film] = times[death_frame[in_film]]
    before_s = seen_dead_s[target] - times[frame]
    lively = film.effectors.death_time_s[effector] > times[frame]
    counts = lively & (before_s > 0) & (before_s <= WINDOW_S)
    pairs = np.unique(np.column_stack([target[counts], effector[counts]]), axis=0)
    return np.bincount(pairs[:, 0], minlength=len(dead_s)).astype(np.int64)


def whole_around(film: Film, target: int, death_frame: int) -> bool:
    """Whether the film shows all of a target around its death.

    "Around" are the observation before the frame of death, that frame, all up to 5 min after it, and one
    more. In each, the mask must keep a pixel off the border of the raw frame and, drift undone, off that of
    the canvas of frame 0; so the warp invents no pixel of it. False where the film begins too late or ends
    too early for that.
    """
    scene = film.scene
    last = death_frame + int(WHOLE_S // scene.frame_interval_s) + 1
    first = death_frame - 1
    if first < 0 or last >= scene.n_frames:
        return False
    frames = np.arange(first, last + 1)
    if not (film.seen["target"].area_px[frames, target] > 0).all():
        return False
    low, high = np.split(film.seen["target"].box_px[frames, target].astype(np.float64), 2, axis=1)
    end = np.array([scene.height_px, scene.width_px]) - 2
    drift = film.drift_px[frames]
    raw = (low >= 1).all() and (high <= end).all()
    return bool(raw and (low - drift >= 1).all() and (high - drift <= end).all())


def _near_misses(film: Film) -> Flags:
    """Targets of which a live effector keeps 3 to 6 µm away for 10 min or more, and which live."""
    near = film.contacts(NEAR_UM[1])
    times = film.times_s()
    frame, target = near["frame"].astype(np.int64), near["target_id"].astype(np.int64) - 1
    effector = near["effector_id"].astype(np.int64) - 1
    live = (film.effectors.death_time_s[effector] > times[frame]) & (
        film.targets.death_time_s[target] > times[frame]
    )
    rows = np.flatnonzero((near["gap_um"].astype(np.float64) >= NEAR_UM[0]) & live)
    rows = rows[np.lexsort((frame[rows], effector[rows], target[rows]))]
    found = np.zeros(len(film.targets.ids), np.bool_)
    if not len(rows):
        return found
    same = (np.diff(target[rows]) == 0) & (np.diff(effector[rows]) == 0) & (np.diff(frame[rows]) == 1)
    first = np.flatnonzero(np.r_[True, ~same])
    last = np.r_[first[1:], len(rows)] - 1
    long = times[frame[rows[last]]] - times[frame[rows[first]]] >= NEAR_S
    found[target[rows[first[long]]]] = True
    return found


def _blurred(film: Film, shown: Flags) -> Flags:
    """Targets that are shown while debris lies within a standard deviation of their centre."""
    debris, found = film.debris, np.zeros(len(film.targets.ids), np.bool_)
    for index in range(len(debris.y_um)):
        times = film.times_s()
        frames = np.flatnonzero((debris.start_s[index] <= times) & (times < debris.end_s[index]))
        y, x = film.targets.y_um[frames], film.targets.x_um[frames]
        away = np.hypot(y - debris.y_um[index], x - debris.x_um[index])
        found |= ((away <= debris.sigma_um[index]) & shown[frames]).any(axis=0)
    return found


def _detached(film: Film, death_frame: NDArray[np.int64]) -> Flags:
    """Dead targets that vanish or drift off by more than their radius before the film ends."""
    cells = film.targets
    found = np.zeros(len(cells.ids), np.bool_)
    for target in np.flatnonzero(death_frame < film.scene.n_frames):
        at = int(death_frame[target])
        after = slice(at, None)
        away = np.hypot(
            cells.y_um[after, target] - cells.y_um[at, target],
            cells.x_um[after, target] - cells.x_um[at, target],
        )
        found[target] = (~cells.present[after, target] | (away > cells.radius_um[at, target])).any()
    return found
