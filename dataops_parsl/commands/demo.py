"""The demo dataset: two simulated positions of known truth, written once; and how a run did against it."""

from __future__ import annotations

import fcntl
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dataops_parsl.commands.text import columns
from dataops_parsl.dataset import ingest, writers
from dataops_parsl.dataset.manifest import Dataset
from dataops_parsl.storage.atomic import place_errors, write_bytes
from dataops_parsl.storage.parts import parquet_bytes
from dataops_parsl.tables import Rows
from dataops_parsl.truth import scores
from dataops_parsl.truth.film import Film
from dataops_parsl.truth.render import render
from dataops_parsl.truth.scene import demo_scenes
from dataops_parsl.truth.simulate import simulate

CHANNELS = ("ctdr", "gfp", "pi")
MATCH_UM = 5.0
DESCRIPTION = """\
# The demo: a simulated killing assay. Its truth lies beside it, in .truth/{name}.
axes = "TCYX"
pixel_size_um = [{size}, {size}]                   # y, x
frame_interval_s = {interval}
{pattern}plate = "plate.csv"

[channels]
ctdr = {{ stain = "CTDR" }}                          # effectors
gfp = {{ stain = "GFP", lost_on_death = true }}      # live targets
pi = {{ stain = "PI", death_marker = true }}         # dead cells

[populations.effector]
segment = ["ctdr"]
mask = "cell"
diameter_um = 10

[populations.target]
segment = ["gfp", "pi"]                            # live and dead
mask = "cell"
diameter_um = 20
"""
PLATE = """\
position,well,condition,control,replicate
coculture,A1,effectors and targets,,1
targets_alone,B1,targets alone,negative,1
"""


def ensure_demo(data_root: Path, name: str = "demo", format: str = "tiff-frames") -> Path:
    """Write the demo dataset and its truth, unless they are there; two runs at once write it once."""
    place = data_root / name
    if (place / "manifest.json").exists():
        return place
    with place_errors(data_root):
        data_root.mkdir(parents=True, exist_ok=True)
        lock = open(data_root / f".{name}.lock", "w")  # noqa: SIM115 - held to the end
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "manifest.json").exists():
            print(f"Writing the dataset {name!r} into {place} (simulated, with known truth)", flush=True)
            _write(data_root, name, format)
    return place


def _write(data_root: Path, name: str, format: str) -> None:
    films = {p: simulate(scene, seed) for p, (scene, seed) in demo_scenes().items()}
    scene = next(iter(films.values())).scene
    cache: dict[tuple[str, int], Any] = {}

    def frame(position: str, channel: str, index: int) -> Any:
        if (position, index) not in cache:
            while len(cache) >= 2 * len(CHANNELS):
                cache.pop(next(iter(cache)))
            cache[position, index] = render(films[position], index)
        return cache[position, index][channel]

    with (
        tempfile.TemporaryDirectory(dir=data_root, prefix=f".{name}.rendering-") as temporary,
        place_errors(data_root),
    ):
        source = Path(temporary) / "films"
        positions = {p: film.scene.n_frames for p, film in films.items()}
        size = scene.pixel_size_um
        writers.write(format, source, positions, CHANNELS, frame, (size, size), scene.frame_interval_s)
        pattern = f'pattern = "{writers.PATTERN}"\n' if format == "tiff-frames" else ""
        text = DESCRIPTION.format(name=name, size=size, interval=scene.frame_interval_s, pattern=pattern)
        (source / "dataset.toml").write_text(text)
        (source / "plate.csv").write_text(PLATE)
        for position, film in films.items():
            _write_truth(truth_folder(data_root, name), position, film)
        ingest.add(source, name, data_root)


def truth_folder(data_root: Path, name: str) -> Path:
    """Where the truth of a simulated dataset lies: beside it, since it is no input."""
    return data_root / ".truth" / name


def _write_truth(folder: Path, position: str, film: Film) -> None:
    for table in ("objects", "contacts", "deaths", "drift"):
        data = parquet_bytes(pa.table(getattr(film, table)()))
        write_bytes(folder / f"{position}.{table}.parquet", data)


def compare(dataset: Dataset, tables: dict[str, pa.Table]) -> str:
    """A short table: what was found against what is true; empty for a dataset without truth.

    Parameters
    ----------
    tables : mapping
        The published tables; those that are not there are not scored.
    """
    folder = truth_folder(dataset.root.parent, dataset.name)
    if not folder.is_dir() or "cells" not in tables or "tracks" not in tables:
        return ""
    rows = [("", "found", "true", "score")]
    for position in dataset.positions:
        truth = {
            t: Rows(pq.read_table(folder / f"{position}.{t}.parquet"))
            for t in ("objects", "contacts", "deaths", "drift")
        }
        found = {
            name: Rows(table).where(np.asarray(table["position_id"].to_pylist()) == position)
            for name, table in tables.items()
            if "position_id" in table.column_names
        }
        rows.append((position, "", "", ""))
        rows += _Comparison(found, truth, dataset.pixel_size_um).rows()
    return columns(rows)


class _Comparison:
    """Found tables of one position against its truth."""

    def __init__(
        self, found: dict[str, Rows], truth: dict[str, Rows], pixel_size_um: tuple[float, float]
    ) -> None:
        self.found, self.size_um = found, pixel_size_um
        self.last_frame = int(found["frames"]["frame"].max())
        self.truth = {name: rows.where(_until(rows, self.last_frame)) for name, rows in truth.items()}
        self.identity: dict[str, dict[int, int]] = {}

    def rows(self) -> list[tuple[str, str, str, str]]:
        """All lines."""
        out = [self._drift()]
        for population in ("effector", "target"):
            out += self._cells(population)
        if len(self.truth["contacts"]) or len(self.found["contact_events"]):
            out.append(self._contacts())
        return [*out, self._deaths()]

    def _drift(self) -> tuple[str, str, str, str]:
        mine, true = self.found["frames"], self.truth["drift"]
        error = scores.shift_error_px(_pairs(mine, "dy_px", "dx_px"), _pairs(true, "dy_px", "dx_px"))
        found_end, true_end = (f"{np.hypot(r['dy_px'][-1], r['dx_px'][-1]):.1f} px" for r in (mine, true))
        return (
            "  drift at the end",
            found_end,
            true_end,
            f"error {error.median_px:.2f} px median, {error.max_px:.2f} largest",
        )

    def _cells(self, population: str) -> list[tuple[str, str, str, str]]:
        cells, true = (self._of(table, population) for table in (self.found["cells"], self.truth["objects"]))
        if not len(cells) and not len(true):
            return []
        self.identity[population] = scores.identities(
            cells["track_id"], true["cell_id"], self._matching(cells, true)
        )
        # A cell that the border cuts has its centre elsewhere than what is seen of it.
        cells, true = (rows.where(~rows["touches_edge"].astype(bool)) for rows in (cells, true))
        matching = self._matching(cells, true)
        f1 = 2 * int((matching >= 0).sum()) / max(len(cells) + len(true), 1)
        found_links = scores.track_edges(cells["frame"], cells["track_id"])
        true_links = scores.track_edges(true["frame"], true["cell_id"])
        links_f1 = scores.edge_f1(found_links, true_links, matching).f1
        return [
            (f"  {population}s, whole in view", str(len(cells)), str(len(true)), f"F1 {f1:.3f}"),
            (f"  links of {population}s", str(len(found_links)), str(len(true_links)), f"F1 {links_f1:.3f}"),
        ]

    @staticmethod
    def _of(rows: Rows, population: str) -> Rows:
        mask = rows["population"] == population
        if "visible" in rows.table.column_names:
            mask &= rows["visible"].astype(bool)
        return rows.where(mask)

    def _matching(self, cells: Rows, true: Rows) -> Any:
        return scores.match_objects(
            cells["frame"],
            _pairs(cells, "y_um", "x_um") / self.size_um,
            true["frame"],
            _pairs(true, "y_px", "x_px"),
            MATCH_UM / self.size_um[0],
        )

    def _contacts(self) -> tuple[str, str, str, str]:
        events = self.found["contact_events"]
        found = np.column_stack(
            [events["track_id_a"], events["track_id_b"], events["start_frame"], events["end_frame"] + 1]
        )
        near = self.truth["contacts"].where(self.truth["contacts"]["gap_um"] <= 2.0)
        true = scores.contact_runs(near["frame"], near["effector_id"], near["target_id"])
        f1 = scores.contact_event_f1(found, true, self.identity).f1
        return ("  contact events", str(len(found)), str(len(true)), f"F1 {f1:.3f}")

    def _deaths(self) -> tuple[str, str, str, str]:
        deaths = self.found["deaths"]
        true = self.truth["deaths"].where(self.truth["deaths"]["visible"].astype(bool))
        ids = [self.identity["target"].get(int(t), -1) for t in deaths["track_id"]]
        score = scores.death_scores(ids, deaths["death_frame"], true["target_id"], true["death_frame"])
        if not len(deaths) and not len(true):
            words = "none, as it should be"
        else:
            words = f"precision {score.precision:.2f}, recall {score.recall:.2f}"
            if np.isfinite(score.median_error_frames):
                words += f", time off by {score.median_error_frames:.0f} frames (median)"
        return ("  deaths", str(len(deaths)), str(len(true)), words)


def _until(rows: Rows, last_frame: int) -> Any:
    return rows["death_frame" if "death_frame" in rows.table.column_names else "frame"] <= last_frame


def _pairs(rows: Rows, y: str, x: str) -> Any:
    return np.column_stack([rows[y], rows[x]]).astype(np.float64).reshape(-1, 2)
