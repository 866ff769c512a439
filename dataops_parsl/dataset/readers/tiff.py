"""What the two TIFF readers share: decoding pages, and what the metadata of a file say."""

from __future__ import annotations

import json
import math
import re
import statistics
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile
from numpy.typing import NDArray

from dataops_parsl.dataset.readers.base import project_z
from dataops_parsl.errors import DatasetError

UM_PER = {"": 1.0, "µm": 1.0, "μm": 1.0, "um": 1.0, "micron": 1.0, "microns": 1.0, "\\u00b5m": 1.0,
          "micrometer": 1.0, "micrometre": 1.0, "nm": 1e-3, "nanometer": 1e-3, "mm": 1e3, "millimeter": 1e3,
          "cm": 1e4, "m": 1e6, "meter": 1e6}  # fmt: skip
S_PER = {"": 1.0, "s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3,
         "millisecond": 1e-3, "min": 60.0, "minute": 60.0, "minutes": 60.0, "h": 3600.0,
         "hour": 3600.0, "hours": 3600.0}  # fmt: skip
# bytes of a value by its type's number in the TIFF 6.0 and BigTIFF specifications
_BYTES_OF_TAG = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
TIFF_ENDINGS = (".tif", ".tiff", ".btf", ".tf8")


@dataclass(frozen=True)
class TiffMetadata:
    """What a file says of itself; null where it does not."""

    pixel_size_um: tuple[float, float] | None = None
    frame_interval_s: float | None = None
    channels: tuple[str, ...] = ()


def is_tiff(file: str) -> bool:
    """Whether a name ends like a TIFF file and is no hidden file."""
    return file.lower().endswith(TIFF_ENDINGS) and not file.rsplit("/", 1)[-1].startswith(".")


def read_pages(path: Path, index: Sequence[int], z_projection: str | None) -> NDArray[Any]:
    """Decode the planes of one frame, and project them.

    Parameters
    ----------
    path : Path
        A TIFF file.
    index : sequence of int
        Byte offsets of the pages' directories, so that no other page is touched; a negative number is
        minus the byte offset of raw pixels like those of the first page (ImageJ writes one directory for
        a stack over 4 GB). Empty: all pages of the file.
    z_projection : "max", "mean" or None
        For more than one plane.

    Returns
    -------
    (Y, X) ndarray
        In native byte order.

    Raises
    ------
    DatasetError
        The file is missing, damaged, truncated or in colour.
    """
    try:
        with tifffile.TiffFile(path) as tif:
            planes = (
                [_plane(tif, offset) for offset in index] if index else [_decode(tif, p) for p in tif.pages]
            )
    except FileNotFoundError as error:
        raise DatasetError(f"{path} is missing", "put the file back") from error
    except DatasetError:
        raise
    except Exception as error:  # a damaged file makes decoders raise nearly anything; all mean the same here
        raise DatasetError(
            f"{path} cannot be decoded: {_words(error)}", "the file is damaged: copy it again"
        ) from error
    return project_z(planes, z_projection, str(path))


def _plane(tif: tifffile.TiffFile, offset: int) -> NDArray[Any]:
    if offset >= 0:
        tif.filehandle.seek(offset)
        return _decode(tif, tifffile.TiffPage(tif, index=0))
    page = tif.pages.first
    _check_size(tif, [-offset], [page.nbytes])
    tif.filehandle.seek(-offset)
    raw = np.frombuffer(tif.filehandle.read(page.nbytes), dtype=np.dtype(tif.byteorder + page.dtype.char))
    return raw.reshape(page.shape).astype(page.dtype)


def _decode(tif: tifffile.TiffFile, page: Any) -> NDArray[Any]:
    if page.samplesperpixel != 1 or len(page.shape) != 2:
        raise DatasetError(
            f"{tif.filehandle.path} is a colour (RGB) image of shape {tuple(page.shape)}",
            "export the channels as grey images of the acquired counts, not as a coloured overlay",
        )
    _check_size(tif, page.dataoffsets, page.databytecounts)
    pixels = np.asarray(page.asarray())
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)


def _check_size(tif: tifffile.TiffFile, offsets: Sequence[int], counts: Sequence[int]) -> None:
    """A strip that is not there would be read as zeros."""
    have = tif.filehandle.size
    need = max((o + n for o, n in zip(offsets, counts, strict=True)), default=0)
    if not offsets or min(offsets) <= 0 or min(counts) <= 0 or need > have:
        raise DatasetError(
            f"{tif.filehandle.path} is truncated: its pixels end at byte {need}, the file at byte {have}",
            "copy the file again",
        )


def refuse_truncated(path: Path) -> None:
    """Follow a file's chain of page directories, which decoders silently give up where it leaves the file.

    Raises
    ------
    DatasetError
        A directory or what it points at (OME-XML, say) lies beyond the file's end, or the file has fewer
        planes than ImageJ wrote into it.
    OSError, ValueError, struct.error
        It is no TIFF file.
    """
    size = path.stat().st_size
    with tifffile.TiffFile(path) as tif:
        n_pages, end = _follow_pages(tif)
        page = tif.pages.first
        said = re.match(r"ImageJ=.*?^images=(\d+)", page.description, re.DOTALL | re.MULTILINE)
        if said and n_pages == 1:
            end = max(end, page.dataoffsets[0] + int(said[1]) * page.nbytes)
    if end > size or (said and 1 < n_pages < int(said[1])):
        raise DatasetError(
            f"{path} is truncated: it needs {end} bytes and has {size}, or lacks pages ({n_pages} are there)",
            "copy it again from the microscope",
        )


def _follow_pages(tif: tifffile.TiffFile) -> tuple[int, int]:
    """Number of page directories, and the last byte that they or the values of their tags need."""
    form, file = tif.tiff, tif.filehandle
    entry = struct.Struct(form.byteorder + ("HHQQ" if form.is_bigtiff else "HHII"))
    file.seek(8 if form.is_bigtiff else 4)
    (offset,) = struct.unpack(form.offsetformat, file.read(form.offsetsize))
    seen: set[int] = set()
    end = 0
    while offset and offset not in seen:
        file.seek(offset)
        head = file.read(form.tagnosize)
        n_tags = struct.unpack(form.tagnoformat, head)[0] if len(head) == form.tagnosize else 0
        table = file.read(n_tags * form.tagsize + form.offsetsize)
        end = max(end, offset + form.tagnosize + n_tags * form.tagsize + form.offsetsize)
        if end > file.size:
            break
        for _, kind, count, value in entry.iter_unpack(table[: -form.offsetsize]):
            n_bytes = count * _BYTES_OF_TAG.get(kind, 1)
            if n_bytes > form.offsetsize:
                end = max(end, value + n_bytes)
        seen.add(offset)
        (offset,) = struct.unpack(form.offsetformat, table[-form.offsetsize :])
    return len(seen), end


def _words(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def read_metadata(tif: tifffile.TiffFile) -> TiffMetadata:
    """Pixel size, interval and channel names from OME-XML, ImageJ's or Micro-Manager's own metadata.

    The plain TIFF resolution is not believed: most programs write 72 dpi there.
    """
    if tif.is_ome and tif.ome_metadata:
        return _from_ome(tif.ome_metadata)
    if tif.is_imagej and tif.imagej_metadata:
        return _from_imagej(tif, tif.imagej_metadata)
    tag = tif.pages.first.tags.get(51123)
    if tag is not None:
        value = tag.value if isinstance(tag.value, dict) else json.loads(str(tag.value))
        size = _positive(value.get("PixelSizeUm"))
        interval = _positive(value.get("Interval_ms"))
        return TiffMetadata((size, size) if size else None, interval / 1e3 if interval else None)
    return TiffMetadata()


def _from_ome(xml: str) -> TiffMetadata:
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return TiffMetadata()
    pixels = root.find(".//{*}Pixels")
    if pixels is None:
        return TiffMetadata()
    sizes = []
    for axis in "YX":
        size = _positive(pixels.get(f"PhysicalSize{axis}"))
        unit = UM_PER.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        sizes.append(size * unit if size and unit else None)
    step = _positive(pixels.get("TimeIncrement"))
    per = S_PER.get(pixels.get("TimeIncrementUnit", "s"))
    interval = step * per if step and per else _interval_of_planes(pixels)
    names = tuple(channel.get("Name", "") for channel in pixels.findall("{*}Channel"))
    return TiffMetadata(_pair(sizes), interval, names if all(names) else ())


def _interval_of_planes(pixels: ElementTree.Element) -> float | None:
    """Median step of the planes' own time stamps."""
    times: dict[int, float] = {}
    for plane in pixels.findall("{*}Plane"):
        unit = S_PER.get(plane.get("DeltaTUnit", "s"))
        if plane.get("TheC") == "0" and plane.get("TheZ", "0") == "0" and plane.get("DeltaT") and unit:
            times[int(plane.get("TheT", "0"))] = float(plane.get("DeltaT", "nan")) * unit
    steps = [times[t + 1] - times[t] for t in sorted(times) if t + 1 in times]
    return _positive(statistics.median(steps)) if steps else None


def _from_imagej(tif: tifffile.TiffFile, said: dict[str, Any]) -> TiffMetadata:
    unit = UM_PER.get(str(said.get("unit", "none")).lower())
    sizes: list[float | None] = []
    for name in ("YResolution", "XResolution"):
        tag = tif.pages.first.tags.get(name)
        ratio = tag.value if tag is not None else (0, 1)
        # a rational cannot hold 1/0.65: what is left beyond 6 digits is rounding
        sizes.append(float(f"{ratio[1] / ratio[0] * unit:.6g}") if unit and ratio[0] else None)
    interval = _positive(said.get("finterval"))
    per = S_PER.get(str(said.get("tunit", "s")).lower())
    labels = said.get("Labels") or []
    n_channels = int(said.get("channels", 1))
    by_channel = [set(labels[c::n_channels]) for c in range(n_channels)]
    names = tuple(next(iter(found)) for found in by_channel if len(found) == 1)
    named = len(set(names)) == n_channels and all(names)
    return TiffMetadata(_pair(sizes), interval * per if interval and per else None, names if named else ())


def _pair(sizes: list[float | None]) -> tuple[float, float] | None:
    y, x = sizes
    return (y, x) if y and x else None


def _positive(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number > 0 else None
