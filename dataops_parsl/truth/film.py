"""A simulated film: what every cell did, and the truth tables made from it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from dataops_parsl.truth.cases import candidates_of, happened, whole_around
from dataops_parsl.truth.gaps import gaps_px
from dataops_parsl.truth.hard import Debris
from dataops_parsl.truth.scene import Scene
from dataops_parsl.truth.shapes import paste_labels, patches

Table = dict[str, NDArray[np.generic]]
Labels = NDArray[np.uint32]

POPULATIONS = ("effector", "target")
_KEPT_GAP_UM = 10.0


@dataclass(frozen=True, eq=False)
class Cells:
    """One population over time; T frames, N cells, K harmonics of the outline.

    Attributes
    ----------
    ids : (N,) uint32
        Cell id, the label in every frame; 0 is never used.
    y_um, x_um : (T, N) float64
        Centre in the world that does not drift, µm from the centre of the first frame's pixel (0, 0); NaN
        while the cell is not there.
    radius_um : (T, N) float64
        Mean radius, µm.
    shape : (T, N, K) complex128
        Outline, see `shapes.outline_frac`.
    present : (T, N) bool
        Whether the cell is there at all, inside the field or not.
    death_time_s : (N,) float64
        Time of death, s; negative where it is dead when the film begins, inf where it does not die in it.
    brightness : (N,) float64
        Staining relative to the typical cell.
    texture : (N, G, 4) float64
        Grains of the structure inside: place y, x and size in mean radii, and height.
    dye_lost : (N,) bool
        Whether it loses all of its live stain at once if it dies.
    """

    ids: NDArray[np.uint32]
    y_um: NDArray[np.float64]
    x_um: NDArray[np.float64]
    radius_um: NDArray[np.float64]
    shape: NDArray[np.complex128]
    present: NDArray[np.bool_]
    death_time_s: NDArray[np.float64]
    brightness: NDArray[np.float64]
    texture: NDArray[np.float64]
    dye_lost: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Seen:
    """What the raw frames show of one population.

    Attributes
    ----------
    area_px : (T, N) int64
        Pixels of each cell; 0 where it is hidden, gone or outside.
    box_px : (T, N, 4) int64
        First row and column, last row and column of its mask; -1 where it has none.
    """

    area_px: NDArray[np.int64]
    box_px: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Film:
    """Everything that happened in one simulated position.

    Attributes
    ----------
    scene, seed
        What it was made from.
    effectors, targets : Cells
        The two populations.
    drift_px : (T, 2) float64
        Stage drift dy, dx: content at p in frame 0 is seen at p + (dy, dx) in the raw frame.
    killer_id : (N,) int64
        For each target, the effector that killed it; -1 where none did.
    bound_to : (T, M) int64
        For each effector, the target to which it is bound, or on which it lies dead; 0 where it is free.
    parent_id : (N,) int64
        For each target, the one whose division it came from; 0 where it was there from the start. Places kept
        for daughters that were never born have 0 too, and are never present.
    debris : Debris
        Out-of-focus light.
    """

    scene: Scene
    seed: int
    effectors: Cells
    targets: Cells
    drift_px: NDArray[np.float64]
    killer_id: NDArray[np.int64]
    bound_to: NDArray[np.int64]
    parent_id: NDArray[np.int64]
    debris: Debris

    def cells(self, population: str) -> Cells:
        """One population; ValueError for a name that is none."""
        if population not in POPULATIONS:
            raise ValueError(f"no population {population!r}: a film has {POPULATIONS}")
        return self.effectors if population == "effector" else self.targets

    def times_s(self) -> NDArray[np.float64]:
        """Time of each frame, s, from 0."""
        return np.arange(self.scene.n_frames, dtype=np.float64) * self.scene.frame_interval_s

    def drift(self) -> Table:
        """frame, dy_px, dx_px: content at p in frame 0 is seen at p + (dy, dx) in the raw frame."""
        return {
            "frame": np.arange(len(self.drift_px)),
            "dy_px": self.drift_px[:, 0].copy(),
            "dx_px": self.drift_px[:, 1].copy(),
        }

    def objects(self) -> Table:
        """Every cell in every frame in which it is there, sorted by frame, population and cell.

        Columns: frame, population, cell_id, y_px and x_px (drift-corrected), y_px_raw and x_px_raw, area_px
        (of what the frame shows), alive, visible (has a pixel in the raw frame), touches_edge.
        """
        rows: list[Table] = []
        times = self.times_s()
        last = self.scene.height_px - 1, self.scene.width_px - 1
        for frame in range(self.scene.n_frames):
            for population in POPULATIONS:
                cells, seen = self.cells(population), self.seen[population]
                here = np.flatnonzero(cells.present[frame])
                area, box = seen.area_px[frame, here], seen.box_px[frame, here]
                on_edge = (box[:, :2] == 0).any(axis=1) | (box[:, 2:] == last).any(axis=1)
                y_px = cells.y_um[frame, here] / self.scene.pixel_size_um
                x_px = cells.x_um[frame, here] / self.scene.pixel_size_um
                dy, dx = self.drift_px[frame]
                rows.append(
                    {
                        "frame": np.full(len(here), frame),
                        "population": np.full(len(here), population, dtype="<U8"),
                        "cell_id": cells.ids[here],
                        "y_px": y_px,
                        "x_px": x_px,
                        "y_px_raw": y_px + dy,
                        "x_px_raw": x_px + dx,
                        "area_px": area,
                        "alive": cells.death_time_s[here] > times[frame],
                        "visible": area > 0,
                        "touches_edge": on_edge,
                    }
                )
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}

    def contacts(self, max_gap_um: float = 10.0) -> Table:
        """Pairs of effector and target up to `max_gap_um` apart in the true label images of the raw frames.

        Columns: frame, effector_id, target_id, gap_um (smallest distance between pixel centres, 0 if and only
        if a pixel is shared), bound (the effector holds on to the target, whatever the gap).
        """
        if max_gap_um > _KEPT_GAP_UM:
            return self._look(max_gap_um)[1]
        kept = self._looked[1]
        near = kept["gap_um"] <= np.float64(max_gap_um)
        return {name: column[near] for name, column in kept.items()}

    @property
    def seen(self) -> dict[str, Seen]:
        """Area and bounding box of every cell in every raw frame, by population."""
        return self._looked[0]

    @cached_property
    def _looked(self) -> tuple[dict[str, Seen], Table]:
        # Drawing all masks takes seconds: once is enough for all tables.
        return self._look(_KEPT_GAP_UM)

    def _look(self, max_gap_um: float) -> tuple[dict[str, Seen], Table]:
        """Draw the masks of all frames; what they show of each cell, and the pairs that are near."""
        found: list[tuple[int, int, int, float, bool]] = []
        seen = {
            name: Seen(
                np.zeros((self.scene.n_frames, len(self.cells(name).ids)), np.int64),
                np.full((self.scene.n_frames, len(self.cells(name).ids), 4), -1, np.int64),
            )
            for name in POPULATIONS
        }
        for frame in range(self.scene.n_frames):
            images = labels(self, frame)
            for name, image in images.items():
                area = np.bincount(image.ravel(), minlength=len(self.cells(name).ids) + 1)
                seen[name].area_px[frame] = area[1:]
                for index, place in enumerate(find_objects(image.astype(np.int64))):
                    if place is not None:
                        y, x = place
                        seen[name].box_px[frame, index] = y.start, x.start, y.stop - 1, x.stop - 1
            bound = self.bound_to[frame].tolist()
            pairs = gaps_px(images["effector"], images["target"], max_gap_um / self.scene.pixel_size_um)
            for effector, target, gap_px in pairs:
                gap_um = gap_px * self.scene.pixel_size_um
                found.append((frame, effector, target, gap_um, bound[effector - 1] == target))
        frames, effectors, targets, gaps, holds = zip(*found, strict=True) if found else ((), (), (), (), ())
        return seen, {
            "frame": np.array(frames, np.int64),
            "effector_id": np.array(effectors, np.uint32),
            "target_id": np.array(targets, np.uint32),
            "gap_um": np.array(gaps, np.float64),
            "bound": np.array(holds, np.bool_),
        }

    def deaths(self) -> Table:
        """Targets that die in the film, in the order of their death; not those that are dead when it begins.

        Columns: target_id, death_frame (the first frame in which it is dead), death_time_s, killer_id (-1 for
        none), cause ("killed" or "spontaneous"), visible (has a pixel in the raw death frame), whole (all of
        it is shown around its death, see `cases.whole_around`), n_candidates (live effectors with a gap of
        at most 2 µm in any frame of the 60 min before the death frame).
        """
        times = self.times_s()
        time_s = self.targets.death_time_s
        dead = np.flatnonzero((time_s > 0) & (time_s <= times[-1]))
        dead = dead[np.argsort(time_s[dead], kind="stable")]
        death_frame = np.searchsorted(times, time_s[dead], side="left")
        killer_id = self.killer_id[dead]
        victims = zip(dead.tolist(), death_frame.tolist(), strict=True)
        return {
            "target_id": self.targets.ids[dead],
            "death_frame": death_frame,
            "death_time_s": time_s[dead],
            "killer_id": killer_id,
            "cause": np.where(killer_id < 0, "spontaneous", "killed"),
            "visible": self.seen["target"].area_px[death_frame, dead] > 0,
            "whole": np.array([whole_around(self, cell, frame) for cell, frame in victims], np.bool_),
            "n_candidates": candidates_of(self)[dead],
        }

    def lineage(self) -> Table:
        """Divisions of targets: child_id, parent_id, frame (the first in which the child is there)."""
        born = np.flatnonzero((self.parent_id > 0) & self.targets.present.any(axis=0))
        return {
            "child_id": self.targets.ids[born],
            "parent_id": self.parent_id[born].astype(np.uint32),
            "frame": np.argmax(self.targets.present[:, born], axis=0),
        }

    def cases(self) -> Table:
        """The hard cases that really happened, a row a target that any frame shows.

        Columns: target_id, and as bool:
        near_miss (a live effector keeps 3 to 6 µm from it, alive, for 10 min or more), dead_at_start,
        spontaneous_death (no killer, no live effector within 2 µm in the hour before), harmless_contact
        (alive and in contact with a live effector that is not its killer, and not dead an hour later),
        several_candidates (killed, with two or more live effectors in contact in the hour before),
        corpse_detaches (dies, then vanishes or drifts off by more than its radius), dye_lost (dies and loses
        the live stain at once), dead_effector (alive, in contact with a dead effector), out_of_focus (debris
        shines over it).
        """
        return happened(self)


def labels(film: Film, frame: int) -> dict[str, Labels]:
    """True label images (Y, X) uint32 of one raw, drifted frame, by population; label = cell id.

    Raises
    ------
    ValueError
        Where the film has no such frame.
    """
    scene = film.scene
    if not 0 <= frame < scene.n_frames:
        raise ValueError(f"no frame {frame}: the film has frames 0 to {scene.n_frames - 1}")
    images: dict[str, Labels] = {}
    for population in POPULATIONS:
        cells = film.cells(population)
        y_px = cells.y_um[frame] / scene.pixel_size_um + film.drift_px[frame, 0]
        x_px = cells.x_um[frame] / scene.pixel_size_um + film.drift_px[frame, 1]
        radius_px = cells.radius_um[frame] / scene.pixel_size_um
        reach = radius_px * (1 + np.abs(cells.shape[frame]).sum(axis=1)) + 1
        meets_y = (y_px > -reach) & (y_px < scene.height_px + reach)
        meets_x = (x_px > -reach) & (x_px < scene.width_px + reach)
        here = np.flatnonzero(cells.present[frame] & meets_y & meets_x)
        where = patches(y_px[here], x_px[here], radius_px[here], cells.shape[frame, here])
        images[population] = paste_labels(where, cells.ids[here], scene.height_px, scene.width_px)
    return images
