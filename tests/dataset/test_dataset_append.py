"""Frames that were acquired since are taken in, and what was there before stays as it is."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import tifffile

from dataops_parsl.dataset import staging
from dataops_parsl.dataset.append import append
from dataops_parsl.dataset.ingest import add
from dataops_parsl.dataset.leftovers import STAGED, leftovers
from dataops_parsl.dataset.manifest import Dataset
from dataops_parsl.dataset.staging import remove_tree
from dataops_parsl.dataset.verify import verify
from dataops_parsl.dataset.writers import Format, write
from dataops_parsl.errors import DatasetError, PlaceError
from dataops_parsl.storage.atomic import sync_folder
from tests.dataset.films import describe, frame
from tests.faults.scenario import digests
from tests.faults.snapshots import writable

FORMATS = get_args(Format)


def _source(folder: Path, format: str, n_frames: dict[str, int], said: str = "") -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    write(format, folder, n_frames, ["gfp", "pi"], frame, (0.65, 0.5), 60.0)
    (folder / "dataset.toml").write_text(said or describe())
    return folder


def _is_as_planted(dataset: Dataset) -> None:
    for name, film in dataset.positions.items():
        for channel in dataset.channels:
            for t in range(film.n_frames):
                if t not in film.excluded:
                    np.testing.assert_array_equal(film.read(channel, t), frame(name, channel, t))


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("link", [False, True])
def test_a_grown_folder_gives_what_it_would_have_given_whole(tmp_path: Path, format: str, link: bool) -> None:
    source = _source(tmp_path / "s", format, {"P1": 9, "P2": 4})
    before = add(source, "d", tmp_path / "data", link=link)
    old = before.position("P1")
    sample = old.sample_frames
    _source(source, format, {"P1": 12, "P2": 4, "P3": 3})
    made = append(source, "d", tmp_path / "data")
    assert (made.frames, made.new) == ({"P1": 3, "P3": 3}, ("P3",))
    whole = add(source, "whole", tmp_path / "data")
    assert made.dataset.fingerprint == whole.fingerprint
    assert made.dataset.position("P1").sample_frames == sample
    assert {n: p.n_frames for n, p in made.dataset.positions.items()} == {"P1": 12, "P2": 4, "P3": 3}
    _is_as_planted(made.dataset)
    assert verify(made.dataset) == []
    if not link:
        # who opened it before goes on to read what was there
        np.testing.assert_array_equal(old.read("gfp", 8), frame("P1", "gfp", 8))
        assert len(old.times) == old.n_frames == 9
    again = digests(tmp_path / "data")
    assert append(source, "d", tmp_path / "data").frames == {}
    assert digests(tmp_path / "data") == again


def _write_frames(folder: Path, position: str, numbers: range, first: int = 0) -> Path:
    """Frames of both channels, named by their number from `first` on."""
    for channel, t in product(("gfp", "pi"), numbers):
        path = folder / position / channel / f"im_{t + first:05d}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, frame(position, channel, t))
    return folder


@pytest.mark.parametrize("first", [0, 1, 100])
@pytest.mark.parametrize(
    "said", [describe(), describe('pattern = "{position}/{channel}/im_{frame:05d}.tif"')]
)
def test_new_frames_alone_are_numbered_on(tmp_path: Path, first: int, said: str) -> None:
    source = _write_frames(tmp_path / "s", "P1", range(3), first)
    _write_frames(source, "P2", range(3), first)
    (source / "dataset.toml").write_text(said)
    add(source, "d", tmp_path / "data", exclude={("P1", 0): "dark"})
    for n in (3, 5):  # also when what is there was appended itself
        new = _write_frames(tmp_path / f"new{n}", "P1", range(n, n + 2), first)
        made = append(new, "d", tmp_path / "data")
        assert made.frames == {"P1": 2}
    assert made.dataset.position("P1").n_frames == 7
    assert made.dataset.position("P2").n_frames == 3
    assert made.dataset.position("P1").excluded == {0: "dark"}
    assert made.dataset.position("P1").times == tuple(60.0 * t for t in range(7))
    _is_as_planted(made.dataset)
    assert verify(made.dataset) == []
    gap = _write_frames(tmp_path / "gap", "P2", range(4, 6), first)
    with pytest.raises(DatasetError, match=r"position P2, channel gfp: frame 3 \(P2/gfp/.*is missing"):
        append(gap, "d", tmp_path / "data")


def test_a_changed_old_frame_is_named(tmp_path: Path) -> None:
    source = _write_frames(tmp_path / "s", "P1", range(3))
    (source / "dataset.toml").write_text(describe())
    add(source, "d", tmp_path / "data")
    before = digests(tmp_path / "data")
    _write_frames(source, "P1", range(3, 5))
    # saved anew with the same pixels: the same frame
    tifffile.imwrite(source / "P1/pi/im_00000.tif", frame("P1", "pi", 0), compression="zlib")
    tifffile.imwrite(source / "P1/gfp/im_00001.tif", frame("P1", "gfp", 2))
    with pytest.raises(
        DatasetError, match=r"channel gfp, frame 1 \(P1/gfp/im_00001\.tif\): shows another"
    ) as e:
        append(source, "d", tmp_path / "data")
    assert "under another name" in e.value.remedy
    assert digests(tmp_path / "data") == before
    tifffile.imwrite(source / "P1/gfp/im_00001.tif", frame("P1", "gfp", 1))
    assert append(source, "d", tmp_path / "data").frames == {"P1": 2}


def test_a_grown_film_that_starts_otherwise_is_refused(tmp_path: Path) -> None:
    source = _source(tmp_path / "s", "ome-tiff", {"P1": 3})
    add(source, "d", tmp_path / "data")
    before = digests(tmp_path / "data")

    def later(position: str, channel: str, t: int) -> np.ndarray:
        return frame(position, channel, t + (t == 1))

    write("ome-tiff", source, {"P1": 5}, ["gfp", "pi"], later, (0.65, 0.5), 60.0)
    with pytest.raises(
        DatasetError, match=r"P1, channel gfp, frame 1 \(.*P1\.ome\.tif\): shows another picture"
    ):
        append(source, "d", tmp_path / "data")
    assert digests(tmp_path / "data") == before


@pytest.mark.parametrize("format", ["ome-tiff", "ome-zarr"])
def test_a_grown_file_takes_the_place_of_the_earlier(tmp_path: Path, format: str) -> None:
    root = tmp_path / "data" / "d"
    for n_frames in (3, 5, 6):
        source = _source(tmp_path / "s", format, {"P1": n_frames, "P2": 2})
        made = append(source, "d", tmp_path / "data") if root.exists() else None
        add(source, "d", tmp_path / "data") if made is None else None
    assert sorted(path.name for path in root.iterdir() if path.name.startswith("P1")) == []
    assert sorted(path.name for path in root.iterdir() if path.name.startswith("P2")) != []
    assert [path.name for path in root.glob("appended-*")] == ["appended-2"]
    assert leftovers(Dataset.open(root)) == []
    assert writable(root) == {"dataset.toml"}


def test_frames_left_out_and_asked_again(tmp_path: Path) -> None:
    source = _write_frames(tmp_path / "s", "P1", range(3))
    (source / "dataset.toml").write_text(describe())
    add(source, "d", tmp_path / "data", exclude={("P1", 2): "focus"})
    _write_frames(source, "P1", range(3, 6))
    (source / "P1/gfp/im_00004.tif").write_bytes(b"torn")
    with pytest.raises(DatasetError, match=r"frame 4 \(.*P1/gfp/im_00004\.tif\): .* cannot be decoded"):
        append(source, "d", tmp_path / "data")
    for key, words in ((("P1", 1), "was taken in before"), (("P1", 9), "0 to 5"), (("P9", 0), "no such")):
        with pytest.raises(DatasetError, match=words):
            append(source, "d", tmp_path / "data", exclude={key: "why"})
    out = {("P1", 4): "torn"}
    film = append(source, "d", tmp_path / "data", exclude=out).dataset.position("P1")
    assert (film.n_frames, film.excluded) == (6, {2: "focus", 4: "torn"})
    assert film.raw_digest("pi", 4) is None
    assert append(source, "d", tmp_path / "data", exclude=out).frames == {}


def test_times_continue(tmp_path: Path) -> None:
    said = describe().replace("frame_interval_s = 60", 'times = "times.csv"')
    source = _write_frames(tmp_path / "s", "P1", range(2))
    (source / "dataset.toml").write_text(said)
    (source / "times.csv").write_text("frame,time_s\n0,0\n1,61\n")
    add(source, "d", tmp_path / "data")
    new = _write_frames(tmp_path / "new", "P1", range(2, 4))
    with pytest.raises(DatasetError, match=r"times\.csv has no time for position P1, frame 2"):
        append(new, "d", tmp_path / "data")
    (new / "times.csv").write_text("frame,time_s\n2,125\n3,180\n")
    assert append(new, "d", tmp_path / "data").dataset.position("P1").times == (0, 61, 125, 180)
    other = _write_frames(tmp_path / "other", "P1", range(4, 5))
    (other / "times.csv").write_text("frame,time_s\n1,62\n4,240\n")
    with pytest.raises(DatasetError, match="time stamps differ"):
        append(other, "d", tmp_path / "data")


def test_a_sparse_channel_goes_on(tmp_path: Path) -> None:
    source = tmp_path / "s"
    said = describe(pi=", every = 2")

    def grow(numbers: range) -> None:
        for t in numbers:
            for channel, number in (("gfp", t), *((("pi", t // 2),) if t % 2 == 0 else ())):
                path = source / "P1" / channel / f"im_{number:05d}.tif"
                path.parent.mkdir(parents=True, exist_ok=True)
                tifffile.imwrite(path, frame("P1", channel, t))

    grow(range(5))
    (source / "dataset.toml").write_text(said)
    add(source, "d", tmp_path / "data")
    grow(range(5, 9))
    film = append(source, "d", tmp_path / "data").dataset.position("P1")
    for t in range(9):
        np.testing.assert_array_equal(film.read("gfp", t), frame("P1", "gfp", t))
        pi = film.read("pi", t)
        assert (pi is None) == (t % 2 == 1)
        if pi is not None:
            np.testing.assert_array_equal(pi, frame("P1", "pi", t))


def test_a_new_position_brings_its_row(tmp_path: Path) -> None:
    source = _write_frames(tmp_path / "s", "P1", range(2))
    (source / "dataset.toml").write_text(describe('plate = "plate.csv"'))
    (source / "plate.csv").write_text("position,condition\nP1,CAR-T\n")
    root = add(source, "d", tmp_path / "data").root
    (root / "plate.csv").write_text("position,condition\nP1,CAR-T 19\n")
    _write_frames(_write_frames(source, "P2", range(2)), "P3", range(2))
    (source / "plate.csv").write_text("position,condition,control\nP1,CAR-T,\nP2,alone,negative\n")
    made = append(source, "d", tmp_path / "data")
    assert made.notes == (f"no row in plate.csv for P3: add it to {root / 'plate.csv'}",)

    def conditions() -> list[str | None]:
        return [film.plate.condition for film in Dataset.open(root).positions.values()]

    assert conditions() == ["CAR-T 19", "alone", None]
    assert made.dataset.position("P2").plate.control == "negative"
    _write_frames(source, "P2", range(2, 3))
    append(source, "d", tmp_path / "data")
    assert conditions() == ["CAR-T 19", "alone", None]
    (root / "plate.csv").write_text("position,condition\nP2,mock\nP3,\n")
    assert conditions() == [None, "mock", None]


def test_what_cannot_be_appended(tmp_path: Path) -> None:
    source = _write_frames(tmp_path / "s", "P1", range(2))
    (source / "dataset.toml").write_text(describe())
    data = tmp_path / "data"
    root = add(source, "d", data).root
    with pytest.raises(DatasetError, match="no dataset 'e'"):
        append(source, "e", data)
    with pytest.raises(DatasetError, match="lie in each other"):
        append(root / "P1", "d", data)
    with pytest.raises(DatasetError, match="holds OME-Zarr"):
        append(_source(tmp_path / "z", "ome-zarr", {"P1": 4}), "d", data)
    add(source, "l", data, link=True)
    with pytest.raises(DatasetError, match="is linked to"):
        append(_write_frames(tmp_path / "new", "P1", range(2, 3)), "l", data)
    (data / "through").symlink_to(add(source, "e", tmp_path / "elsewhere").root)
    with pytest.raises(DatasetError, match="nothing is written through a link"):
        append(source, "through", data)
    other = root / f".append.incoming-{os.getppid()}"
    other.mkdir()
    _write_frames(source, "P1", range(2, 3))
    with pytest.raises(DatasetError, match="another command appends"):
        append(source, "d", data)
    assert other.is_dir()
    other.rmdir()
    assert append(source, "d", data).frames == {"P1": 1}
    with pytest.raises(DatasetError, match="is a dataset itself"):
        add(root, "copy", data)


def _grown(tmp_path: Path) -> tuple[Path, Path]:
    """A source that has grown since it was taken in, and the dataset's folder."""
    source = _write_frames(tmp_path / "s", "P1", range(2))
    (source / "dataset.toml").write_text(describe())
    root = add(source, "d", tmp_path / "data").root
    _write_frames(source, "P1", range(2, 4))
    return source, root


def test_a_second_one_is_refused_until_the_manifest_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also on another host, where the process is not to be seen and the lease alone says that it lives."""
    source, _ = _grown(tmp_path)
    tried: set[str] = set()

    def before(real: Callable[..., None]) -> Callable[..., None]:
        def call(*places: Path) -> None:
            place = Path(places[-1]).name
            if (
                place.startswith("appended-") or place in ("new", "P1", "manifest.json")
            ) and place not in tried:
                tried.add(place)
                with pytest.raises(DatasetError, match="another command appends"):
                    append(source, "d", tmp_path / "data")
            real(*places)

        return call

    monkeypatch.setattr(staging, "_runs", lambda pid: False)
    monkeypatch.setattr(staging, "sync_folder", before(staging.sync_folder))
    monkeypatch.setattr(os, "rename", before(os.rename))
    monkeypatch.setattr(os, "replace", before(os.replace))
    assert verify(append(source, "d", tmp_path / "data").dataset) == []
    assert tried == {"new", "P1", "appended-1", "manifest.json"}


def test_the_folder_of_another_one_stays(tmp_path: Path) -> None:
    source, root = _grown(tmp_path)

    def other(done: int, total: int) -> None:
        (root / "appended-1").mkdir(exist_ok=True)
        (root / "appended-1/manifest.json").write_text("{}")

    with pytest.raises(DatasetError):
        append(source, "d", tmp_path / "data", progress=lambda a, b: other(a, b) if _staged(root) else None)
    assert (root / "appended-1/manifest.json").read_text() == "{}"
    assert not _staged(root)


def test_a_manifest_that_another_one_replaced_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, root = _grown(tmp_path)
    manifest = root / "manifest.json"
    now = manifest.read_text().replace('"format": 1', '"format": 2')

    def sync(folder: Path) -> None:
        sync_folder(folder)
        manifest.unlink()
        manifest.write_text(now)

    monkeypatch.setattr(staging, "sync_folder", sync)
    with pytest.raises(DatasetError, match="was appended to meanwhile"):
        append(source, "d", tmp_path / "data")
    assert manifest.read_text() == now
    assert not (root / "appended-1").exists()
    assert not _staged(root)


def _staged(root: Path) -> list[Path]:
    return staging.staged_for(root, STAGED)


def test_a_full_disk_leaves_the_dataset_as_it_was(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small disk can only be mounted by root")
    try:
        source = _write_frames(tmp_path / "s", "P1", range(2))
        (source / "dataset.toml").write_text(describe())
        root = add(source, "d", disk).root
        before = digests(disk)
        _write_frames(source, "P1", range(2, 40))

        def fill(done: int, total: int) -> None:
            if total > 76 and done == 5:  # the second half: files are copied
                with suppress(OSError), open(disk / "filler", "wb") as file:
                    file.write(bytes(1 << 21))

        with pytest.raises(PlaceError, match="No space left on device"):
            append(source, "d", disk, progress=fill)
        (disk / "filler").unlink()
        assert digests(disk) == before
        assert leftovers(Dataset.open(root)) == []
        fill(5, 77)
        with pytest.raises(PlaceError) as error:
            append(source, "d", disk)
        assert "free space there, then give the same command again" in error.value.remedy
        (disk / "filler").unlink()
        assert digests(disk) == before
        assert append(source, "d", disk).frames == {"P1": 38}
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.parametrize("format", ["tiff-frames", "ome-zarr"])
def test_what_is_linked_is_never_touched(tmp_path: Path, format: str) -> None:
    source = _source(tmp_path / "s", format, {"P1": 4})

    def state() -> dict[str, tuple[int, int, int]]:
        places = [source, *source.rglob("*")]
        return {str(p): (p.stat().st_mode, p.stat().st_mtime_ns, p.stat().st_ino) for p in places}

    before, content = state(), digests(source)
    dataset = add(source, "d", tmp_path / "data", link=True)
    verify(dataset)
    assert (state(), digests(source)) == (before, content)
    _source(source, format, {"P1": 6})
    before, content = state(), digests(source)
    dataset = append(source, "d", tmp_path / "data").dataset
    verify(dataset)
    append(source, "d", tmp_path / "data")
    remove_tree(dataset.root)
    assert (state(), digests(source)) == (before, content)
