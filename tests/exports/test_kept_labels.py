"""Label images as OME-Zarr: exported, and kept in a run that is asked to."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from dataops_parsl.bundle import Bundle
from dataops_parsl.cli import main
from dataops_parsl.exports import ome_zarr
from dataops_parsl.exports.keeping import keep_labels
from dataops_parsl.exports.labels import label_films
from tests.exports.conftest import content
from tests.helpers import Project, same_tables
from tests.in_process import planned

FILMS = [(p, q) for p in ("coculture", "targets_alone") for q in ("effector", "target")]


def _scratch(project: Project, run: Bundle) -> dict[tuple[str, str], NDArray[Any]]:
    """The label images as they lie on scratch."""
    images = json.loads((run.root / "record" / "labels.json").read_bytes())["images"]
    scratch = project.root / "data" / "scratch"
    return {
        (i["position"], i["population"]): zarr.open_array(
            str(scratch / i["folder"] / f"{i['position']}.labels.zarr"), mode="r"
        )[:]
        for i in images
    }


def test_exported_images_are_those_of_scratch(
    killing: Bundle, export: Callable[..., Path], sealed_project: Project
) -> None:
    folder = export(killing.id, "--labels")
    wanted = _scratch(sealed_project, killing)
    assert sorted(wanted) == FILMS
    for position, population in FILMS:
        array = zarr.open_array(str(folder / f"{position}.zarr" / population / "0"), mode="r")
        assert array.dtype == np.uint32
        assert np.array_equal(array[:], wanted[position, population])
    assert len([p for p in folder.rglob("*") if p.is_file()]) == 1 + 2 + 4 * 3, "few files"


def test_the_metadata_are_those_of_ome_zarr(killing: Bundle, export: Callable[..., Path]) -> None:
    folder = export(killing.id, "--labels")
    position = json.loads((folder / "coculture.zarr" / "zarr.json").read_bytes())
    assert (position["zarr_format"], position["node_type"]) == (3, "group")
    assert position["attributes"]["ome"] == {"version": "0.5", "labels": ["effector", "target"]}
    said = json.loads((folder / "coculture.zarr" / "target" / "zarr.json").read_bytes())["attributes"]
    assert said["ome"]["version"] == "0.5"
    assert "image-label" in said["ome"]
    (multiscale,) = said["ome"]["multiscales"]
    axes = [(a["name"], a["type"], a["unit"]) for a in multiscale["axes"]]
    assert axes == [("t", "time", "second"), ("y", "space", "micrometer"), ("x", "space", "micrometer")]
    (dataset,) = multiscale["datasets"]
    assert dataset["path"] == "0"
    assert dataset["coordinateTransformations"] == [{"type": "scale", "scale": [120.0, 0.65, 0.65]}]
    assert said["dataops_parsl"]["run"] == killing.id
    assert said["dataops_parsl"]["time_s"] == [120.0 * t for t in range(12)]
    assert said["dataops_parsl"]["missing_frames"] == []


def test_frames_that_failed_are_empty_and_listed(
    sealed_project: Project, export: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = export(str(sealed_project.bundles("stills")[-1]), "--labels") / "coculture.zarr" / "target"
    said = json.loads((folder / "zarr.json").read_bytes())["attributes"]["dataops_parsl"]
    assert said["missing_frames"] == [2]
    array = zarr.open_array(str(folder / "0"), mode="r")
    assert array.shape == (4, 128, 128)
    assert [bool(array[t].any()) for t in range(4)] == [True, True, False, True]
    assert "failed frames are missing" in capsys.readouterr().out
    assert "failed frames" in (folder.parent.parent / "README.txt").read_text()


def test_large_films_are_written_shard_by_shard(
    monkeypatch: pytest.MonkeyPatch, killing: Bundle, export: Callable[..., Path], sealed_project: Project
) -> None:
    monkeypatch.setattr(ome_zarr, "_SHARD_BYTES", 5 * 4 * 128 * 128)
    folder = export(killing.id, "--labels")
    path = folder / "coculture.zarr" / "target" / "0"
    assert {p.name for p in path.iterdir()} == {"zarr.json", "c.0.0.0", "c.1.0.0", "c.2.0.0"}
    found = zarr.open_array(str(path), mode="r")[:]
    assert np.array_equal(found, _scratch(sealed_project, killing)["coculture", "target"])


def test_a_run_keeps_them_when_asked_to(copied: Project, capsys: pytest.CaptureFixture[str]) -> None:
    first = Bundle(copied.bundles()[-1])
    before, wanted = content(first.root), _scratch(copied, first)
    project = ("--project", str(copied.root))
    assert main(["run", "--workers", "2", *project]) == 0
    assert f"complete in {first.root}" in capsys.readouterr().out
    assert main(["run", "--workers", "2", "--keep-labels", *project]) == 0
    (new,) = [Bundle(p) for p in copied.bundles() if p != first.root]
    assert new.sealed
    assert new.facts["keeps_labels"] is True
    assert new.facts["recipe"] == first.facts["recipe"], "it is part of no result"
    assert same_tables(copied.tables(first.root), copied.tables(new.root))
    sealed = json.loads((new.root / "provenance_manifest.json").read_bytes())["files"]
    assert "labels/coculture.zarr/target/0/c.0.0.0" in sealed
    capsys.readouterr()
    for flags in ((), ("--keep-labels",)):
        assert main(["run", "--workers", "2", *flags, *project]) == 0
        assert f"complete in {new.root}" in capsys.readouterr().out
    assert content(first.root) == before

    shutil.rmtree(copied.root / "data" / "scratch")
    assert main(["validate", new.id, *project]) == 0
    assert main(["runs", "export", new.id, "--labels", "--to", str(copied.root / "out"), *project]) == 0
    for position, population in FILMS:
        array = zarr.open_array(str(copied.root / "out" / f"{position}.zarr" / population / "0"), mode="r")
        assert np.array_equal(array[:], wanted[position, population])
    assert main(["runs", "export", new.id, "--ctc", "--to", str(copied.root / "ctc"), *project]) == 0


def test_what_a_killed_start_left_is_replaced(copied: Project) -> None:
    root = copied.root
    plan = planned(root, "--dataset", "small")
    bundle = Bundle(root / "output" / "cytotoxicity" / "run_20270101T000000Z-aaaa")
    for name in ("labels", ".labels.tmp"):
        (bundle.root / name / "P9.zarr").mkdir(parents=True)
        (bundle.root / name / "P9.zarr" / "half").write_bytes(b"half")
    keep_labels(bundle, plan)
    assert {p.name for p in bundle.root.iterdir()} == {"labels"}
    assert {p.name for p in (bundle.root / "labels").iterdir()} == {"coculture.zarr", "targets_alone.zarr"}


def test_an_image_that_was_damaged_on_scratch_is_planned_again(copied: Project) -> None:
    run = Bundle(copied.bundles()[-1])
    (film,) = [
        f
        for f in label_films(run, copied.root / "data" / "scratch")
        if (f.position, f.population) == ("coculture", "target")
    ]
    shard = film.path / "c.2.0.0"
    data = bytearray(shard.read_bytes())
    data[40] ^= 255
    shard.write_bytes(data)
    n_receipts = len(list((film.path.parent / "receipts").iterdir()))
    project = ("--project", str(copied.root))
    assert main(["run", "--workers", "2", "--keep-labels", *project]) == 4
    assert len(list((film.path.parent / "receipts").iterdir())) == n_receipts - 1
    (opened,) = [Bundle(p) for p in copied.bundles() if not Bundle(p).sealed]
    assert not (opened.root / "labels").exists()


def test_a_workflow_without_label_images_is_refused(
    copied: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--until", "register_denoise", "--keep-labels", "--project", str(copied.root)]
    assert main(["run", *flags]) == 2
    assert "makes no label images" in capsys.readouterr().err


def test_only_the_tables_that_are_needed_are_read(
    copied: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Bundle(copied.bundles()[-1])
    for path in (run.root / "tables").iterdir():
        if path.stem not in ("cells", "tracks", "frames"):
            path.write_bytes(b"no table")
    own = ["--project", str(copied.root)]
    for flag in ("--labels", "--ctc"):
        assert main(["runs", "export", run.id, flag, *own]) == 0
    assert main(["runs", "napari", run.id, "--print", *own]) == 0
    assert "tracks target tracks" in capsys.readouterr().out
    assert main(["runs", "export", run.id, "--csv", *own]) == 2
    assert f"a table of run {run.id} cannot be read" in capsys.readouterr().err
    made = [p.name for p in (copied.root / "output" / "exports").iterdir()]
    assert sorted(made) == [f"{run.id}_ctc", f"{run.id}_labels", f"{run.id}_napari"]
