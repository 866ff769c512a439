"""A simulated film: what every cell did, and the truth tables made from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, find_objects
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from dataops_parsl.truth.scene import Scene
from dataops_parsl.truth.shapes import paste_labels, patches

Table = dict[str, NDArray[np.generic]]
Labels = NDArray[np.uint32]

POPULATIONS = ("effector", "target")


@dataclass(frozen=True, eq=False)
class Cells:
    """One population over time; T frames, N cells, K harmonics of the outline.

    Attributes
    ----------
    ids : (N,) uint32
        Cell id, the label in every frame; 0 is never used.
    y_um, x_um : (T, N) float64
        Centre in the world that does not drift, µm from the centre of the first frame's pixel (0, 0).
    radius_um : (T, N) float64
        Mean radius, µm.
    shape : (T, N, K) complex128
        Outline, see `shapes.outline_frac`.
    present : (T, N) bool
        Whether the cell is there at all, inside the field or not.
    death_time_s : (N,) float64
        Time of death, s; inf where it does not die in the film.
    brightness : (N,) float64
        Staining relative to the typical cell.
    texture : (N, G, 4) float64
        Grains of the structure inside: place y, x and size in mean radii, and height.
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
        For each effector, the target to which it is bound; 0 where it is free.
    """

    scene: Scene
    seed: int
    effectors: Cells
    targets: Cells
    drift_px: NDArray[np.float64]
    killer_id: NDArray[np.int64]
    bound_to: NDArray[np.int64]

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
        for frame in range(self.scene.n_frames):
            images = labels(self, frame)
            for population in POPULATIONS:
                cells = self.cells(population)
                here = np.flatnonzero(cells.present[frame])
                area = np.bincount(images[population].ravel(), minlength=int(cells.ids.max(initial=0)) + 1)
                on_edge = np.isin(cells.ids[here], _edge_labels(images[population]))
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
                        "area_px": area[cells.ids[here]],
                        "alive": cells.death_time_s[here] > times[frame],
                        "visible": area[cells.ids[here]] > 0,
                        "touches_edge": on_edge,
                    }
                )
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}

    def contacts(self, max_gap_um: float = 10.0) -> Table:
        """Pairs of effector and target up to `max_gap_um` apart in the true label images of the raw frames.

        Columns: frame, effector_id, target_id, gap_um (smallest distance between pixel centres, 0 if and only
        if a pixel is shared), bound (the effector holds on to the target, whatever the gap).
        """
        found: list[tuple[int, int, int, float, bool]] = []
        for frame in range(self.scene.n_frames):
            images = labels(self, frame)
            bound = dict(zip(self.effectors.ids.tolist(), self.bound_to[frame].tolist(), strict=True))
            for effector, target, gap_px in _gaps_px(
                images["effector"], images["target"], max_gap_um / self.scene.pixel_size_um
            ):
                gap_um = gap_px * self.scene.pixel_size_um
                found.append((frame, effector, target, gap_um, bound[effector] == target))
        frames, effectors, targets, gaps, holds = zip(*found, strict=True) if found else ((), (), (), (), ())
        return {
            "frame": np.array(frames, np.int64),
            "effector_id": np.array(effectors, np.uint32),
            "target_id": np.array(targets, np.uint32),
            "gap_um": np.array(gaps, np.float64),
            "bound": np.array(holds, np.bool_),
        }

    def deaths(self) -> Table:
        """Targets that die in the film, in the order of their death.

        Columns: target_id, death_frame (the first frame in which it is dead), death_time_s, killer_id (-1 for
        none), cause ("killed" or "spontaneous"), visible (has a pixel in the raw death frame).
        """
        times = self.times_s()
        dead = np.flatnonzero(self.targets.death_time_s <= times[-1])
        dead = dead[np.argsort(self.targets.death_time_s[dead], kind="stable")]
        death_time_s = self.targets.death_time_s[dead]
        death_frame = np.searchsorted(times, death_time_s, side="left")
        shown = {frame: labels(self, frame)["target"] for frame in np.unique(death_frame).tolist()}
        victims = zip(self.targets.ids[dead].tolist(), death_frame.tolist(), strict=True)
        killer_id = self.killer_id[dead]
        return {
            "target_id": self.targets.ids[dead],
            "death_frame": death_frame,
            "death_time_s": death_time_s,
            "killer_id": killer_id,
            "cause": np.where(killer_id < 0, "spontaneous", "killed"),
            "visible": np.array([(shown[frame] == cell).any() for cell, frame in victims], np.bool_),
        }


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
        here = np.flatnonzero(cells.present[frame])
        where = patches(
            cells.y_um[frame, here] / scene.pixel_size_um + film.drift_px[frame, 0],
            cells.x_um[frame, here] / scene.pixel_size_um + film.drift_px[frame, 1],
            cells.radius_um[frame, here] / scene.pixel_size_um,
            cells.shape[frame, here],
        )
        images[population] = paste_labels(where, cells.ids[here], scene.height_px, scene.width_px)
    return images


def _edge_labels(image: Labels) -> Labels:
    """Labels on the border of the frame."""
    border = (image[0], image[-1], image[:, 0], image[:, -1])
    found: Labels = np.unique(np.concatenate(border))
    return found


def _outline_pixels(image: Labels) -> dict[int, NDArray[np.float64]]:
    """Pixels (n, 2) y, x of each label that have a 4-neighbour outside of it or lie on the border."""
    pixels: dict[int, NDArray[np.float64]] = {}
    for index, place in enumerate(find_objects(image.astype(np.int64))):
        if place is not None:
            inside = image[place] == index + 1
            edge = inside & ~binary_erosion(inside)
            corner = (place[0].start, place[1].start)
            pixels[index + 1] = np.argwhere(edge).astype(np.float64) + corner
    return pixels


def _gaps_px(effectors: Labels, targets: Labels, max_gap_px: float) -> list[tuple[int, int, float]]:
    """Effector, target and smallest distance of their pixel centres, up to `max_gap_px`, in order."""
    both = (effectors > 0) & (targets > 0)
    shared = set(zip(effectors[both].tolist(), targets[both].tolist(), strict=True))
    first, second = _outline_pixels(effectors), _outline_pixels(targets)
    if not first or not second:
        return []
    place = np.concatenate(list(second.values()))
    owner = np.repeat(list(second), [len(pixels) for pixels in second.values()])
    tree = cKDTree(place)
    found: list[tuple[int, int, float]] = []
    for effector, pixels in first.items():
        near = tree.query_ball_point(pixels, max_gap_px)
        inside = {target for holder, target in shared if holder == effector}
        candidates = {int(owner[index]) for indices in near for index in indices} | inside
        for target in sorted(candidates):
            gap = 0.0 if target in inside else float(cdist(pixels, second[target]).min())
            found.append((effector, target, gap))
    return found
