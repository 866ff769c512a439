"""`dataset simulate`: films from a file of scenes, their truth, and a run that is held against it."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataops_parsl.commands import demo
from dataops_parsl.commands.simulate import ensure_simulated
from dataops_parsl.dataset.manifest import Dataset
from dataops_parsl.errors import ConfigError
from dataops_parsl.truth import kit
from tests.helpers import Project

SCENES = """\
title = "Two small films."

[scene]
height_px = 64
width_px = 80
n_frames = 3
n_targets = 2
n_effectors = 3

[[position]]
name = "with"
well = "A1"
condition = "effectors, few"
seed = 4

[[position]]
name = "without"
well = "B1"
condition = "targets alone"
control = "negative"
seed = 5
[position.scene]
n_effectors = 0
"""


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    path = tmp_path / "two.toml"
    path.write_text(SCENES)
    return path


def test_simulated_films_and_their_truth(bare_project: Project, scenes: Path) -> None:
    output = bare_project.run("dataset", "simulate", str(scenes), "--name", "two", "--format", "ome-tiff")
    root = bare_project.root / "data" / "datasets"
    assert "two: 2 positions, 6 frames" in output
    assert f"truth: {kit.truth_folder(root, 'two')}" in output
    dataset = Dataset.open(root / "two")
    assert dataset.positions["without"].plate.control == "negative"
    assert dataset.positions["with"].plate.condition == "effectors, few"
    assert dataset.positions["with"].shape_px == (64, 80)
    folder = kit.truth_folder(root, "two")
    assert (folder / kit.SCENES).read_text() == SCENES
    truth = kit.read_truth(folder, "with")
    assert set(truth) == set(kit.TABLES)
    assert set(truth["objects"]["frame"]) == {0, 1, 2}

    again = bare_project.run("dataset", "simulate", "small", "--name", "two", expect=2)
    assert "there is a dataset 'two' already" in again
    assert "--name" in again


def test_the_truth_found_as_it_is_scores_one(tmp_path: Path, scenes: Path) -> None:
    dataset = Dataset.open(ensure_simulated(tmp_path / "datasets", "two", scenes, "ome-tiff"))
    tables = _as_found(dataset)
    scores = demo.truth_scores(dataset, tables)
    assert scores is not None
    rows = {(r["position_id"], r["score"]): r for r in scores.to_pylist()}
    assert rows["with", "detection_f1_target"]["value"] == 1
    assert rows["without", "detection_f1_effector"]["value"] is None
    text, scores_csv = demo.compare(dataset, tables)
    assert scores_csv == demo.scores_csv(scores)
    assert "shift error max px" in text
    n_targets = {
        r["case"].replace("_", " "): r["value"] for r in scores.to_pylist() if r["score"] == "targets"
    }
    assert n_targets["harmless contact"] > n_targets["near miss"] == 0
    assert {case for case in n_targets if case in text} == {c for c, n in n_targets.items() if n}
    written = list(csv.DictReader(io.StringIO(demo.scores_csv(scores))))
    assert len(written) == scores.num_rows
    assert written[0]["position_id"] == "with"
    assert demo.compare(dataset, {"cells": tables["cells"]}) == ("", ""), "no tracks, no scores"
    (kit.truth_folder(dataset.root.parent, "two") / "with.cases.parquet").unlink()
    assert "cannot be scored" in demo.compare(dataset, tables)[0]


def _as_found(dataset: Dataset) -> dict[str, pa.Table]:
    """Tables of a run that found each cell where it is."""
    cells, frames = [], []
    for name, position in dataset.positions.items():
        truth = pq.read_table(kit.truth_folder(dataset.root.parent, dataset.name) / f"{name}.objects.parquet")
        objects = {c: np.asarray(truth[c].to_pylist()) for c in truth.column_names}
        shown = objects["visible"]
        size_y, size_x = dataset.pixel_size_um
        cells.append(
            pa.table(
                {
                    "position_id": [name] * int(shown.sum()),
                    "population": objects["population"][shown],
                    "frame": objects["frame"][shown],
                    "track_id": objects["cell_id"][shown].astype(np.int64),
                    "y_um": objects["y_px"][shown] * size_y,
                    "x_um": objects["x_px"][shown] * size_x,
                    "touches_edge": objects["touches_edge"][shown],
                    "step_speed_um_min": np.full(int(shown.sum()), np.nan),
                }
            )
        )
        drift = pq.read_table(kit.truth_folder(dataset.root.parent, dataset.name) / f"{name}.drift.parquet")
        n = position.n_frames
        frames.append(
            drift.append_column("position_id", pa.array([name] * n)).append_column(
                "time_s", pa.array(position.times)
            )
        )
    tracks = {"position_id": pa.string(), "population": pa.string(), "track_id": pa.int64()}
    schema = pa.schema({**tracks, "parent_track_id": pa.int64()})
    return {
        "cells": pa.concat_tables(cells),
        "frames": pa.concat_tables(frames),
        "tracks": schema.empty_table(),
    }


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("n_frames = 3", "n_frame = 3", "n_frames"),
        ("[position.scene]\n", "[position.scene]\npixel_size_um = 1.5\n", "pixel_size_um"),
    ],
)
def test_scenes_that_cannot_be_meant(tmp_path: Path, scenes: Path, old: str, new: str, word: str) -> None:
    scenes.write_text(SCENES.replace(old, new))
    with pytest.raises(ConfigError, match=word):
        ensure_simulated(tmp_path / "datasets", "two", scenes, "ome-tiff")
    assert not (tmp_path / "datasets").exists()
