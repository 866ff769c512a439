"""Multi-page TIFF, OME-TIFF and ImageJ hyperstacks: many frames, and often all channels, in one file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from dataops_parsl.dataset.readers.base import FoundChannel, FoundPosition, Hints, Source
from dataops_parsl.dataset.readers.patterns import Pattern
from dataops_parsl.dataset.readers.tiff import (
    TiffMetadata,
    is_tiff,
    read_metadata,
    read_pages,
    refuse_truncated,
)
from dataops_parsl.errors import DatasetError

NAME = "tiff-pages"
LOOKS_FOR = "multi-page TIFF, OME-TIFF or an ImageJ hyperstack, one file a position"


@dataclass(frozen=True)
class _Series:
    """One film of a file: where each plane is, (T, C, Z)."""

    planes: NDArray[Any]
    shape_px: tuple[int, int]
    dtype: str
    said: TiffMetadata
    file: str


def is_film(path: Path, n_files: int) -> bool:
    """Whether a file holds several time points or channels.

    Pages of unknown meaning count as time points when they are more than the files beside them: of one
    file per frame they would be the planes of a Z stack.
    """
    try:
        with tifffile.TiffFile(path) as tif:
            series = tif.series[0]
            sizes = dict(zip(series.axes, series.shape, strict=True))
            named = any(n > 1 for axis, n in sizes.items() if axis not in "YXZSIQ")
            return named or any(n > n_files for axis, n in sizes.items() if axis in "IQ")
    except Exception:  # decoders raise nearly anything on damaged files; scan names the file
        return False


def scan(root: Path, files: Sequence[str], hints: Hints) -> list[FoundPosition]:
    """Positions of the files; directories of pages are read, pixels not.

    With a pattern that has ``{channel}``, each file is one channel. Without one, a file is a position.

    Raises
    ------
    DatasetError
        A file is damaged, truncated or in colour, or axes that are not understood.
    """
    tiffs = [file for file in files if is_tiff(file)]
    pattern = Pattern(hints.pattern, hints.channels) if hints.pattern else None
    merged: dict[str, FoundPosition] = {}
    covered: set[str] = set()
    for file in tiffs:
        if file in covered:
            continue
        match = pattern.match(file) if pattern else None
        if pattern is not None and match is None:
            continue
        one_channel = (match.channel or "") if match else ""
        for name, series in _series_of(root, file, hints, match.position if match else None):
            covered |= {source.file for source in series.planes.flat if source is not None}
            position = _position(name, series, hints, one_channel)
            other = merged.get(name)
            if other is not None and (not one_channel or one_channel in other.channels):
                raise DatasetError(
                    f"{root}: two files hold position {name!r}, one is {file}", "take them in separately"
                )
            if other is not None:
                position = FoundPosition(
                    name,
                    {**other.channels, **position.channels},
                    other.pixel_size_um or position.pixel_size_um,
                    other.frame_interval_s or position.frame_interval_s,
                )
            merged[name] = position
    if not merged:
        raise DatasetError(
            f"{root}: none of {len(tiffs)} TIFF files fits the pattern {hints.pattern!r}",
            "mend pattern in dataset.toml",
        )
    return list(merged.values())


def _series_of(root: Path, file: str, hints: Hints, position: str | None) -> list[tuple[str, _Series]]:
    path = root / file
    try:
        refuse_truncated(path)
        with tifffile.TiffFile(path) as tif:
            said = read_metadata(tif)
            stem = position or _stem(file)
            many = len(tif.series) > 1
            return [
                (f"{stem}_s{i}" if many else stem, _read_series(root, file, tif, series, said, hints))
                for i, series in enumerate(tif.series)
            ]
    except DatasetError:
        raise
    except Exception as error:  # decoders raise nearly anything on damaged files
        raise DatasetError(
            f"{path} is no readable TIFF file, or it is truncated: {error}",
            "copy it again from the microscope",
        ) from error


def _stem(file: str) -> str:
    """``day 1/P1.ome.tif`` is ``day 1/P1``."""
    path = PurePosixPath(file)
    stem = path.name.rpartition(".")[0]
    return path.with_name(stem.removesuffix(".ome")).as_posix()


def _read_series(
    root: Path, file: str, tif: tifffile.TiffFile, series: Any, said: TiffMetadata, hints: Hints
) -> _Series:
    page = series.keyframe
    if page.samplesperpixel != 1 or "S" in series.axes:
        raise DatasetError(
            f"{root / file} is a colour (RGB) image",
            "export the channels as grey images of the acquired counts",
        )
    sizes = _sizes(root / file, series, hints)
    lead = [axis for axis in sizes if axis not in "YX"]
    n_planes = prod(sizes[axis] for axis in lead)
    sources = _plane_sources(root, file, tif, series, n_planes)
    grid: NDArray[Any] = np.empty(n_planes, dtype=object)
    grid[:] = sources
    grid = grid.reshape([sizes[axis] for axis in lead])
    order = [lead.index(axis) for axis in "TCZ" if axis in lead]
    grid = grid.transpose(order).reshape([sizes.get(axis, 1) for axis in "TCZ"])
    return _Series(grid, (int(page.shape[0]), int(page.shape[1])), np.dtype(series.dtype).name, said, file)


def _sizes(path: Path, series: Any, hints: Hints) -> dict[str, int]:
    """Axis to size, in the file's order; pages of unknown meaning are split as ``axes`` says."""
    axes, shape = str(series.axes), [int(n) for n in series.shape]
    leading, sizes = axes[:-2], shape[:-2]
    if axes[-2:] != "YX" or set(leading) - set("TCZIQ"):
        raise DatasetError(
            f"{path} has axes {axes}, and only T, C, Z, Y, X are understood", "export it as OME-TIFF"
        )
    unknown = [axis for axis in leading if axis in "IQ"]
    if not unknown:
        return dict(zip(axes, shape, strict=True))
    said = hints.axes[:-2]
    if len(unknown) == len(leading) == len(said) and len(said) > 1:
        return {**dict(zip(said, sizes, strict=True)), "Y": shape[-2], "X": shape[-1]}
    if len(unknown) > 1:
        raise DatasetError(
            f"{path} has {len(leading)} axes before Y and X that it does not name",
            'name them in dataset.toml: axes = "TCYX"',
        )
    n_channels = max(1, len(hints.channels)) if "C" in said and "C" not in leading else 1
    here = dict(zip(leading, sizes, strict=True))
    n_pages = here.pop(unknown[0])
    if hints.pattern is not None or n_channels == 1:
        return {**{"T" if axis in "IQ" else axis: n for axis, n in zip(axes, shape, strict=True)}}
    if here or set(said) != {"T", "C"} or n_pages % n_channels:
        raise DatasetError(
            f"{path} has {n_pages} unnamed pages, not {n_channels} channels times frames ({hints.axes})",
            "export it as OME-TIFF, or mend axes and channels in dataset.toml",
        )
    split = {"T": n_pages // n_channels, "C": n_channels}
    return {**{axis: split[axis] for axis in said}, "Y": shape[-2], "X": shape[-1]}


def _plane_sources(
    root: Path, file: str, tif: tifffile.TiffFile, series: Any, n_planes: int
) -> list[Source | None]:
    pages = list(series.pages)
    if len(pages) == n_planes:
        return [
            None if page is None else Source(_file_of(root, file, page), (page.offset,)) for page in pages
        ]
    first = tif.pages.first
    end = first.dataoffsets[0] + n_planes * first.nbytes
    if len(pages) == 1 and series.dataoffset is not None and end <= tif.filehandle.size:
        return [Source(file, (-(first.dataoffsets[0] + k * first.nbytes),)) for k in range(n_planes)]
    raise DatasetError(
        f"{root / file} is truncated: it says that it has {n_planes} planes, and {len(pages)} are there",
        "copy it again from the microscope",
    )


def _file_of(root: Path, file: str, page: Any) -> str:
    """The file of a page: an OME-TIFF may be spread over several."""
    name = page.parent.filehandle.name
    return (PurePosixPath(file).parent / name).as_posix() if name != PurePosixPath(file).name else file


def _position(name: str, series: _Series, hints: Hints, one_channel: str) -> FoundPosition:
    n_times, n_channels, n_z = series.planes.shape
    if one_channel and n_channels > 1:
        raise DatasetError(
            f"{series.file} holds {n_channels} channels, and by the pattern it is {one_channel!r} alone",
            "drop {channel} from pattern in dataset.toml",
        )
    names: Sequence[str] = (one_channel,) if one_channel else series.said.channels
    if len(names) != n_channels or len(set(names)) != n_channels:
        declared = len(hints.channels) == n_channels
        names = hints.channels if declared else [f"ch{c}" for c in range(n_channels)]
    channels = {}
    for c, channel in enumerate(names):
        frames = {}
        for t in range(n_times):
            sources = [source for source in series.planes[t, c] if source is not None]
            if len(sources) == n_z and len({source.file for source in sources}) == 1:
                frames[t] = Source(sources[0].file, tuple(i for source in sources for i in source.index))
        channels[channel] = FoundChannel(
            series.shape_px, series.dtype, frames, n_z, dense=n_channels > 1,
            file_pattern=series.file.replace("{", "{{").replace("}", "}}"),
        )  # fmt: skip
    return FoundPosition(name, channels, series.said.pixel_size_um, series.said.frame_interval_s)


def read(root: Path, source: Source, z_projection: str | None) -> NDArray[Any]:
    """One frame of one channel, (Y, X); only its own pages are opened.

    Raises
    ------
    DatasetError
        The file is missing, damaged or truncated, or a stack without a projection.
    """
    return read_pages(root / source.file, source.index, z_projection)


def lost_chunks(root: Path, source: Source) -> list[str]:
    """None: what a TIFF file lacks cannot be decoded."""
    del root, source
    return []
