"""Writing a film in each of the formats that are read: for the demo, and to test the readers with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import tifffile
import zarr
from numpy.typing import NDArray

from dataops_parsl.dataset.names import check_name, check_position
from dataops_parsl.errors import DatasetError, nearest

Format = Literal["tiff-frames", "ome-tiff", "imagej", "ome-zarr"]
Frame = Callable[[str, str, int], NDArray[Any]]

PATTERN = "{position}/{channel}/im_{frame:05d}.tif"
_SHARD_BYTES = 64 << 20


def write(
    format: str,
    folder: Path,
    positions: Mapping[str, int],
    channels: Sequence[str],
    frame: Frame,
    pixel_size_um: tuple[float, float],
    frame_interval_s: float,
) -> None:
    """Write films; one frame, or one shard of frames, is in memory at a time.

    Parameters
    ----------
    format : "tiff-frames", "ome-tiff", "imagej" or "ome-zarr"
        One TIFF per frame per channel (:data:`PATTERN`); else one file or folder a position:
        OME-TIFF, ImageJ hyperstack, OME-Zarr 0.5.
    folder : Path
        Made where it is missing.
    positions : mapping of str to int
        Number of frames by position.
    frame : callable
        (position, channel, frame) to the pixels, (Y, X); of one shape and dtype in all of a position.
    pixel_size_um : (float, float)
        y, x.

    Raises
    ------
    DatasetError
        An unknown format, a name that no folder can have, a position without frames, or, for
        ``imagej``, a dtype that ImageJ does not know.
    """
    formats: dict[str, Callable[[Path, str, int, Sequence[str], Frame, tuple[float, float], float], None]] = {
        "tiff-frames": _write_frames,
        "ome-tiff": _write_ome_tiff,
        "imagej": _write_imagej,
        "ome-zarr": _write_ome_zarr,
    }
    if format not in formats:
        raise DatasetError(
            f"no format {format!r}{nearest(format, formats)}", f"use {', '.join(get_args(Format))}"
        )
    for channel in channels:
        check_name(channel, "channel")
    folder.mkdir(parents=True, exist_ok=True)
    for position, n_frames in positions.items():
        check_position(position, str(folder))
        if n_frames < 1 or not channels:
            raise DatasetError(
                f"position {position} has no frame to write", "give at least one frame and channel"
            )
        formats[format](folder, position, n_frames, channels, frame, pixel_size_um, frame_interval_s)


def _write_frames(
    folder: Path,
    position: str,
    n_frames: int,
    channels: Sequence[str],
    frame: Frame,
    pixel_size_um: tuple[float, float],
    frame_interval_s: float,
) -> None:
    metadata = _ome(pixel_size_um, frame_interval_s)
    for t, channel in product(range(n_frames), channels):
        path = folder / PATTERN.format(position=position, channel=channel, frame=t)
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = frame(position, channel, t)
        tifffile.imwrite(path, pixels, ome=True, compression="zlib", metadata={"axes": "YX", **metadata})


def _ome(pixel_size_um: tuple[float, float], frame_interval_s: float) -> dict[str, Any]:
    y, x = pixel_size_um
    return {
        "PhysicalSizeY": y,
        "PhysicalSizeYUnit": "µm",
        "PhysicalSizeX": x,
        "PhysicalSizeXUnit": "µm",
        "TimeIncrement": frame_interval_s,
        "TimeIncrementUnit": "s",
    }


def _planes(position: str, n_frames: int, channels: Sequence[str], frame: Frame) -> Iterator[NDArray[Any]]:
    for t, channel in product(range(n_frames), channels):
        yield frame(position, channel, t)


def _write_ome_tiff(
    folder: Path,
    position: str,
    n_frames: int,
    channels: Sequence[str],
    frame: Frame,
    pixel_size_um: tuple[float, float],
    frame_interval_s: float,
) -> None:
    first = frame(position, channels[0], 0)
    tifffile.imwrite(
        folder / f"{position}.ome.tif",
        _planes(position, n_frames, channels, frame),
        shape=(n_frames, len(channels), *first.shape),
        dtype=first.dtype,
        ome=True,
        compression="zlib",
        metadata={
            "axes": "TCYX",
            "Channel": {"Name": list(channels)},
            **_ome(pixel_size_um, frame_interval_s),
        },
    )


def _write_imagej(
    folder: Path,
    position: str,
    n_frames: int,
    channels: Sequence[str],
    frame: Frame,
    pixel_size_um: tuple[float, float],
    frame_interval_s: float,
) -> None:
    first = frame(position, channels[0], 0)
    if first.dtype.name not in ("uint8", "uint16", "float32"):
        raise DatasetError(f"ImageJ has no {first.dtype.name} images", "write ome-tiff, or convert to uint16")
    y, x = pixel_size_um
    tifffile.imwrite(
        folder / f"{position}.tif",
        _planes(position, n_frames, channels, frame),
        shape=(n_frames, len(channels), *first.shape),
        dtype=first.dtype,
        imagej=True,
        resolution=(1 / x, 1 / y),
        metadata={
            "axes": "TCYX",
            "unit": "um",
            "finterval": frame_interval_s,
            "tunit": "s",
            "Labels": [channel for _ in range(n_frames) for channel in channels],
        },
    )


def _write_ome_zarr(
    folder: Path,
    position: str,
    n_frames: int,
    channels: Sequence[str],
    frame: Frame,
    pixel_size_um: tuple[float, float],
    frame_interval_s: float,
) -> None:
    first = frame(position, channels[0], 0)
    per_shard = min(n_frames, max(1, _SHARD_BYTES // max(first.nbytes, 1)))
    y, x = pixel_size_um
    axes = [
        {"name": "t", "type": "time", "unit": "second"},
        {"name": "c", "type": "channel"},
        {"name": "y", "type": "space", "unit": "micrometer"},
        {"name": "x", "type": "space", "unit": "micrometer"},
    ]
    scale = {"type": "scale", "scale": [frame_interval_s, 1.0, y, x]}
    ngff = {
        "version": "0.5",
        "multiscales": [
            {
                "name": position,
                "axes": axes,
                "datasets": [{"path": "0", "coordinateTransformations": [scale]}],
            }
        ],
        "omero": {
            "channels": [
                {"label": channel, "color": "FFFFFF", "active": True, **_WINDOW} for channel in channels
            ]
        },
    }
    group = zarr.create_group(folder / f"{position}.ome.zarr", zarr_format=3, attributes={"ome": ngff})
    array = group.create_array(
        "0",
        shape=(n_frames, len(channels), *first.shape),
        chunks=(1, 1, *first.shape),
        shards=(per_shard, 1, *first.shape),
        dtype=first.dtype,
        dimension_names=["t", "c", "y", "x"],
        config={"write_empty_chunks": True},
    )
    for start in range(0, n_frames, per_shard):
        times = range(start, min(start + per_shard, n_frames))
        for c, channel in enumerate(channels):
            array[times.start : times.stop, c] = np.stack([frame(position, channel, t) for t in times])


_WINDOW = {"window": {"min": 0, "max": 65535, "start": 0, "end": 65535}}
