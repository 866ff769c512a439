"""SEG, DET and TRA of the Cell Tracking Challenge (Matula et al 2015, PLoS ONE; Maška et al 2014,
Bioinformatics), computed by py-ctcmetrics on folders in the challenge's layout."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from ctc_metrics.metrics import seg
from ctc_metrics.scripts.evaluate import evaluate_sequence, match_computed_to_reference_masks
from numpy.typing import NDArray

Labels = NDArray[Any]
Lbep = NDArray[np.int64]


def tracking_scores(found: Labels, found_lbep: Lbep, true: Labels, true_lbep: Lbep) -> dict[str, float]:
    """TRA and DET of a film whose every object and frame is annotated.

    Parameters
    ----------
    found, true : (T, Y, X) int
        Label images, the label being the track's.
    found_lbep, true_lbep : (n, 4) int
        Tracks: label, first frame, last frame, parent's label or 0. In every frame from the first to the
        last the track has an object.

    Raises
    ------
    ValueError
        The challenge would refuse the result: tracks and label images do not fit together.
    """
    with tempfile.TemporaryDirectory(prefix="ctc-") as folder, contextlib.redirect_stdout(io.StringIO()):
        res, gt = Path(folder, "01_RES"), Path(folder, "01_GT")
        _write_masks(res, "mask", list(found))
        _write_masks(gt / "TRA", "man_track", list(true))
        np.savetxt(res / "res_track.txt", found_lbep, "%d")
        np.savetxt(gt / "TRA" / "man_track.txt", true_lbep, "%d")
        scores = evaluate_sequence(str(res), str(gt), ["Valid", "TRA", "DET"], threads=1)
    if not scores["Valid"]:
        raise ValueError("tracks and label images do not fit together")
    return {name: float(scores[name]) for name in ("TRA", "DET")}


def seg_score(found: Labels, true: Labels) -> float:
    """SEG of some frames, of which perhaps not every object is annotated.

    Parameters
    ----------
    found, true : (T, Y, X) int
        Label images of the annotated frames.
    """
    # Pixels without any object do not enter, and are most: one is kept, since the library looks for it.
    frames = [(f[(f > 0) | (t > 0)], t[(f > 0) | (t > 0)]) for f, t in zip(found, true, strict=True)]
    with tempfile.TemporaryDirectory(prefix="ctc-") as folder:
        results = _write_masks(Path(folder, "res"), "t", [np.append(f, 0)[None] for f, _ in frames])
        truths = _write_masks(Path(folder, "gt"), "t", [np.append(t, 0)[None] for _, t in frames])
        matched = match_computed_to_reference_masks(truths, results, threads=1)
    return float(seg(matched["labels_ref"], matched["ious"]))


def _write_masks(folder: Path, stem: str, frames: Sequence[Labels]) -> list[str]:
    highest = max((int(image.max(initial=0)) for image in frames), default=0)
    if highest > np.iinfo(np.uint16).max:
        raise ValueError(f"the challenge's masks are 16 bit; there is a label {highest}")
    folder.mkdir(parents=True)
    paths = [str(folder / f"{stem}{t:04d}.tif") for t in range(len(frames))]
    for path, image in zip(paths, frames, strict=True):
        tifffile.imwrite(path, image.astype(np.uint16))
    return paths


def as_ctc(
    labels: Labels,
    members: Sequence[tuple[int, int, int]],
    parents: dict[int, int],
) -> tuple[Labels, Lbep]:
    """Label images by track, and the list of tracks, from objects and their tracks.

    The challenge's tracks have no gaps: a track goes on after one as a track of its own, whose parent it is.

    Parameters
    ----------
    labels : (T, Y, X) int
        Label images, numbered in each frame.
    members : sequence of (frame, label, track)
        Each object's track.
    parents : dict
        Parent of each track that has one.
    """
    names = np.zeros((len(labels), int(labels.max(initial=0)) + 1), np.int64)
    rows: list[list[int]] = []
    last: dict[int, list[int]] = {}
    for track, frame, label in sorted((track, frame, label) for frame, label, track in members):
        if track not in last or frame > last[track][2] + 1:
            before = last.get(track)
            # A parent may have a higher number: its last part is filled in below.
            rows.append([len(rows) + 1, frame, frame, before[0] if before else -track])
            last[track] = rows[-1]
        last[track][2] = frame
        names[frame, label] = last[track][0]
    for row in rows:
        if row[3] < 0:
            parent = parents.get(-row[3])
            row[3] = last[parent][0] if parent is not None else 0
    moved = np.stack([name[image] for name, image in zip(names, labels, strict=True)])
    return moved, np.array(rows, np.int64).reshape(-1, 4)
