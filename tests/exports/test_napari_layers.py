"""``runs napari``: the layers of a position, and the command that shows them."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import pytest
import zarr

from dataops_parsl.bundle import Bundle, RunTables
from dataops_parsl.cli import main
from dataops_parsl.exports import napari_layers
from tests.exports.conftest import content
from tests.helpers import Project


def _napari(project: Project, *arguments: str) -> int:
    run = project.bundles()[-1].name.removeprefix("run_")
    return main(["runs", "napari", run, *arguments, "--project", str(project.root)])


def _folder(project: Project, position: str = "coculture") -> Path:
    run = project.bundles()[-1].name.removeprefix("run_")
    return project.root / "output" / "exports" / f"{run}_napari" / position


def test_film_labels_and_tracks_are_layers(copied: Project, capsys: pytest.CaptureFixture[str]) -> None:
    run = Bundle(copied.bundles()[-1])
    before = content(run.root)
    assert _napari(copied, "--print") == 0
    folder = _folder(copied)
    assert f"napari {folder / 'view.py'}" in capsys.readouterr().out
    layers = json.loads((folder / "layers.json").read_bytes())
    assert layers["scale"] == [1, 0.65, 0.65]
    assert [layer["name"] for layer in layers["images"]] == ["ctdr", "gfp", "pi"]
    assert [layer["name"] for layer in layers["labels"]] == ["effector labels", "target labels"]
    for layer in (*layers["images"], *layers["labels"]):
        array = zarr.open_array(layer["path"], mode="r")
        assert array.shape == (12, 128, 128)
        assert array[6].any()
    cells = RunTables(run).cells
    for layer in layers["tracks"]:
        population = layer["name"].removesuffix(" tracks")
        own = cells[(cells.position_id == "coculture") & (cells.population == population)]
        with open(folder / layer["file"], newline="") as file:
            rows = list(csv.DictReader(file))
        found = [(int(r["ID"]), int(r["T"]), float(r["Y"]), float(r["X"])) for r in rows]
        wanted = zip(own.track_id, own.frame, own.y_um / 0.65, own.x_um / 0.65, strict=True)
        assert found == sorted((int(t), int(f), y, x) for t, f, y, x in wanted)
    script = (folder / "view.py").read_text()
    compile(script, "view.py", "exec")
    assert "dataops_parsl" not in script.partition('"""\n\n')[2], "napari's environment has not this package"
    assert content(run.root) == before
    assert _napari(copied, "--print", "--position", "coculture") == 0, "a second time"


def test_what_was_purged_is_said(copied: Project, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(copied.root / "data" / "scratch")
    assert _napari(copied, "--print", "--position", "targets_alone") == 0
    said = capsys.readouterr().out
    assert "not on scratch any more" in said
    assert os.path.join("data", "datasets", "small", "targets_alone", "gfp") in said
    assert "--keep-labels computes them again" in said
    assert "targets_alone: tracks effector tracks, tracks target tracks" in said
    assert json.loads((_folder(copied, "targets_alone") / "layers.json").read_bytes())["images"] == []


def test_an_unknown_position_is_named(copied: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert _napari(copied, "--position", "cocultures") == 2
    assert "did you mean 'coculture'" in capsys.readouterr().err


@pytest.mark.parametrize(("code", "expected"), [(0, 0), (1, 3)])
def test_it_runs_where_napari_is_on_the_path(
    copied: Project,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    code: int,
    expected: int,
) -> None:
    program = copied.root / "bin" / "napari"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "opened $1"\nexit {code}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    assert _napari(copied) == expected
    assert f"opened {_folder(copied) / napari_layers.SCRIPT}" in capfd.readouterr().out


def test_without_napari_it_says_how_to_get_it(
    copied: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(copied.root))
    assert _napari(copied) == 0
    assert "pip install 'napari[all]' zarr" in capsys.readouterr().out
