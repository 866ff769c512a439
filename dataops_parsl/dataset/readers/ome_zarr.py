"""OME-Zarr images: NGFF 0.4 (zarr v2) and 0.5 (zarr v3), the full resolution of each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import product
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from dataops_parsl.dataset.readers.base import FoundChannel, FoundPosition, Hints, Source, project_z
from dataops_parsl.dataset.readers.tiff import S_PER, UM_PER
from dataops_parsl.errors import DatasetError

NAME = "ome-zarr"
LOOKS_FOR = "OME-Zarr images (NGFF 0.4 or 0.5), one folder a position"


def images(root: Path, files: Sequence[str]) -> list[str]:
    """Folders below `root` that are multiscale images, sorted."""
    folders = {
        PurePosixPath(file).parent.as_posix()
        for file in files
        if file.rsplit("/", 1)[-1] in (".zattrs", "zarr.json")
    }
    return sorted(folder for folder in folders if "multiscales" in _ngff(root / folder))


def _ngff(folder: Path) -> Mapping[str, Any]:
    """The NGFF metadata of a group, or nothing; 0.5 has them under ``ome``."""
    try:
        if (folder / "zarr.json").is_file():
            attributes = json.loads((folder / "zarr.json").read_text(encoding="utf-8")).get("attributes", {})
        else:
            attributes = json.loads((folder / ".zattrs").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"the metadata of {folder} cannot be read: {error}", "copy the image again"
        ) from error
    found: Mapping[str, Any] = attributes.get("ome", attributes)
    return found


def scan(root: Path, files: Sequence[str], hints: Hints) -> list[FoundPosition]:
    """Positions of the images; metadata only.

    Raises
    ------
    DatasetError
        Metadata that are damaged, or axes that are not understood.
    """
    return [_position(root, folder, hints) for folder in images(root, files)]


def _position(root: Path, folder: str, hints: Hints) -> FoundPosition:
    ngff = _ngff(root / folder)
    try:
        scales = ngff["multiscales"][0]
        level = scales["datasets"][0]
        axes = tuple(_axis_name(axis) for axis in scales["axes"])
        path = f"{folder}/{level['path']}" if folder != "." else str(level["path"])
        array = _array(str(root / path))
    except DatasetError:
        raise
    except Exception as error:  # foreign metadata can be wrong in any way
        raise DatasetError(
            f"{root / folder} is no OME-Zarr image that can be read: {error!r}", "export it again"
        ) from error
    if axes[-2:] != ("y", "x") or set(axes) - set("tczyx") or len(axes) != array.ndim:
        raise DatasetError(
            f"{root / folder} has axes {axes} and {array.ndim} dimensions; t, c, z, y, x are understood",
            "export it again",
        )
    sizes = dict(zip(axes, (int(n) for n in array.shape), strict=True))
    names = _channel_names(ngff, sizes.get("c", 1), hints)
    at_once = [axis for axis in axes if axis in "tc"]
    channels = {
        name: FoundChannel(
            shape_px=(sizes["y"], sizes["x"]),
            dtype=np.dtype(array.dtype).name,
            frames={
                t: Source(path, tuple({"t": t, "c": c}[axis] for axis in at_once))
                for t in range(sizes.get("t", 1))
            },
            n_z=sizes.get("z", 1),
            dense=len(names) > 1,
            file_pattern=path.replace("{", "{{").replace("}", "}}"),
        )
        for c, name in enumerate(names)
    }
    pixel_size_um, interval = _scale(scales, level)
    return FoundPosition(_name(folder), channels, pixel_size_um, interval, folder)


def _axis_name(axis: Any) -> str:
    return str(axis["name"] if isinstance(axis, Mapping) else axis).lower()


def _name(folder: str) -> str:
    return "_".join(part.removesuffix(".zarr").removesuffix(".ome") for part in PurePosixPath(folder).parts)


def _channel_names(ngff: Mapping[str, Any], n_channels: int, hints: Hints) -> list[str]:
    labels = [str(channel.get("label", "")) for channel in ngff.get("omero", {}).get("channels", [])]
    if len(labels) == n_channels and all(labels) and len(set(labels)) == n_channels:
        return labels
    return (
        list(hints.channels) if len(hints.channels) == n_channels else [f"ch{c}" for c in range(n_channels)]
    )


def _scale(
    scales: Mapping[str, Any], level: Mapping[str, Any]
) -> tuple[tuple[float, float] | None, float | None]:
    """Pixel size (y, x) in µm and interval in s, where factor and unit are said."""
    factors = np.ones(len(scales["axes"]))
    said = False
    for transform in (
        *level.get("coordinateTransformations", ()),
        *scales.get("coordinateTransformations", ()),
    ):
        if transform.get("type") == "scale":
            factors = factors * np.asarray(transform["scale"], dtype=float)
            said = True
    size: dict[str, float] = {}
    for axis, factor in zip(scales["axes"], factors, strict=True):
        unit = str(axis.get("unit", "")) if isinstance(axis, Mapping) else ""
        per = (S_PER if _axis_name(axis) == "t" else UM_PER).get(unit) if unit else None
        if said and per and factor > 0:
            size[_axis_name(axis)] = float(factor) * per
    return (size["y"], size["x"]) if {"y", "x"} <= set(size) else None, size.get("t")


def _array(path: str) -> zarr.Array[Any]:
    """An array, opened once a process for each version of its metadata."""
    for name in ("zarr.json", ".zarray"):
        try:
            return _open(path, (Path(path) / name).stat().st_mtime_ns)
        except FileNotFoundError:
            continue
    raise DatasetError(f"{path} is missing, or no zarr array", "copy the image again")


@lru_cache(maxsize=64)
def _open(path: str, mtime_ns: int) -> zarr.Array[Any]:
    del mtime_ns  # of the key alone: an array made anew under the same path is another one
    return zarr.open_array(path, mode="r")


def read(root: Path, source: Source, z_projection: str | None) -> NDArray[Any]:
    """One frame of one channel, (Y, X), in native byte order.

    Raises
    ------
    DatasetError
        The array is missing or damaged, or a stack without a projection.
    """
    path = root / source.file
    try:
        pixels = np.asarray(_array(str(path))[source.index])
    except DatasetError:
        raise
    except Exception as error:  # stores and codecs raise nearly anything on damaged chunks
        raise DatasetError(
            f"{path} at {source.index} cannot be decoded: {error}", "copy the image again"
        ) from error
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    planes = [pixels] if pixels.ndim == 2 else list(pixels)
    return project_z(planes, z_projection, f"{path} at {source.index}")


def lost_chunks(root: Path, source: Source) -> list[str]:
    """Chunk or shard files of a frame that are not there: zarr reads them as the fill value, silently."""
    array = _array(str(root / source.file))
    grid = array.shards or array.chunks
    lead = [(i // n,) for i, n in zip(source.index, grid, strict=False)]
    rest = [
        tuple(range(-(-size // n)))
        for size, n in zip(array.shape[len(lead) :], grid[len(lead) :], strict=True)
    ]
    keys = (array.metadata.encode_chunk_key(place) for place in product(*lead, *rest))
    return [f"{source.file}/{key}" for key in keys if not (root / source.file / key).is_file()]
