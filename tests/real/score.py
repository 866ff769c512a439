"""Real microscopy with ground truth through the command line, and how it scored: ``make real``."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import tifffile
import zarr
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from dataops_parsl import open_run
from dataops_parsl.algorithms.shift import Shift, apply
from dataops_parsl.commands.text import columns
from dataops_parsl.truth import scores
from tests.helpers import PROJECT, Project
from tests.real import ctc, sources

POPULATION = "cell"
Lines = dict[str, str]
WORKERS = min(os.cpu_count() or 1, 8)


class Run(NamedTuple):
    """A finished run."""

    project: Project
    dataset: str
    bundle: Path
    wall_s: float

    def table(self, name: str) -> pd.DataFrame:
        """A published table."""
        frame: pd.DataFrame = getattr(open_run(self.bundle), name)
        return frame

    def labels(self, population: str, position: str) -> NDArray[np.uint32]:
        """Label images (T, Y, X) of exactly this run, in the registered frame."""
        keys = json.loads((self.bundle / "run.json").read_text())["keys"]
        stage = self.project.root / "data" / "scratch" / self.dataset / "cellpose"
        folder = stage / f"segment.{population}-{keys[f'cellpose.segment[{population}]']}"
        film: NDArray[np.uint32] = zarr.open_array(str(folder / f"{position}.labels.zarr"), mode="r")[:]
        return film


@dataclass(frozen=True)
class Graph:
    """Cells of a film and their links.

    Attributes
    ----------
    frame, yx : (n,) int and (n, 2) float
        Place of each cell, px of the acquired frame.
    edges, divisions : (k, 2) int
        Rows of cells, earlier and later; those from a mother to a daughter again in `divisions`.
    """

    frame: NDArray[np.int64]
    yx: NDArray[np.float64]
    edges: NDArray[np.int64]
    divisions: NDArray[np.int64]

    @classmethod
    def of(cls, frame: ArrayLike, yx: ArrayLike, label: ArrayLike, parents: dict[int, int]) -> Graph:
        """True links: of a label to the next frame, and of a mother to the frame after her last."""
        frames, labels = np.asarray(frame, np.int64), np.asarray(label, np.int64)
        row = {key: i for i, key in enumerate(zip(labels.tolist(), frames.tolist(), strict=True))}
        edges = [(row[one, t - 1], i) for (one, t), i in row.items() if (one, t - 1) in row]
        born = {int(one): int(frames[labels == one].min()) for one in np.unique(labels)}
        divisions = [
            (row[parents[one], t - 1], row[one, t])
            for one, t in born.items()
            if one in parents and (parents[one], t - 1) in row
        ]
        pairs = np.array(sorted(edges + divisions), np.int64).reshape(-1, 2)
        return cls(frames, np.asarray(yx, np.float64), pairs, np.array(divisions, np.int64).reshape(-1, 2))


def moved_back(labels: NDArray[Any], drift: Sequence[tuple[float, float]]) -> NDArray[Any]:
    """Registered label images (T, Y, X) as they lie on the acquired frames, by nearest neighbour.

    Parameters
    ----------
    drift : sequence of (dy, dx)
        Of each frame, px; no rotation.
    """
    return np.stack(
        [apply(image, Shift(-dy, -dx), order=0) for image, (dy, dx) in zip(labels, drift, strict=True)]
    )


def main() -> int:
    """Run and score what is there; 0 also where there is no data to run."""
    place = os.environ.get("DATAOPS_PARSL_TEST_DATA", "")
    if not place or not Path(place).is_dir():
        print("make real: skipped, DATAOPS_PARSL_TEST_DATA names no folder of real films with known truth")
        return 0
    data = Path(place).resolve()
    parts: dict[str, Callable[[Project, Path], list[Lines]]] = {
        sources.SIM.folder: lambda project, data: _ctc(project, data, sources.SIM, _score_sim),
        sources.HELA.folder: lambda project, data: _ctc(project, data, sources.HELA, _score_hela),
        sources.STILLS: _stills,
    }
    table: list[tuple[str, ...]] = []
    with tempfile.TemporaryDirectory(prefix="dataops-real-") as folder:
        project = Project(Path(folder))
        for name in ("configs", "apps"):
            shutil.copytree(PROJECT / name, project.root / name, ignore=shutil.ignore_patterns("*.user.toml"))
        for name, part in parts.items():
            if not (data / name).is_dir():
                table.append((name, f"skipped: {data} has no such folder"))
                continue
            found = part(project, data)
            table.append((name, *(lines.pop("") for lines in found)))
            table += [(f"  {line}", *(lines[line] for lines in found)) for line in found[0]]
    width = max(map(len, table))
    print(f"\nFound against truth, {WORKERS} workers:\n")
    print(columns([row + ("",) * (width - len(row)) for row in table]))
    return 0


def _command(project: Project, *arguments: str) -> None:
    """One command, as a user would type it; its own words are shown, and its failure ends all."""
    print(f"$ python -m dataops_parsl {' '.join(arguments)}", flush=True)
    code = subprocess.run(project.command(*arguments), cwd=project.root, check=False).returncode
    if code:
        sys.exit(f"make real: that command ended with exit code {code}")


def _run(project: Project, workflow: str, dataset: str, settings: dict[str, str]) -> Run:
    started = time.monotonic()
    flags = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    _command(project, "run", workflow, "--dataset", dataset, "--workers", str(WORKERS), *flags)
    return Run(project, dataset, project.bundles(workflow)[-1], time.monotonic() - started)


def _ctc(
    project: Project,
    data: Path,
    film: sources.CtcFilm,
    score: Callable[[Run, Path, sources.CtcFilm, NDArray[Any]], Lines],
) -> list[Lines]:
    """A film twice: with its drift sought and undone, and as acquired."""
    source = project.root / "sources" / film.folder
    film.write(data, source)
    _command(project, "dataset", "add", str(source), "--name", film.folder)
    found = []
    for words, settings in (
        ("registered", {}),
        ("as acquired", {"stages.register_denoise.register_frames": "false"}),
    ):
        run = _run(project, "tracks", film.folder, {**film.settings, **settings})
        frames = run.table("frames").sort_values("frame")
        drift = frames[["dy_px", "dx_px"]].to_numpy(float)
        labels = moved_back(run.labels(POPULATION, "img"), [(y, x) for y, x in drift])
        lines = {
            "": words,
            "run": f"{len(frames)} frames in {run.wall_s:.0f} s",
            "largest drift found": f"{np.hypot(*drift.T).max():.1f} px",
        }
        found.append(lines | score(run, data / film.folder, film, labels))
    return found


def _score_sim(run: Run, folder: Path, film: sources.CtcFilm, labels: NDArray[Any]) -> Lines:
    true = tifffile.imread(folder / "TRA.tif")
    lbep = np.loadtxt(folder / "man_track.txt", np.int64)
    frame, label, yx = [], [], []
    for t, image in enumerate(true):
        ids = np.unique(image[image > 0])
        frame += [t] * len(ids)
        label += ids.tolist()
        yx += ndimage.center_of_mass(image > 0, image, ids)
    truth = Graph.of(frame, np.array(yx), label, {int(one): int(p) for one, _, _, p in lbep if p})
    members = run.table("members")[["frame", "label", "track_id"]].to_numpy(int).tolist()
    tracks = run.table("tracks").dropna(subset=["parent_track_id"])
    parents = {int(a): int(b) for a, b in zip(tracks["track_id"], tracks["parent_track_id"], strict=True)}
    found = ctc.tracking_scores(*ctc.as_ctc(labels, [(f, n, t) for f, n, t in members], parents), true, lbep)
    return _links(run, truth, film.match_px) | {
        "TRA": f"{found['TRA']:.3f}",
        "DET": f"{found['DET']:.3f}",
        "SEG": f"{ctc.seg_score(labels, true):.3f}",
        "AP@0.5": f"{scores.mask_average_precision(labels, true):.3f}",
    }


def _score_hela(run: Run, folder: Path, film: sources.CtcFilm, labels: NDArray[Any]) -> Lines:
    with open(folder / "gt_points.csv", newline="") as file:
        points = list(csv.DictReader(file))
    born = {int(one): int(b) for one, b, _, _ in np.loadtxt(folder / "man_track_fullfield.txt", np.int64)}
    first: dict[int, int] = {}
    for p in points:
        first[int(p["label"])] = min(int(p["t"]), first.get(int(p["label"]), sys.maxsize))
    # One that comes into the crop after its birth has no mother there.
    parents = {
        int(p["label"]): int(p["parent"])
        for p in points
        if int(p["parent"]) and first[int(p["label"])] == born[int(p["label"])]
    }
    truth = Graph.of(
        [int(p["t"]) for p in points],
        [(float(p["y"]), float(p["x"])) for p in points],
        [int(p["label"]) for p in points],
        parents,
    )
    lines = _links(run, truth, film.match_px)
    for words, name in (("silver", "ST_SEG"), ("gold", "GT_SEG")):
        (masks,) = folder.glob(f"{name}_*frames.tif")
        annotated = np.loadtxt(folder / f"{name}_frames.txt", np.int64)
        found, true = labels[annotated], tifffile.imread(masks)
        lines[f"SEG, {words} masks"] = f"{ctc.seg_score(found, true):.3f} on {len(annotated)} frames"
        if words == "silver":  # not every cell has a gold mask
            lines["AP@0.5, silver masks"] = f"{scores.mask_average_precision(found, true):.3f}"
    return lines


def _links(run: Run, truth: Graph, match_px: float) -> Lines:
    """Detection, links and divisions, from segmentation to tracks."""
    cells = run.table("cells")
    edges = run.table("edges")
    yx = cells[["y_px_raw", "x_px_raw"]].to_numpy(float)
    row = {key: i for i, key in enumerate(zip(cells["frame"], cells["label"], strict=True))}
    ends = [
        [row[key] for key in zip(edges[f"{end}_frame"], edges[f"{end}_label"], strict=True)]
        for end in ("source", "target")
    ]
    pairs = np.array(ends, np.int64).reshape(2, -1).T
    matching = scores.match_objects(cells["frame"], yx, truth.frame, truth.yx, match_px)
    seen = scores.detection(cells["frame"], yx, truth.frame, truth.yx, match_px)
    links = scores.edge_f1(pairs, truth.edges, matching)
    claimed = {tuple(edge) for edge in matching[pairs].tolist()}
    right = len(claimed & {tuple(edge) for edge in truth.divisions.tolist()})
    splits = int((edges["kind"] == "split").sum())
    return {
        "cells": f"{_agreement(seen)}; {len(cells)} of {len(truth.frame)}",
        "links": f"{_agreement(links)}; {len(pairs)} of {len(truth.edges)}",
        "links to daughters": f"{right} of {len(truth.divisions)}; {splits} splits made",
    }


def _agreement(score: scores.Agreement) -> str:
    return f"F1 {score.f1:.3f} (P {score.precision:.3f}, R {score.recall:.3f})"


def _stills(project: Project, data: Path) -> list[Lines]:
    """The stills twice: what is bright in the effectors' stain kept from the targets, and not."""
    source = project.root / "sources" / sources.STILLS
    sources.write_stills(data, source)
    _command(project, "dataset", "add", str(source), "--name", sources.STILLS)
    names = sources.stills(data)
    both = [name for name in names if (data / sources.STILLS / f"{name}_effectors.tif").exists()]
    found = []
    for words, settings in (("effectors excluded", {}), ("not", {"populations.target.exclude": "[]"})):
        run = _run(project, "stills", sources.STILLS, settings)
        found.append(
            {
                "": words,
                "run": f"{len(names)} frames in {run.wall_s:.0f} s",
                "targets, AP@0.5": _average_precision(run, data, "target", names),
                "  where effectors are drawn too": _average_precision(run, data, "target", both),
                "effectors, AP@0.5": _average_precision(run, data, "effector", both),
            }
        )
    return found


def _average_precision(run: Run, data: Path, population: str, names: list[str]) -> str:
    """AP over all objects of all stills, and its range."""
    true = [tifffile.imread(data / sources.STILLS / f"{name}_{population}s.tif") for name in names]
    found = [run.labels(population, name)[0] for name in names]
    each = [scores.mask_average_precision(f, t) for f, t in zip(found, true, strict=True)]
    n_found, n_true = (sum(len(np.unique(m)) - 1 for m in masks) for masks in (found, true))
    together = scores.mask_average_precision(np.stack(found), np.stack(true))
    span = f"{min(each):.2f} to {max(each):.2f} in {len(each)} frames"
    return f"{together:.3f} ({span}); {n_found} of {n_true}"


if __name__ == "__main__":
    sys.exit(main())
