"""What a run read, compared with the dataset as it is now."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import tifffile

from dataops_parsl.dataset import ingest, writers
from dataops_parsl.dataset.manifest import Dataset
from dataops_parsl.dataset.record import FILES
from dataops_parsl.validate.checks import overall
from dataops_parsl.validate.inputs import BYTES, RECORDED, check_inputs, locate, recorded_inputs


def _shorter(films: Path, folder: Path, n_frames: int) -> Path:
    shutil.copytree(films, folder)
    for path in folder.rglob("im_*.tif"):
        if int(path.stem.partition("_")[2]) >= n_frames:
            path.unlink()
    return folder


@pytest.fixture
def short(small_films: Path, tmp_path: Path) -> Dataset:
    """The small films without their last four frames."""
    return ingest.add(_shorter(small_films, tmp_path / "films", 8), "short", tmp_path / "data")


@pytest.fixture
def record(short: Dataset) -> dict[str, object]:
    return recorded_inputs(short, {p: range(8) for p in short.positions})


def test_the_same_dataset_is_unchanged(short: Dataset, record) -> None:
    frames, data = check_inputs(record, short.root)
    assert (frames.what, data.what) == (RECORDED, BYTES)
    assert overall([frames, data]) == "accepted"
    assert frames.found == "16 frames of short are as this run read them"
    assert data.found == "16 frames"


def test_frames_appended_since_are_no_fault(small_films: Path, tmp_path: Path, record) -> None:
    longer = ingest.add(small_films, "longer", tmp_path / "data")
    frames, data = check_inputs(record, longer.root)
    assert overall([frames, data]) == "accepted"
    assert "8 more are there now" in frames.found


def test_nothing_was_appended_where_the_run_read_only_some(small_films: Path, tmp_path: Path) -> None:
    """Frames that it excluded, or left out by --frames, were there all along."""
    out = {("coculture", 1): "out of focus"}
    dataset = ingest.add(small_films, "some", tmp_path / "data", exclude=out)
    record = recorded_inputs(dataset, {p: range(4) for p in dataset.positions})
    frames, _ = check_inputs(record, dataset.root)
    assert frames.found == "7 frames of some are as this run read them"


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda root: (root / FILES).unlink(), FILES),
        (lambda root: (root / FILES).write_text("{}"), "is damaged: KeyError"),
        (lambda root: (root / FILES).write_text("{"), FILES),
        (lambda root: (root / "manifest" / "coculture.json").write_text("{}"), "is damaged: KeyError"),
        (lambda root: (root / "manifest.json").write_text('{"format": 1}'), "is damaged: KeyError"),
    ],
    ids=["no files", "empty files", "cut files", "empty position", "empty manifest"],
)
def test_a_damaged_record_of_the_dataset_is_a_failed_check(short: Dataset, record, damage, words) -> None:
    for path in (short.root, short.root / "manifest", *short.root.rglob("*.json")):
        path.chmod(0o755)
    damage(short.root)
    (failed,) = [c for c in check_inputs(record, short.root) if not c.ok]
    assert failed.verdict == "failed"
    assert words in failed.found


def test_another_dataset_of_the_same_name_is_no_damage(
    small_films: Path, short: Dataset, tmp_path: Path
) -> None:
    folder = _shorter(small_films, tmp_path / "others", 8)
    for path in folder.rglob("im_*.tif"):
        tifffile.imwrite(path, tifffile.imread(path) + 1)
    other = ingest.add(folder, "short", tmp_path / "elsewhere")
    record = recorded_inputs(short, {p: range(8) for p in short.positions})
    checks = check_inputs(record, other.root, read_at=str(short.root))
    assert [c.verdict for c in checks] == ["not checked", "not checked"]
    assert f"{other.root} is another dataset" in checks[0].found
    # Where the run itself read them, other frames are a fault.
    (frames, _) = check_inputs(record, other.root, read_at=str(other.root))
    assert frames.verdict == "failed"
    # One frame that is the same makes it the same film.
    one = {**record, "positions": {p: dict(said) for p, said in record["positions"].items()}}
    digests = recorded_inputs(other, {"coculture": [0]})["positions"]["coculture"]["frames"]
    one["positions"]["coculture"]["frames"] = {**one["positions"]["coculture"]["frames"], **digests}
    (frames, _) = check_inputs(one, other.root, read_at=str(short.root))
    assert frames.verdict == "failed"


def test_pages_appended_to_a_file_are_no_fault(tmp_path: Path) -> None:
    """A file that grows is decoded: what was read of it is still there."""
    import numpy as np

    film = np.random.default_rng(0).integers(100, 900, (4, 32, 32)).astype(np.uint16)
    folder = tmp_path / "film"
    folder.mkdir()
    tifffile.imwrite(folder / "P1.tif", film, metadata={"axes": "TYX"}, imagej=True)
    text = 'pixel_size_um = [1, 1]\nframe_interval_s = 60\n[channels]\ngfp = { stain = "GFP" }\n'
    (folder / "dataset.toml").write_text(text)
    dataset = ingest.add(folder, "pages", tmp_path / "data", link=True)
    (position,) = dataset.positions
    record = recorded_inputs(dataset, {position: range(4)})
    assert overall(check_inputs(record, dataset.root)) == "accepted"
    with open(folder / "P1.tif", "ab") as file:
        file.write(b"more")
    assert overall(check_inputs(record, dataset.root)) == "accepted"
    tifffile.imwrite(folder / "P1.tif", film[::-1], metadata={"axes": "TYX"}, imagej=True)
    (_, data) = check_inputs(record, dataset.root)
    assert data.verdict == "failed"
    assert "P1.tif" in data.found


def test_other_frames_under_the_same_name_are_named(small_films: Path, tmp_path: Path, record) -> None:
    folder = tmp_path / "other"
    shutil.copytree(small_films, folder)
    film = sorted(folder.rglob("coculture/gfp/*.tif"))
    shutil.copy(film[7], film[2])
    other = ingest.add(folder, "other", tmp_path / "data")
    (frames, _) = check_inputs(record, other.root)
    assert frames.verdict == "failed"
    assert frames.found == "coculture, frame 2: not what this run read"


def test_a_position_that_is_gone_and_a_frame_excluded_since(
    small_films: Path, tmp_path: Path, record
) -> None:
    folder = tmp_path / "other"
    shutil.copytree(small_films, folder)
    shutil.rmtree(next(folder.rglob("targets_alone")))
    (folder / "plate.csv").write_text("position,well,condition,control,replicate\ncoculture,A1,both,,1\n")
    other = ingest.add(folder, "other", tmp_path / "data", exclude={("coculture", 1): "out of focus"})
    (frames, data) = check_inputs(record, other.root)
    assert frames.found == "position targets_alone is gone"
    assert data.found == "7 frames"


def test_frames_that_the_run_lists_as_failed_are_passed_over(short: Dataset, record) -> None:
    path = sorted(short.root.rglob("coculture/gfp/*.tif"))[5]
    path.chmod(0o644)
    path.write_bytes(b"torn")
    assert check_inputs(record, short.root)[1].verdict == "failed"
    data = check_inputs(record, short.root, {("coculture", 5)})[1]
    assert (data.verdict, data.found) == ("ok", "15 frames; 1 that the run lists as failed are passed over")


def test_any_format_can_be_compared(small_films: Path, tmp_path: Path) -> None:
    from dataops_parsl.dataset.readers import READERS

    assert {"tiff-frames", "ome-zarr"} <= set(READERS)
    dataset = ingest.add(small_films, "small", tmp_path / "data")
    as_zarr = tmp_path / "zarr"
    writers.write(
        "ome-zarr",
        as_zarr,
        dict.fromkeys(dataset.positions, 3),
        dataset.channels,
        lambda position, channel, frame: dataset.position(position).read(channel, frame),
        dataset.pixel_size_um,
        60.0,
    )
    text = (small_films / "dataset.toml").read_text()
    (as_zarr / "dataset.toml").write_text("\n".join(x for x in text.splitlines() if "pattern" not in x))
    shutil.copy(small_films / "plate.csv", as_zarr)
    other = ingest.add(as_zarr, "zarr", tmp_path / "data")
    record = recorded_inputs(other, {p: range(3) for p in other.positions})
    frames, data = check_inputs(record, other.root)
    assert overall([frames, data]) == "accepted", (frames, data)


def test_where_the_dataset_is_looked_for(short: Dataset, tmp_path: Path) -> None:
    facts = {"dataset": {"name": "short", "root": str(short.root)}}
    assert locate(facts, tmp_path / "nowhere", None) == short.root
    moved = {"dataset": {"name": "short", "root": "/nowhere/short"}}
    assert locate(moved, tmp_path / "data", None) == short.root
    assert "no dataset 'short'" in str(locate(moved, tmp_path / "nowhere", None))
    checks = check_inputs({"positions": {}}, "it is gone")
    assert [c.verdict for c in checks] == ["not checked", "not checked"]
