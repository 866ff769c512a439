"""Every format of the same film gives the same dataset."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import tifffile
import zarr

from dataops_parsl.dataset.ingest import add, propose
from dataops_parsl.dataset.readers import tiff_pages
from dataops_parsl.dataset.readers.base import Hints, Source
from dataops_parsl.dataset.writers import Format, write
from dataops_parsl.errors import DatasetError
from tests.dataset.films import SHAPE, describe, frame

FORMATS = get_args(Format)
N = {"P1": 5, "P2": 4}


def _write(format: str, folder: Path, pixels: Callable[[str, str, int], np.ndarray] = frame) -> Path:
    write(format, folder, N, ["gfp", "pi"], pixels, (0.65, 0.5), 60.0)
    (folder / "dataset.toml").write_text(describe())
    return folder


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_all_formats_give_equal_datasets(tmp_path: Path, dtype: Any) -> None:
    def pixels(position: str, channel: str, t: int) -> np.ndarray:
        return frame(position, channel, t).astype(dtype)

    datasets = {}
    for format in FORMATS:
        source = _write(format, tmp_path / format, pixels)
        proposal = propose(source)
        assert "\npixel_size_um = [0.65, 0.5]" in proposal.text
        assert "\nframe_interval_s = 60" in proposal.text
        assert "\ngfp = " in proposal.text
        datasets[format] = add(source, format, tmp_path / "data", link=format == "imagej")
    assert len({dataset.fingerprint for dataset in datasets.values()}) == 1
    for format, dataset in datasets.items():
        assert {name: position.n_frames for name, position in dataset.positions.items()} == N, format
        for name, position in dataset.positions.items():
            for channel in ("gfp", "pi"):
                assert position.dtype(channel) == dtype
                for t in range(N[name]):
                    read = position.read(channel, t)
                    assert read is not None
                    assert read.dtype == dtype
                    np.testing.assert_array_equal(read, pixels(name, channel, t))


@pytest.mark.parametrize("format", FORMATS)
def test_one_frame_only(tmp_path: Path, format: str) -> None:
    write(format, tmp_path / "s", {"P1": 1}, ["gfp", "pi"], frame, (0.65, 0.5), 60.0)
    (tmp_path / "s" / "dataset.toml").write_text(describe().replace("frame_interval_s = 60", ""))
    position = add(tmp_path / "s", "d", tmp_path / "data").position("P1")
    assert (position.n_frames, position.times, position.sample_frames) == (1, (0.0,), (0,))
    np.testing.assert_array_equal(position.read("pi", 0), frame("P1", "pi", 0))


@pytest.mark.parametrize("format", ["ome-tiff", "imagej", "ome-zarr"])
def test_a_file_by_itself(tmp_path: Path, format: str) -> None:
    source = _write(format, tmp_path / "s")
    (image,) = source.glob("P1*")
    dataset = add(image, "d", tmp_path / "data", description=source / "dataset.toml")
    assert list(dataset.positions) == ["P1"]
    np.testing.assert_array_equal(dataset.position("P1").read("gfp", 4), frame("P1", "gfp", 4))


@pytest.mark.parametrize("format", ["ome-tiff", "imagej", "ome-zarr"])
def test_dense_files_with_a_sparse_channel(tmp_path: Path, format: str) -> None:
    def pixels(position: str, channel: str, t: int) -> np.ndarray:
        return frame(position, channel, t) * np.uint16(channel == "gfp" or t % 2 == 0)

    source = _write(format, tmp_path / "s", pixels)
    (source / "dataset.toml").write_text(describe(pi=", every = 2"))
    position = add(source, "d", tmp_path / "data").position("P1")
    assert [bool(position.raw_digest("pi", t)) for t in range(5)] == [True, False, True, False, True]
    (source / "dataset.toml").write_text(describe(pi=", every = 4"))
    with pytest.raises(DatasetError, match=r"channel pi, frame 2 .*holds pixels, but .* not acquired"):
        add(source, "e", tmp_path / "data")


@pytest.mark.parametrize("axes", ["TCYX", "CTYX", "TZCYX", "ZCTYX"])
def test_axes_of_ome_tiff_in_any_order(tmp_path: Path, axes: str) -> None:
    sizes = {"T": 4, "C": 2, "Z": 3, "Y": 12, "X": 17}
    film = np.random.default_rng(1).integers(0, 900, [sizes[a] for a in axes], dtype=np.uint16)
    (tmp_path / "s").mkdir()
    tifffile.imwrite(
        tmp_path / "s" / "P1.ome.tiff", film, metadata={"axes": axes, "Channel": {"Name": ["gfp", "pi"]}}
    )
    (tmp_path / "s" / "dataset.toml").write_text(describe())
    if "Z" in axes:
        with pytest.raises(DatasetError, match=r"P1\.ome\.tiff\) has 3 Z planes"):
            add(tmp_path / "s", "d", tmp_path / "data")
    projection = "max" if "Z" in axes else None
    position = add(tmp_path / "s", "d", tmp_path / "data", z_projection=projection).position("P1")
    order = [axes.index(a) for a in "TCZYX" if a in axes]
    expected = film.transpose(order)[2, 1]
    np.testing.assert_array_equal(position.read("pi", 2), expected.max(0) if "Z" in axes else expected)


def test_a_truncated_multi_page_file(tmp_path: Path) -> None:
    film = np.stack([[frame("P1", c, t) for c in ("gfp", "pi")] for t in range(4)])
    for name, how in {"ome": {"ome": True}, "imagej": {"imagej": True}}.items():
        source = tmp_path / name
        source.mkdir()
        path = source / "P1.tif"
        tifffile.imwrite(path, film, metadata={"axes": "TCYX"}, **how)
        (source / "dataset.toml").write_text(describe())
        path.write_bytes(path.read_bytes()[: film.nbytes * 3 // 4])
        with pytest.raises(DatasetError, match=r"P1\.tif.*truncated"):
            add(source, "d", tmp_path / "data")
        assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("format", ["ome-tiff", "imagej", "ome-zarr"])
@pytest.mark.parametrize("kept_frac", [0.0, 0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
def test_wherever_a_file_is_cut_it_is_refused(tmp_path: Path, format: str, kept_frac: float) -> None:
    source = _write(format, tmp_path / "s")
    files = [path for path in (source / "P1.ome.zarr" / "0" / "c").rglob("*") if path.is_file()]
    path = files[0] if files else next(source.glob("P1*"))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept_frac)])
    with pytest.raises(DatasetError, match="P1"):
        add(source, "d", tmp_path / "data")
    assert not list((tmp_path / "data").glob("*"))


def test_imagej_stacks_with_a_single_directory(tmp_path: Path) -> None:
    """ImageJ writes stacks over 4 GB so."""
    film = np.stack([[frame("P1", c, t) for c in ("gfp", "pi")] for t in range(4)])
    (tmp_path / "s").mkdir()
    path = tmp_path / "s" / "P1.tif"
    tifffile.imwrite(path, film, imagej=True, metadata={"axes": "TCYX"}, truncate=True)
    (tmp_path / "s" / "dataset.toml").write_text(describe())
    position = add(tmp_path / "s", "d", tmp_path / "data").position("P1")
    np.testing.assert_array_equal(position.read("pi", 3), film[3, 1])
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DatasetError, match=r"P1\.tif is truncated"):
        add(tmp_path / "s", "e", tmp_path / "data")


def test_plain_pages_are_split_as_axes_say(tmp_path: Path) -> None:
    film = np.stack([[frame("P1", c, t) for t in range(4)] for c in ("gfp", "pi")])
    (tmp_path / "s").mkdir()
    tifffile.imwrite(
        tmp_path / "s" / "P1.tif", film.reshape(8, *SHAPE), metadata=None, photometric="minisblack"
    )
    (tmp_path / "s" / "dataset.toml").write_text(describe('axes = "CTYX"'))
    position = add(tmp_path / "s", "d", tmp_path / "data").position("P1")
    assert position.n_frames == 4
    np.testing.assert_array_equal(position.read("pi", 1), film[1, 1])


def test_one_film_file_a_channel(tmp_path: Path) -> None:
    for channel in ("gfp", "pi"):
        path = tmp_path / "s" / "P 1" / f"{channel}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(
            path, np.stack([frame("P1", channel, t) for t in range(5)]), metadata={"axes": "TYX"}
        )
    (tmp_path / "s" / "dataset.toml").write_text(describe('pattern = "{position}/{channel}.tif"'))
    position = add(tmp_path / "s", "d", tmp_path / "data").position("P_1")
    np.testing.assert_array_equal(position.read("pi", 3), frame("P1", "pi", 3))


def test_a_file_is_opened_at_one_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = _write("ome-tiff", tmp_path / "s")
    (found, _) = tiff_pages.scan(source, ["P1.ome.tif", "P2.ome.tif"], Hints())
    monkeypatch.setattr(tifffile.TiffPages, "_seek", lambda *a: pytest.fail("walked the pages"))
    read = tiff_pages.read(source, found.channels["pi"].frames[3], None)
    np.testing.assert_array_equal(read, frame("P1", "pi", 3))


def _ngff04(folder: Path, film: np.ndarray, unit: str = "micrometer", separator: str = "/") -> zarr.Array:
    axes = [
        {"name": "t", "type": "time", "unit": "minute"},
        {"name": "c", "type": "channel"},
        {"name": "z", "type": "space", "unit": unit},
        {"name": "y", "type": "space", "unit": unit},
        {"name": "x", "type": "space", "unit": unit},
    ]
    scales = [{"type": "scale", "scale": [1.0, 1.0, 2.0, 650.0, 500.0]}]
    level = {"path": "0", "coordinateTransformations": scales}
    group = zarr.create_group(folder, zarr_format=2)
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": [level]}]
    array = group.create_array(
        "0",
        shape=film.shape,
        chunks=(1, 1, 1, 8, 17),
        dtype=film.dtype,
        chunk_key_encoding={"name": "v2", "separator": separator},
    )
    array[:] = film
    return array


def test_ngff_04_with_chunks_and_z(tmp_path: Path) -> None:
    film = np.random.default_rng(2).integers(1, 900, (3, 2, 2, *SHAPE), dtype=np.uint16)
    _ngff04(tmp_path / "s" / "P1.zarr", film, "nanometer")
    proposal = propose(tmp_path / "s")
    assert "\npixel_size_um = [0.65, 0.5]" in proposal.text
    assert "\nframe_interval_s = 60" in proposal.text
    assert any("Z planes" in warning for warning in proposal.warnings)
    (tmp_path / "s" / "dataset.toml").write_text(describe('z_projection = "max"'))
    position = add(tmp_path / "s", "d", tmp_path / "data").position("P1")
    np.testing.assert_array_equal(position.read("pi", 2), film[2, 1].max(0))


def test_a_lost_chunk_is_not_read_as_zeros(tmp_path: Path) -> None:
    film = np.random.default_rng(2).integers(1, 900, (3, 2, 1, *SHAPE), dtype=np.uint16)
    _ngff04(tmp_path / "s" / "P1.zarr", film)
    (tmp_path / "s" / "dataset.toml").write_text(describe())
    lost = tmp_path / "s" / "P1.zarr" / "0" / "1" / "1" / "0" / "1" / "0"
    content = lost.read_bytes()
    lost.unlink()
    with pytest.raises(DatasetError, match=r"channel pi, frame 1 .*chunk P1\.zarr/0/1/1/0/1/0 is not there"):
        add(tmp_path / "s", "d", tmp_path / "data")
    lost.write_bytes(content[: len(content) // 2])
    with pytest.raises(DatasetError, match=r"channel pi, frame 1 .*cannot be decoded"):
        add(tmp_path / "s", "d", tmp_path / "data")
    lost.write_bytes(content)
    assert add(tmp_path / "s", "d", tmp_path / "data").position("P1").n_frames == 3


def test_a_shard_lost_after_ingest_is_refused(tmp_path: Path) -> None:
    dataset = add(_write("ome-zarr", tmp_path / "s"), "d", tmp_path / "data")
    for shard in (dataset.root / "P1.ome.zarr" / "0" / "c").rglob("*"):
        if shard.is_file():
            shard.parent.chmod(0o755)
            shard.unlink()
    with pytest.raises(DatasetError, match=r"position P1, channel gfp, frame 0 .*was changed"):
        dataset.position("P1").read("gfp", 0)
    assert dataset.position("P2").read("gfp", 0) is not None


def test_an_array_made_anew_is_read_anew(tmp_path: Path) -> None:
    for shape in ((3, 2, 1, 12, 17), (2, 2, 1, 8, 17)):
        shutil.rmtree(tmp_path / "s", ignore_errors=True)
        _ngff04(tmp_path / "s" / "P1.zarr", np.ones(shape, np.uint16))
        (found,) = propose(tmp_path / "s").found
        assert (len(found.channels["ch0"].frames), found.channels["ch0"].shape_px) == (shape[0], shape[3:])


def test_zarr_without_a_frame(tmp_path: Path) -> None:
    _ngff04(tmp_path / "s" / "P1.zarr", np.zeros((0, 2, 1, *SHAPE), np.uint16))
    (tmp_path / "s" / "dataset.toml").write_text(describe())
    with pytest.raises(DatasetError, match="P1 holds no frame"):
        add(tmp_path / "s", "d", tmp_path / "data")


def test_damaged_zarr_metadata(tmp_path: Path) -> None:
    source = _write("ome-zarr", tmp_path / "s")
    (source / "P1.ome.zarr" / "0" / "zarr.json").unlink()
    with pytest.raises(DatasetError, match=r"P1\.ome\.zarr"):
        propose(source)
    (source / "P1.ome.zarr" / "zarr.json").write_text("{")
    with pytest.raises(DatasetError, match=r"P1\.ome\.zarr"):
        propose(source)


def test_two_formats_at_once(tmp_path: Path) -> None:
    source = _write("ome-zarr", tmp_path / "s")
    _write("ome-tiff", source)
    with pytest.raises(DatasetError, match=r"OME-Zarr .* and TIFF"):
        propose(source)


def test_real_films(test_data: Path, tmp_path: Path) -> None:
    source = test_data / "ctc_sim_01"
    said = "pixel_size_um = [0.125, 0.125]\nframe_interval_s = 1740\n[channels]\nch0 = {}\n"
    (tmp_path / "said.toml").write_text(said)
    dataset = add(source / "img.tif", "sim", tmp_path / "data", description=tmp_path / "said.toml", link=True)
    expected = tifffile.imread(source / "img.tif")
    position = dataset.position("img")
    assert (position.n_frames, position.shape_px) == (65, (480, 480))
    np.testing.assert_array_equal(position.read("ch0", 40), expected[40])


@pytest.mark.parametrize(
    "bad", [{"format": "tif"}, {"positions": {"P1": 0}}, {"channels": ["a b"]}, {"channels": []}]
)
def test_what_cannot_be_written(tmp_path: Path, bad: dict[str, Any]) -> None:
    how = {"format": "ome-tiff", "positions": {"P1": 1}, "channels": ["gfp"], **bad}
    with pytest.raises(DatasetError):
        write(folder=tmp_path, frame=frame, pixel_size_um=(1, 1), frame_interval_s=1, **how)


def test_imagej_knows_few_dtypes(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="int32"):
        write("imagej", tmp_path, {"P1": 1}, ["c"], lambda p, c, t: np.zeros(SHAPE, np.int32), (1, 1), 1)


def test_a_source_is_small() -> None:
    assert Source("a.tif") == Source("a.tif", ())
