"""One module a file format; :func:`detect` says which of them a folder is for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from dataops_parsl.dataset.readers import ome_zarr, tiff_frames, tiff_pages
from dataops_parsl.dataset.readers.base import FoundChannel, FoundPosition, Hints, Reader, Source
from dataops_parsl.dataset.readers.patterns import Pattern, propose_pattern
from dataops_parsl.dataset.readers.tiff import is_tiff
from dataops_parsl.errors import DatasetError

__all__ = ["READERS", "FoundChannel", "FoundPosition", "Hints", "Reader", "Source", "detect"]

READERS: dict[str, Reader] = {
    tiff_frames.NAME: tiff_frames,
    tiff_pages.NAME: tiff_pages,
    ome_zarr.NAME: ome_zarr,
}


def detect(root: Path, files: Sequence[str], hints: Hints) -> Reader:
    """Choose the reader for `files`, paths below `root`.

    Raises
    ------
    DatasetError
        Nothing fits, or two formats do; the message lists what was looked for and what is there.
    """
    tiffs = [file for file in files if is_tiff(file)]
    zarr = ome_zarr.images(root, files)
    if zarr and tiffs:
        raise DatasetError(
            f"{root} holds OME-Zarr ({zarr[0]}) and TIFF files ({tiffs[0]})",
            "take one of them in, or each by itself",
        )
    if zarr:
        return READERS[ome_zarr.NAME]
    if not tiffs:
        looked = "\n".join(f"  - {reader.LOOKS_FOR}" for reader in READERS.values())
        endings = Counter(PurePosixPath(file).suffix or "(no ending)" for file in files)
        there = ", ".join(f"{n} {ending}" for ending, n in endings.most_common(8)) or "no file"
        raise DatasetError(
            f"{root} holds no film: looked for\n{looked}\nand found {there}",
            "export it from the microscope's program, or from Fiji (Bio-Formats), as OME-TIFF",
        )
    if hints.pattern is not None:
        return READERS[tiff_frames.NAME if "frame" in Pattern(hints.pattern).fields else tiff_pages.NAME]
    if tiff_pages.is_film(root / tiffs[0], len(tiffs)) or propose_pattern(tiffs) is None:
        return READERS[tiff_pages.NAME]
    return READERS[tiff_frames.NAME]
