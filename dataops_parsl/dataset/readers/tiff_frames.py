"""One TIFF file per frame per channel, found by the pattern of their names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tifffile
from numpy.typing import NDArray

from dataops_parsl.dataset.readers.base import FoundChannel, FoundPosition, Hints, Source
from dataops_parsl.dataset.readers.patterns import Match, Pattern, propose_pattern
from dataops_parsl.dataset.readers.tiff import TiffMetadata, is_tiff, read_metadata, read_pages
from dataops_parsl.errors import DatasetError

NAME = "tiff-frames"
LOOKS_FOR = "one TIFF per frame per channel, such as {position}/{channel}/im_{frame:05d}.tif"
DEFAULT_POSITION = "P1"
DEFAULT_CHANNEL = "ch0"


def scan(root: Path, files: Sequence[str], hints: Hints) -> list[FoundPosition]:
    """Positions of the files that fit the pattern; one file of each channel is opened.

    Raises
    ------
    DatasetError
        No pattern, none that fits, or two files for the same frame.
    """
    tiffs = [file for file in files if is_tiff(file)]
    text = hints.pattern or propose_pattern(tiffs)
    if text is None:
        raise DatasetError(
            f"{root}: no pattern fits file names such as {tiffs[0] if tiffs else '(no TIFF file)'}",
            'give one in dataset.toml: pattern = "{position}/{channel}/im_{frame:05d}.tif"',
        )
    pattern = Pattern(text, hints.channels)
    by_position: dict[str | None, dict[str | None, dict[int, Match]]] = {}
    for file in tiffs:
        match = pattern.match(file)
        if match is None or match.frame is None:
            continue
        frames = by_position.setdefault(match.position, {}).setdefault(match.channel, {})
        if match.frame in frames:
            twin = frames[match.frame].file
            raise DatasetError(f"{root}: {twin} and {file} are both frame {match.frame}", "keep one of them")
        frames[match.frame] = match
    if not by_position:
        raise DatasetError(
            f"{root}: none of {len(tiffs)} TIFF files fits the pattern {text!r}"
            + (f", the first is {tiffs[0]}" if tiffs else ""),
            "mend pattern in dataset.toml; it is relative to the folder taken in",
        )
    return [
        _position(root, pattern, name, channels) for name, channels in sorted(by_position.items(), key=str)
    ]


def _position(
    root: Path, pattern: Pattern, name: str | None, channels: dict[str | None, dict[int, Match]]
) -> FoundPosition:
    found: dict[str, FoundChannel] = {}
    said = TiffMetadata()
    for channel, matches in sorted(channels.items(), key=str):
        frames = {number: Source(match.file) for number, match in sorted(matches.items())}
        shape, dtype, n_z, says = _look(root / next(iter(frames.values())).file)
        if said == TiffMetadata():
            said = says
        expected = pattern.for_channel(name, channel)
        found[channel or DEFAULT_CHANNEL] = FoundChannel(shape, dtype, frames, n_z, file_pattern=expected)
    return FoundPosition(name or DEFAULT_POSITION, found, said.pixel_size_um, said.frame_interval_s)


def _look(path: Path) -> tuple[tuple[int, int], str, int, TiffMetadata]:
    """Size, dtype, planes and metadata of a file, its pixels untouched."""
    try:
        with tifffile.TiffFile(path) as tif:
            page = tif.pages.first
            y, x = page.shape[:2]
            colour = page.samplesperpixel > 1
            said = TiffMetadata() if colour else read_metadata(tif)
            return (int(y), int(x)), "RGB" if colour else str(page.dtype), len(tif.pages), said
    except Exception as error:  # decoders raise nearly anything on damaged files
        raise DatasetError(f"{path} is no readable TIFF file: {error}", "copy it again") from error


def read(root: Path, source: Source, z_projection: str | None) -> NDArray[Any]:
    """The frame in a file, (Y, X); the planes of a Z stack projected.

    Raises
    ------
    DatasetError
        The file is missing, damaged, truncated or in colour, or a stack without a projection.
    """
    return read_pages(root / source.file, source.index, z_projection)


def lost_chunks(root: Path, source: Source) -> list[str]:
    """None: what a TIFF file lacks cannot be decoded."""
    del root, source
    return []
