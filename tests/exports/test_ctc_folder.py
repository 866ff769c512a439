"""``runs export --ctc``: what py-ctcmetrics calls valid, and the same tracks as in the tables."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from dataops_parsl.bundle import Bundle, RunTables
from dataops_parsl.cli import main
from dataops_parsl.errors import RejectedError, UsageError
from dataops_parsl.exports.ctc import export_ctc, number_tracks
from dataops_parsl.exports.films import Members
from dataops_parsl.exports.labels import LabelFilm
from dataops_parsl.storage.parts import PartPlace
from dataops_parsl.storage.pixels import array_path, ensure_array, publish_pixels
from tests.exports.planted import N_FRAMES, OBJECTS, PARENTS, SHAPE, film, labels
from tests.helpers import Project
from tests.real import ctc

# A frame without any cell is none of the challenge's, and is valid.
pytestmark = pytest.mark.filterwarnings("ignore:Empty frame")


def _read(folder: Path) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
    paths = sorted(folder.glob("mask*.tif"))
    assert [p.name for p in paths] == [f"mask{t:03d}.tif" for t in range(len(paths))]
    masks = np.stack([tifffile.imread(p) for p in paths])
    assert masks.dtype == np.uint16
    lines = [
        [int(n) for n in line.split(" ")] for line in (folder / "res_track.txt").read_text().splitlines()
    ]
    return masks, np.array(lines, np.int64).reshape(-1, 4)


def test_masks_and_tracks_are_valid_and_those_of_the_run(
    killing: Bundle, export: Callable[..., Path], sealed_project: Project
) -> None:
    folder = export(killing.id, "--ctc")
    cells = RunTables(killing).cells
    for position in ("coculture", "targets_alone"):
        for population in ("effector", "target"):
            own = cells[(cells.position_id == position) & (cells.population == population)]
            masks, lines = _read(folder / f"{position}_{population}_RES")
            assert masks.shape == (12, 128, 128)
            if not len(own):
                assert not masks.any()
                assert not len(lines)
                continue
            # Compared with itself it is without fault, and what does not hold together is refused.
            assert ctc.tracking_scores(masks, lines, masks, lines) == {"TRA": 1.0, "DET": 1.0}
            before_gaps = set(own.track_id)
            for frame in range(12):
                here = own[own.frame == frame]
                area = np.bincount(masks[frame].ravel())
                found = {n for n in np.flatnonzero(area).tolist() if n}
                assert len(found) == len(here)
                assert found & before_gaps <= set(here.track_id)
                for cell in here.itertuples():
                    if cell.track_id in found:
                        assert area[cell.track_id] * 0.65**2 == pytest.approx(cell.area_um2)


def _stored(folder: Path, images: NDArray[np.uint32]) -> LabelFilm:
    place = PartPlace(folder, "P1.00000", "a" * 32)
    path = array_path(folder, "P1", "labels", "")
    ensure_array(path, len(images), images.shape[1:], "uint32", len(images), (0.5, 0.5))
    frames = dict(enumerate(images))
    entry = publish_pixels(place, "P1", "labels", 0, 0, {"": frames}, len(images))
    return LabelFilm("P1", "cell", {f: d[:16] for f, d in entry["frames"][""].items()}, path, "", [])


def test_gaps_and_divisions(tmp_path: Path) -> None:
    bundle, tables = film(tmp_path)
    export_ctc(tmp_path / "out", bundle, tables, [_stored(tmp_path / "scratch", labels())], [])
    masks, lines = _read(tmp_path / "out" / "P1_cell_RES")
    # Track 1 goes on after its gap as 5; its daughters are born of that part.
    assert lines.tolist() == [[1, 0, 1, 0], [2, 0, 0, 0], [3, 4, 5, 5], [4, 4, 6, 5], [5, 3, 3, 1]]
    wanted = np.zeros((N_FRAMES, *SHAPE), np.uint16)
    for frame, label, track in OBJECTS:
        wanted[frame, :, 3 * label] = 5 if (frame, track) == (3, 1) else track
    assert np.array_equal(masks, wanted)
    assert ctc.tracking_scores(masks, lines, masks, lines) == {"TRA": 1.0, "DET": 1.0}
    assert "1 such parts" in (tmp_path / "out" / "README.txt").read_text()
    known, truth = ctc.as_ctc(labels(), OBJECTS, {t: p for t, p in PARENTS.items() if p})
    assert ctc.tracking_scores(masks, lines, known, truth) == {"TRA": 1.0, "DET": 1.0}


def test_a_track_that_the_images_do_not_show_is_an_error(tmp_path: Path) -> None:
    bundle, tables = film(tmp_path)
    images = labels()
    images[5][images[5] == 2] = 0
    with pytest.raises(RejectedError, match="frame 5: 1 tracked objects"):
        export_ctc(tmp_path / "out", bundle, tables, [_stored(tmp_path / "scratch", images)], [])
    assert not (tmp_path / "out").exists()


def test_labels_that_are_far_apart(tmp_path: Path) -> None:
    bundle, tables = film(tmp_path)
    apart = {1: 4_000_000_000, 2: 77}
    for name in ("members", "cells"):
        at = tables[name].column_names.index("label")
        values = [apart[v] for v in tables[name]["label"].to_pylist()]
        tables[name] = tables[name].set_column(at, "label", [values])
    images = labels()
    images = np.select([images == 1, images == 2], [apart[1], apart[2]]).astype(np.uint32)
    export_ctc(tmp_path / "out", bundle, tables, [_stored(tmp_path / "scratch", images)], [])
    masks, lines = _read(tmp_path / "out" / "P1_cell_RES")
    assert ctc.tracking_scores(masks, lines, masks, lines) == {"TRA": 1.0, "DET": 1.0}
    assert masks[3, 0, 3] == 5


def test_more_tracks_than_16_bit_are_refused(tmp_path: Path) -> None:
    many = 65_536
    own = Members(np.zeros(many, np.int64), np.arange(1, many + 1), np.arange(1, many + 1))
    number, lines = number_tracks(own, {})
    assert number.tolist() == own.track_id.tolist()
    assert len(lines) == many
    bundle, tables = film(tmp_path)
    tables["members"] = tables["members"].slice(0, 0)
    rows = {"position_id": ["P1"] * many, "population": ["cell"] * many}
    numbers = {"frame": own.frame, "label": own.label, "track_id": own.track_id}
    tables["members"] = tables["members"].schema.empty_table().from_pydict({**rows, **numbers})
    films = [_stored(tmp_path / "scratch", labels())]
    with pytest.raises(UsageError, match="has 65536 tracks"):
        export_ctc(tmp_path / "out", bundle, tables, films, [])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("what", ["purged", "changed"])
@pytest.mark.parametrize("flag", ["--ctc", "--labels"])
def test_label_images_that_are_gone_are_named_with_the_command_that_makes_them(
    copied: Project, capsys: pytest.CaptureFixture[str], flag: str, what: str
) -> None:
    arrays = list((copied.root / "data" / "scratch" / "small" / "cellpose").glob("*/*.labels.zarr"))
    for path in arrays:
        if what == "purged":
            shutil.rmtree(path)
        else:
            shutil.copy(path / "c.0.0.0", path / "c.1.0.0")
    run = copied.bundles()[-1].name.removeprefix("run_")
    target = copied.root / "out"
    assert main(["runs", "export", run, flag, "--to", str(target), "--project", str(copied.root)]) == 3
    said = capsys.readouterr().err
    assert "coculture" in said
    assert "--keep-labels" in said
    assert not target.exists()
    assert not list(copied.root.glob(".out.*"))
