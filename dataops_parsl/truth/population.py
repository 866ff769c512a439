"""The found cells of one population beside the true ones: objects, links, speeds, and whom a track follows.

What the border cuts cannot be judged: its centre is elsewhere, its contacts may lie outside. So a cell is
*in view* where it is whole in the raw frame and inside the canvas of frame 0, onto which all frames are
registered; what is out of view is neither right nor wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dataops_parsl.tables import Rows
from dataops_parsl.truth import scores

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MATCH_UM = 5.0
"""Farthest that the centre of a found object may lie from the true one."""


@dataclass(frozen=True)
class Counts:
    """Right, wrongly found, and not found."""

    hits: int
    false: int
    missed: int


@dataclass(frozen=True, eq=False)
class Speeds:
    """Speeds of the steps that are true links in view, found and true, µm/min, (n,) float64."""

    found: Floats
    true: Floats


class Population:
    """Found cells of one population, matched to the true ones that are seen in the raw frames."""

    def __init__(
        self,
        name: str,
        cells: Rows,
        objects: Rows,
        pixel_size_um: tuple[float, float],
        shape_px: tuple[int, int],
        last_frame: int,
    ) -> None:
        self.size_um = np.array(pixel_size_um)
        self.found = cells.where(cells["population"] == name)
        present = objects.where(objects["population"] == name)
        visible = present["visible"].astype(bool)
        self.true = present.where(visible)
        self.yx_px = columns(self.true, "y_px", "x_px")
        self.matching = scores.match_objects(
            self.found["frame"],
            columns(self.found, "y_um", "x_um"),
            self.true["frame"],
            self.yx_px * self.size_um,
            MATCH_UM,
        )
        radius = np.sqrt(self.true["area_px"].astype(np.float64) / np.pi)[:, None]
        inside = ((self.yx_px >= radius) & (self.yx_px <= np.array(shape_px) - 1 - radius)).all(axis=1)
        self.true_in_view: Bools = inside & ~self.true["touches_edge"].astype(bool)
        self.found_in_view: Bools = ~self.found["touches_edge"].astype(bool)
        self._cell = np.full(len(self.found), -1, np.int64)
        matched = self.matching >= 0
        self._cell[matched] = self.true["cell_id"][self.matching[matched]]
        # Found objects that can be right or wrong: those of a true one in view, and those of none at all.
        self._judged = np.where(matched, self._of_match(self.true_in_view), self.found_in_view)
        self.seen_tracks = _grid(self.found, "track_id", self.found_in_view, last_frame)
        in_view = np.zeros(len(present), np.bool_)
        in_view[visible] = self.true_in_view
        self.seen_cells = _grid(present, "cell_id", in_view, last_frame)
        tracks = self.found["track_id"].astype(np.int64)
        order = np.argsort(tracks, kind="stable")
        ids, starts = np.unique(tracks[order], return_index=True)
        parts = np.split(order, starts[1:]) if len(ids) else []
        self._rows = dict(zip(ids.tolist(), parts, strict=True))

    def _of_match(self, values: Bools) -> Bools:
        """Value of the true object of each found one; False for none."""
        return np.append(values, False)[self.matching]

    def detections(self) -> Counts:
        """Objects."""
        matched = self.matching >= 0
        hits = int((matched & self._judged).sum())
        return Counts(hits, int((~matched & self._judged).sum()), int(self.true_in_view.sum()) - hits)

    def _true_links(self) -> tuple[scores.Pairs, Bools]:
        """Links found, and which of them are true links in view."""
        found = scores.track_edges(self.found["frame"], self.found["track_id"])
        true = scores.track_edges(self.true["frame"], self.true["cell_id"])
        known = {tuple(edge) for edge in true[self.true_in_view[true].all(axis=1)].tolist()}
        right = [tuple(edge) in known for edge in self.matching[found].tolist()]
        return found, np.array(right, np.bool_).reshape(-1)

    def links(self) -> Counts:
        """Links across frames; one with an end that cannot be judged is left out."""
        found, right = self._true_links()
        true = scores.track_edges(self.true["frame"], self.true["cell_id"])
        n_true, hits = int(self.true_in_view[true].all(axis=1).sum()), int(right.sum())
        return Counts(hits, int((~right & self._judged[found].all(axis=1)).sum()), n_true - hits)

    def speeds(self, time_s: Mapping[int, float]) -> Speeds:
        """Speed of the links that are true, as the cells table has it, and as it truly was."""
        found, right = self._true_links()
        found = found[right]
        speed = self.found["step_speed_um_min"].astype(np.float64)[found[:, 1]]
        ends = self.matching[found]
        step_um = (self.yx_px[ends[:, 1]] - self.yx_px[ends[:, 0]]) * self.size_um
        frames = self.found["frame"][found].reshape(-1, 2)
        minutes = np.array([(time_s[b] - time_s[a]) / 60 for a, b in frames.tolist()], np.float64)
        true = np.hypot(step_um[:, 0], step_um[:, 1]) / minutes
        known = np.isfinite(speed)
        return Speeds(speed[known], true[known])

    def followed(self, track: int, first: float = 0, last: float = np.inf) -> int:
        """The true cell that a track follows in most of the frames first..last; -1 for none.

        A track that changes over to another cell is judged by where it was at the time.
        """
        rows = self._rows.get(track, np.empty(0, np.int64))
        frames, cell = self.found["frame"][rows], self._cell[rows]
        kept = cell[(frames >= first) & (frames <= last) & (cell >= 0)]
        if not len(kept):
            return -1
        ids, counts = np.unique(kept, return_counts=True)
        return int(ids[counts.argmax()])


def _grid(rows: Rows, identity: str, seen: Bools, last_frame: int) -> Bools:
    """(largest id + 1, frames): whether the cell or track is in view there."""
    ids = rows[identity].astype(np.int64)
    grid = np.zeros((int(ids.max(initial=0)) + 1, last_frame + 1), np.bool_)
    grid[ids[seen], rows["frame"].astype(np.int64)[seen]] = True
    return grid


def columns(rows: Rows, y: str, x: str) -> Floats:
    """Two columns as (n, 2) float64."""
    return np.column_stack([rows[y], rows[x]]).astype(np.float64).reshape(-1, 2)
