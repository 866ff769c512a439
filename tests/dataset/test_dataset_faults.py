"""Films that must be refused, each with the file and the frame named, and nothing left behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from dataops_parsl.dataset.description import Projection
from dataops_parsl.dataset.ingest import add, propose
from dataops_parsl.errors import DatasetError
from tests.dataset.films import SHAPE, FilmMaker, describe, frame

GFP3 = "P1/gfp/im_00003.tif"


def test_no_position_is_called_like_what_is_for_all_of_them(film: FilmMaker, tmp_path: Path) -> None:
    """Its failures would be those of the whole dataset, and excuse everything."""
    source = film(("dataset", "P2"))
    with pytest.raises(DatasetError, match="cannot be called 'dataset'") as error:
        add(source, "mine", tmp_path / "data")
    assert "rename" in error.value.remedy
    assert not (tmp_path / "data" / "mine").exists()


def _truncate(source: Path) -> None:
    path = source / GFP3
    path.write_bytes(path.read_bytes()[:-50])


def _cut_header(source: Path) -> None:
    (source / GFP3).write_bytes((source / GFP3).read_bytes()[:20])


def _empty(source: Path) -> None:
    (source / GFP3).write_bytes(b"")


def _remove(source: Path) -> None:
    (source / GFP3).unlink()


def _replace(pixels: np.ndarray, **how: Any) -> Callable[[Path], None]:
    return lambda source: tifffile.imwrite(source / GFP3, pixels, **how)


NAN = frame("P1", "gfp", 3).astype(np.float32)
NAN[2, 2] = np.nan


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_truncate, "truncated"),
        (_cut_header, "cannot be decoded"),
        (_empty, "cannot be decoded"),
        (_remove, "missing"),
        (_replace(frame("P1", "gfp", 3, (12, 18))), "12 x 18 px .* 12 x 17"),
        (_replace(frame("P1", "gfp", 3).astype(np.uint8)), "is uint8 where the channel is uint16"),
        (_replace(np.zeros((*SHAPE, 3), np.uint8), photometric="rgb"), "colour"),
        (_replace(np.zeros((2, *SHAPE), np.uint16), photometric="minisblack"), "2 planes"),
        (_replace(frame("P1", "gfp", 3) > 5), "is bool"),
    ],
    ids=["truncated", "header", "empty", "missing", "size", "dtype", "rgb", "stack", "bool"],
)
def test_one_bad_frame(film: FilmMaker, tmp_path: Path, damage: Callable[[Path], None], words: str) -> None:
    source = film(("P1", "P2"))
    damage(source)
    with pytest.raises(
        DatasetError, match=rf"position P1, channel gfp.*frame 3 \(P1/gfp/im_00003\.tif\).*{words}"
    ):
        add(source, "d", tmp_path / "data")
    assert not any((tmp_path / "data").glob("*")) if (tmp_path / "data").exists() else True
    add(source, "d", tmp_path / "data", exclude={("P1", 3): "damaged"})


@pytest.mark.parametrize(
    "pixels",
    [
        frame("P1", "gfp", 0) > 5,
        frame("P1", "gfp", 0).astype(np.complex64),
        frame("P1", "gfp", 0).astype(np.int64),
        frame("P1", "gfp", 0).astype(np.float16),
    ],
    ids=lambda pixels: pixels.dtype.name,
)
def test_a_dtype_that_cannot_be_right(film: FilmMaker, tmp_path: Path, pixels: np.ndarray) -> None:
    source = film(pixels=lambda p, c, t: pixels)
    with pytest.raises(DatasetError, match=rf"frame 0 \(P1/gfp/im_00000\.tif\): is {pixels.dtype.name}"):
        add(source, "d", tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_colour_films_are_refused(film: FilmMaker, tmp_path: Path) -> None:
    source = film(pixels=lambda p, c, t: np.zeros((*SHAPE, 3), np.uint8))
    with pytest.raises(DatasetError, match=r"im_00000\.tif\): is RGB"):
        add(source, "d", tmp_path / "data")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_no_number_in_a_float_film(film: FilmMaker, tmp_path: Path, value: float) -> None:
    def pixels(position: str, channel: str, t: int) -> np.ndarray:
        picture = frame(position, channel, t).astype(np.float32)
        if (channel, t) == ("pi", 4):
            picture[1, 1] = value
        return picture

    source = film(pixels=pixels)
    with pytest.raises(DatasetError, match=r"channel pi, frame 4 \(P1/pi/im_00004\.tif\): holds 1 pixels"):
        add(source, "d", tmp_path / "data")
    assert list((tmp_path / "data").iterdir()) == []


def test_every_fault_is_named_up_to_twenty(film: FilmMaker, tmp_path: Path) -> None:
    source = film(("P1", "P2"), 15)
    for t in range(15):
        for position in ("P1", "P2"):
            (source / position / "gfp" / f"im_{t:05d}.tif").write_bytes(b"") if t else None
    with pytest.raises(DatasetError) as caught:
        add(source, "d", tmp_path / "data")
    assert str(caught.value).count("cannot be decoded") == 20


def test_unequal_length(film: FilmMaker, tmp_path: Path) -> None:
    source = film(n_frames={"gfp": 11, "pi": 3})
    with pytest.raises(
        DatasetError, match=r"channel pi: has 3 frames where 11.*frame 3 \(P1/pi/im_00003\.tif\).*every = 4"
    ):
        add(source, "d", tmp_path / "data")
    (source / "dataset.toml").write_text(describe(pi=", every = 2"))
    with pytest.raises(DatasetError, match="channel pi"):
        add(source, "d", tmp_path / "data")
    (source / "dataset.toml").write_text(describe(pi=", every = 5"))
    assert add(source, "d", tmp_path / "data").position("P1").n_frames == 11


def test_frames_where_none_were_acquired(film: FilmMaker, tmp_path: Path) -> None:
    source = film(n_frames=10, described=describe(pi=", every = 5"))
    with pytest.raises(DatasetError, match=r"channel pi: frame 1 \(P1/pi/im_00001\.tif\) is there"):
        add(source, "d", tmp_path / "data")


def test_channels_of_unequal_size(film: FilmMaker, tmp_path: Path) -> None:
    source = film(pixels=lambda p, c, t: frame(p, c, t, (12, 17) if c == "gfp" else (6, 8)))
    with pytest.raises(DatasetError, match=r"pi/im_00000\.tif\) is 6 x 8 px"):
        add(source, "d", tmp_path / "data")


def test_a_position_without_a_channel(film: FilmMaker, tmp_path: Path) -> None:
    source = film(n_frames={"gfp": 2, "PI": 2})
    with pytest.raises(DatasetError, match=r"no channel 'pi'; the files have PI, gfp.*found_as"):
        add(source, "d", tmp_path / "data")
    (source / "dataset.toml").write_text(describe(pi=', found_as = "PI"'))
    assert add(source, "d", tmp_path / "data").channels == ("gfp", "pi")


@pytest.mark.parametrize("projection", ["max", "mean"])
@pytest.mark.parametrize("said_in", ["toml", "command"])
def test_z_needs_a_projection(film: FilmMaker, tmp_path: Path, projection: Projection, said_in: str) -> None:
    def stack(position: str, channel: str, t: int) -> np.ndarray:
        return np.stack([frame(position, channel, 10 * z + t) for z in range(3)])

    source = film(pixels=stack, n_frames=2)
    with pytest.raises(DatasetError, match=r"im_00000\.tif\) has 3 Z planes.*--z-projection"):
        add(source, "d", tmp_path / "data")
    if said_in == "toml":
        (source / "dataset.toml").write_text(describe(f'z_projection = "{projection}"'))
        dataset = add(source, "d", tmp_path / "data")
    else:
        dataset = add(source, "d", tmp_path / "data", z_projection=projection)
        assert dataset.description.z_projection == projection
    planes = stack("P1", "pi", 1)
    expected = planes.max(0) if projection == "max" else np.rint(planes.mean(0)).astype(np.uint16)
    np.testing.assert_array_equal(dataset.position("P1").read("pi", 1), expected)


def test_masks_given(film: FilmMaker, tmp_path: Path) -> None:
    said = describe() + '[channels.masks]\nlabels = "target"\n'

    def pixels(position: str, channel: str, t: int) -> np.ndarray:
        labels = np.zeros(SHAPE, np.int64)
        labels[3:5, 3:5] = 70_000
        return labels if channel == "masks" else frame(position, channel, t)

    counts = {"gfp": 2, "pi": 2, "masks": 2}
    position = add(film(n_frames=counts, described=said, pixels=pixels), "d", tmp_path / "data").position(
        "P1"
    )
    masks = position.read("masks", 1)
    assert masks is not None
    assert masks.max() == 70_000
    for bad in (-1, 2**32):
        source = film(
            n_frames=counts,
            described=said,
            pixels=lambda p, c, t, bad=bad: np.full(SHAPE, bad, np.int64) if c == "masks" else frame(p, c, t),
            folder=f"bad{bad}",
        )
        with pytest.raises(DatasetError, match=r"channel masks, frame 0 .* labels below 0 or beyond 32 bits"):
            add(source, f"bad{abs(bad)}", tmp_path / "data")
    source = film(
        n_frames=counts, described=said, pixels=lambda p, c, t: np.zeros(SHAPE, np.float32), folder="float"
    )
    with pytest.raises(DatasetError, match="whole numbers"):
        add(source, "float", tmp_path / "data")


def test_no_film_at_all(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DatasetError, match="is empty"):
        propose(empty)
    (empty / "a.czi").write_text("")
    with pytest.raises(DatasetError) as caught:
        propose(empty)
    for words in ("one TIFF per frame per channel", "ImageJ hyperstack", "OME-Zarr", "1 .czi", "OME-TIFF"):
        assert words in str(caught.value)
    with pytest.raises(DatasetError, match="does not exist"):
        propose(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="no file"):
        propose([])


def test_a_pattern_that_fits_nothing(film: FilmMaker, tmp_path: Path) -> None:
    source = film(described=describe('pattern = "{channel}_{frame}.tif"'))
    with pytest.raises(DatasetError, match="none of 12 TIFF files fits the pattern"):
        add(source, "d", tmp_path / "data")
