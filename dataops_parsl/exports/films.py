"""What a run says of its films and tracks: sizes, times, and which object is on which track."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dataops_parsl.bundle import Bundle
from dataops_parsl.dataset.description import FILE_NAME, load_description
from dataops_parsl.errors import UsageError
from dataops_parsl.validate import record

Tables = Mapping[str, pa.Table]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class FilmFacts:
    """A position as a run covers it.

    Attributes
    ----------
    position : str
    n_frames : int
        Frames that the run covers.
    shape_px : (int, int)
        (Y, X).
    pixel_size_um : (float, float)
        y, x.
    time_s : tuple of float
        Of each frame, since the film's start.
    interval_s : float
        Usual time from one frame to the next.
    """

    position: str
    n_frames: int
    shape_px: tuple[int, int]
    pixel_size_um: tuple[float, float]
    time_s: tuple[float, ...]
    interval_s: float


class Members(NamedTuple):
    """Objects of one film and population, by frame, then label; each with its track."""

    frame: Ints
    label: Ints
    track_id: Ints


def film_facts(bundle: Bundle, tables: Tables) -> dict[str, FilmFacts]:
    """The positions of a run, from what it sealed of its input, or from its tables while it is open.

    Raises
    ------
    UsageError
        The bundle has no copy of ``dataset.toml``, which names the pixel size.
    """
    try:
        said = load_description(bundle.root / "dataset" / FILE_NAME)
    except UsageError as error:
        raise UsageError(
            f"run {bundle.id} has no dataset/{FILE_NAME} that can be read, so that sizes are unknown",
            f"python -m dataops_parsl validate {bundle.root} says what else is wrong with it",
        ) from error
    size = (float(said.pixel_size_um[0]), float(said.pixel_size_um[1]))
    known = (record.read(bundle.root, record.INPUTS) or {}).get("positions", {})
    found = {}
    for position, n in bundle.facts.get("n_frames", {}).items():
        times = _times(tables, position, int(n), said.frame_interval_s)
        steps = np.diff(times)
        interval = float(np.median(steps)) if len(steps) else said.frame_interval_s or 1.0
        shape = known[position]["shape_px"] if position in known else _extent(tables, position, size)
        found[position] = FilmFacts(position, int(n), (int(shape[0]), int(shape[1])), size, times, interval)
    return found


def _times(tables: Tables, position: str, n_frames: int, interval_s: float | None) -> tuple[float, ...]:
    """Time of each frame: as acquired where the run has the table, else by the interval."""
    times = [frame * (interval_s or 1.0) for frame in range(n_frames)]
    if "frames" in tables:
        rows = tables["frames"].filter(pc.equal(tables["frames"]["position_id"], position))
        for frame, time in zip(rows["frame"].to_pylist(), rows["time_s"].to_pylist(), strict=True):
            if time is not None and frame < n_frames:
                times[frame] = time
    return tuple(times)


def _extent(tables: Tables, position: str, size_um: tuple[float, float]) -> tuple[int, int]:
    """The smallest frame that holds all objects."""
    rows = of_film(tables["cells"], position) if "cells" in tables else None
    if rows is None or not rows.num_rows:
        return 1, 1
    y, x = (pc.max(rows[name]).as_py() or 0.0 for name in ("y_um", "x_um"))
    return int(y / size_um[0]) + 1, int(x / size_um[1]) + 1


def of_film(table: pa.Table, position: str, population: str = "") -> pa.Table:
    """The rows of a position, and of one population where one is given."""
    chosen = pc.equal(table["position_id"], position)
    if population:
        chosen = pc.and_(chosen, pc.equal(table["population"], population))
    return table.filter(chosen)


def require(bundle: Bundle, tables: Tables, names: tuple[str, ...], what: str) -> None:
    """Refuse a run that lacks tables.

    Raises
    ------
    UsageError
    """
    missing = [name for name in names if name not in tables]
    if missing:
        raise UsageError(
            f"run {bundle.id} has no table {' and no table '.join(missing)}, which {what} are made of",
            "its workflow does not track; run one that does, such as cytotoxicity or tracks",
        )


def populations(tables: Tables, facts: Mapping[str, Any]) -> list[str]:
    """Populations of a run: those of its configuration, then any others among its cells."""
    named = list(facts.get("config", {}).get("populations", {}))
    found = sorted(tables["cells"]["population"].unique().to_pylist()) if "cells" in tables else []
    return list(dict.fromkeys([*named, *found]))


def members(tables: Tables, position: str, population: str) -> Members:
    """Which object is on which track: from `members` where that is published, else from `cells`."""
    name = "members" if "members" in tables else "cells"
    rows = of_film(tables[name], position, population)
    if "track_id" not in rows.column_names:
        rows = rows.slice(0, 0).append_column("track_id", pa.array([], pa.int64()))
    rows = rows.filter(pc.is_valid(rows["track_id"]))
    frame, label, track = (rows[c].to_numpy().astype(np.int64) for c in ("frame", "label", "track_id"))
    order = np.lexsort((label, frame))
    return Members(frame[order], label[order], track[order])


def of_tracks(tables: Tables, position: str, population: str, column: str) -> dict[int, int]:
    """A column of `tracks` by track, nulls left out."""
    rows = of_film(tables["tracks"], position, population)
    pairs = zip(rows["track_id"].to_pylist(), rows[column].to_pylist(), strict=True)
    return {track: value for track, value in pairs if value is not None}
