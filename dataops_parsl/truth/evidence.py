"""What one position's tables found of its truth, case by case; `comparison` makes scores of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from dataops_parsl.tables import Rows
from dataops_parsl.truth import scores
from dataops_parsl.truth.population import Bools, Counts, Floats, Ints, Population, Speeds, columns

POPULATIONS = ("effector", "target")
RADIUS_UM, BRIDGE_FRAMES, MIN_FRAMES = 2.0, 1, 2
"""True contact events follow the pipeline's defaults."""
DEATH_FRAMES = 3
"""A found death is right up to so many frames from the true one; its error is taken however far it is."""
SETTLE_S = 300.0
"""A death this close to the end of what was run cannot be seen to last."""


@dataclass(frozen=True)
class Shifts:
    """Error of the shifts over so many frames; inf where none was found."""

    n_frames: int
    error: scores.ShiftError


@dataclass(frozen=True, eq=False)
class Contacts:
    """Contact events, found (n,) and true (m,).

    Attributes
    ----------
    found_target, true_target : int64
        The target's true cell; -1 for a found one of no true cell.
    found_right, true_found : bool
        Whether it has a partner: same pair, temporal intersection over union >= 0.5.
    found_in_view, true_in_view : bool
        Both cells are in view in at least half of its frames: that half alone has an intersection over union
        of 0.5 with the whole.
    """

    found_target: Ints
    found_right: Bools
    found_in_view: Bools
    true_target: Ints
    true_found: Bools
    true_in_view: Bools


@dataclass(frozen=True, eq=False)
class Deaths:
    """Deaths, found (n,) and true (m,).

    Attributes
    ----------
    found_target, true_target : int64
        As in `Contacts`.
    found_right, true_found : bool
        Whether it has a partner: the same cell, at most `DEATH_FRAMES` apart; the nearest, one-to-one.
    found_error_frames : float64
        Distance to the true death of its cell, however far; NaN for a cell that does not die.
    true_whole, true_visible : bool
        Whole in view around its death, and long enough before the end; seen at all.
    killed : bool
        An effector did it.
    credited : bool
        Found, and the killer is ranked first; false for all where no effector is named in the tables.
    n_candidates : int64
        Live effectors in contact within the window before.
    attributed : bool
        Whether the tables name an effector at all (one value): without, `credited` says nothing.
    """

    found_target: Ints
    found_right: Bools
    found_error_frames: Floats
    true_target: Ints
    true_found: Bools
    true_whole: Bools
    true_visible: Bools
    killed: Bools
    credited: Bools
    n_candidates: Ints
    attributed: bool


@dataclass(frozen=True, eq=False)
class Evidence:
    """All that is scored of a position; None where the tables or the truth have nothing to say.

    Attributes
    ----------
    objects, links, speeds
        By population.
    targets : (n,) int64
        True targets that are seen in any frame.
    cases : mapping of hard case to its targets
    masks : mapping of population to AP@0.5 of its masks and the number of frames
    """

    shifts: Shifts
    objects: Mapping[str, Counts]
    links: Mapping[str, Counts]
    speeds: Mapping[str, Speeds]
    divisions: Counts | None
    contacts: Contacts | None
    deaths: Deaths | None
    targets: Ints
    cases: Mapping[str, Ints]
    masks: Mapping[str, tuple[float, int]] = field(default_factory=dict)


def gather(
    found: Mapping[str, Rows],
    truth: Mapping[str, Rows],
    pixel_size_um: tuple[float, float],
    shape_px: tuple[int, int],
) -> Evidence:
    """Hold the tables of one position against its truth.

    Parameters
    ----------
    found : mapping of table to its rows of this position
        ``frames`` and ``cells`` must be there; without ``tracks``, ``contact_events`` or ``deaths`` what they
        say is not scored.
    truth : mapping of table to rows
        ``objects``, ``contacts``, ``deaths``, ``drift``, ``cases`` and ``lineage``, see `truth.film.Film`.
    pixel_size_um : y, x
    shape_px : height, width of the field
    """
    last = int(found["frames"]["frame"].max()) if len(found["frames"]) else -1
    truth = {name: _until(rows, last) for name, rows in truth.items()}
    time_s = dict(zip(found["frames"]["frame"].tolist(), found["frames"]["time_s"].tolist(), strict=True))
    cells = {
        p: Population(p, found["cells"], truth["objects"], pixel_size_um, shape_px, last) for p in POPULATIONS
    }
    contacts = deaths = None
    if "contact_events" in found:
        contacts = _contacts(found["contact_events"], truth["contacts"], cells)
    if "deaths" in found:
        deaths = _deaths(found, truth["deaths"], cells, last, time_s)
    divisions = _divisions(found["tracks"], truth["lineage"], cells["target"]) if "tracks" in found else None
    cases = truth["cases"]
    return Evidence(
        _shifts(found["frames"], truth["drift"]),
        {p: population.detections() for p, population in cells.items()},
        {p: population.links() for p, population in cells.items()},
        {p: population.speeds(time_s) for p, population in cells.items()},
        divisions,
        contacts,
        deaths,
        np.unique(cells["target"].true["cell_id"]).astype(np.int64),
        {
            case: cases["target_id"][cases[case].astype(bool)].astype(np.int64)
            for case in cases.table.column_names
            if case != "target_id"
        },
    )


def _contacts(events: Rows, pairs: Rows, cells: Mapping[str, Population]) -> Contacts:
    """Contact events of an effector with a target."""
    spans = _effector_first(events)
    found = np.array(
        [
            (cells["effector"].followed(e, a, b - 1), cells["target"].followed(t, a, b - 1), a, b)
            for e, t, a, b in spans.tolist()
        ],
        np.int64,
    ).reshape(-1, 4)
    near = pairs.where(pairs["gap_um"] <= RADIUS_UM)
    true = scores.contact_runs(
        near["frame"], near["effector_id"], near["target_id"], BRIDGE_FRAMES, MIN_FRAMES
    )
    partner = scores.match_events(found, true)
    grids = [(p.seen_tracks, p.seen_cells) for p in (cells["effector"], cells["target"])]
    return Contacts(
        found[:, 1],
        partner >= 0,
        _in_view(spans, grids[0][0], grids[1][0]),
        true[:, 1],
        np.isin(np.arange(len(true)), partner),
        _in_view(true, grids[0][1], grids[1][1]),
    )


def _effector_first(events: Rows) -> Ints:
    """(k, 4) effector track, target track, first frame, frame after the last."""
    out = []
    for effector, target in (("a", "b"), ("b", "a")):
        mine = events.where(
            (events[f"population_{effector}"] == "effector") & (events[f"population_{target}"] == "target")
        )
        names = (f"track_id_{effector}", f"track_id_{target}", "start_frame", "end_frame")
        out.append(np.column_stack([mine[name].astype(np.int64) for name in names]))
    spans: Ints = np.concatenate(out)
    spans[:, 3] += 1
    return spans


def _in_view(spans: Ints, effectors: Bools, targets: Bools) -> Bools:
    """Whether both are in view in at least half of the frames of each span (its end not included)."""
    share = [
        (effectors[effector, start:end] & targets[target, start:end]).mean() >= 0.5
        for effector, target, start, end in spans.tolist()
    ]
    return np.array(share, np.bool_).reshape(-1)


def _deaths(
    found: Mapping[str, Rows],
    true: Rows,
    cells: Mapping[str, Population],
    last_frame: int,
    time_s: Mapping[int, float],
) -> Deaths:
    """Deaths of targets, and who was ranked first for them."""
    deaths = found["deaths"].where(found["deaths"]["population"] == "target")
    frames, tracks = deaths["death_frame"].astype(np.int64), deaths["track_id"].astype(np.int64)
    victims = [
        cells["target"].followed(t, f - DEATH_FRAMES, f + DEATH_FRAMES)
        for t, f in zip(tracks.tolist(), frames.tolist(), strict=True)
    ]
    victim = np.array(victims, np.int64).reshape(-1)
    ids, death_frame = true["target_id"].astype(np.int64), true["death_frame"].astype(np.int64)
    partner = scores.match_deaths(victim, frames, ids, death_frame, DEATH_FRAMES)
    when = dict(zip(ids.tolist(), death_frame.tolist(), strict=True))
    error = [abs(f - when.get(v, np.nan)) for v, f in zip(victims, frames.tolist(), strict=True)]
    attributed = "top_effector_track_id" in deaths.table.column_names
    named = _named(found, deaths, cells["effector"]) if attributed else np.full(len(deaths), -1)
    killer = true["killer_id"].astype(np.int64)
    ranked = np.full(len(ids), -2, np.int64)
    ranked[partner[partner >= 0]] = named[partner >= 0]
    end_s = time_s.get(last_frame, 0.0)
    lasting = [time_s.get(f + 1, np.inf) + SETTLE_S <= end_s for f in death_frame.tolist()]
    return Deaths(
        victim,
        partner >= 0,
        np.array(error, np.float64).reshape(-1),
        ids,
        np.isin(np.arange(len(ids)), partner),
        true["whole"].astype(bool) & np.array(lasting, np.bool_).reshape(-1),
        true["visible"].astype(bool),
        killer != -1,
        (killer != -1) & (ranked == killer),
        true["n_candidates"].astype(np.int64),
        attributed,
    )


def _named(found: Mapping[str, Rows], deaths: Rows, effectors: Population) -> Ints:
    """The true cell of the effector ranked first for each found death, at that time; -1 for none."""
    spans = _effector_first(found["contact_events"]) if "contact_events" in found else np.empty((0, 4), int)
    out = []
    for track, top, frame in zip(
        deaths["track_id"], deaths["top_effector_track_id"].astype(float), deaths["death_frame"], strict=True
    ):
        mine = spans[(spans[:, 0] == top) & (spans[:, 1] == track) & (spans[:, 2] <= frame)]
        first = int(mine[:, 2].max()) if len(mine) else 0
        out.append(effectors.followed(int(top), first, int(frame)) if np.isfinite(top) else -1)
    return np.array(out, np.int64).reshape(-1)


def _divisions(tracks: Rows, lineage: Rows, targets: Population) -> Counts | None:
    """Divisions of which mother and daughter are in view: is there a track that says so; None for none."""
    born: dict[int, list[int]] = {}
    parent = tracks["parent_track_id"].astype(float)
    for row in np.flatnonzero((tracks["population"] == "target") & np.isfinite(parent)).tolist():
        track = int(tracks["track_id"][row])
        frame = int(targets.found["frame"][targets.found["track_id"] == track].min())
        mother = targets.followed(int(parent[row]), frame - 3, frame - 1)
        born.setdefault(targets.followed(track, frame, frame + 2), []).append(mother)
    columns = (lineage[c].astype(np.int64).tolist() for c in ("child_id", "parent_id", "frame"))
    hits = [
        mother in born.get(child, [])
        for child, mother, frame in zip(*columns, strict=True)
        if frame > 0 and targets.seen_cells[child, frame] and targets.seen_cells[mother, frame - 1]
    ]
    return Counts(sum(hits), 0, len(hits) - sum(hits)) if hits else None


def _shifts(frames: Rows, drift: Rows) -> Shifts:
    true = dict(zip(drift["frame"].tolist(), columns(drift, "dy_px", "dx_px"), strict=True))
    rows = [true[frame] for frame in frames["frame"].tolist()]
    found = columns(frames, "dy_px", "dx_px")
    return Shifts(len(found), scores.shift_error_px(found, np.array(rows).reshape(-1, 2)))


def _until(rows: Rows, last_frame: int) -> Rows:
    for column in ("death_frame", "frame"):
        if column in rows.table.column_names:
            return rows.where(rows[column] <= last_frame)
    return rows
