"""What every reader gives: found positions, and one frame of one channel at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dataops_parsl.errors import DatasetError


@dataclass(frozen=True, slots=True)
class Source:
    """Where the pixels of one frame of one channel lie.

    Attributes
    ----------
    file : str
        Path below the dataset's folder, with ``/``.
    index : tuple of int
        Where in it; what the numbers mean is the reader's business.
    """

    file: str
    index: tuple[int, ...] = ()


@dataclass(frozen=True)
class FoundChannel:
    """A channel of a position, as its files say.

    Attributes
    ----------
    shape_px : (int, int)
        (Y, X).
    dtype : str
        numpy's name.
    frames : mapping
        Number of the frame in the files to its source.
    n_z : int
        Planes of a frame.
    dense : bool
        The channel shares a time axis with the others, so that frames in which it was not acquired are
        there all the same, as zeros.
    file_pattern : str
        A format string that names the file of a ``frame``, or the file that holds all.
    """

    shape_px: tuple[int, int]
    dtype: str
    frames: Mapping[int, Source]
    n_z: int = 1
    dense: bool = False
    file_pattern: str = ""

    def file_of(self, frame: int) -> str:
        """The file in which a frame is expected."""
        return self.file_pattern.format(frame=frame)


@dataclass(frozen=True)
class FoundPosition:
    """A field of view, as its files say; null where they do not.

    Attributes
    ----------
    folder : str
        A folder that belongs to the position whole (an OME-Zarr image), else empty.
    """

    name: str
    channels: Mapping[str, FoundChannel]
    pixel_size_um: tuple[float, float] | None = None
    frame_interval_s: float | None = None
    folder: str = ""


@dataclass(frozen=True)
class Hints:
    """What is known before the files are read."""

    pattern: str | None = None
    axes: str = "TCYX"
    channels: tuple[str, ...] = field(default=())


class Reader(Protocol):
    """One file format; each is a module of this package."""

    NAME: str
    LOOKS_FOR: str

    def scan(self, root: Path, files: Sequence[str], hints: Hints) -> list[FoundPosition]:
        """Find the positions in `files` (paths below `root`); reads metadata only."""

    def read(self, root: Path, source: Source, z_projection: str | None) -> NDArray[Any]:
        """One frame of one channel, (Y, X)."""

    def lost_chunks(self, root: Path, source: Source) -> list[str]:
        """Files whose absence reads as zeros."""


def project_z(planes: Sequence[NDArray[Any]], z_projection: str | None, where: str) -> NDArray[Any]:
    """Make one image of the planes of a Z stack.

    Parameters
    ----------
    planes : sequence of (Y, X) arrays
        Equal in shape and dtype.
    z_projection : "max", "mean" or None
        The mean is rounded half to even where the dtype is an integer.

    Raises
    ------
    DatasetError
        There are several planes and no projection, or planes that differ in size or dtype.
    """
    if len({(plane.shape, plane.dtype.str) for plane in planes}) > 1:
        raise DatasetError(f"{where}: its planes differ in size or dtype", "export the file again")
    if len(planes) == 1:
        return planes[0]
    if z_projection is None:
        raise DatasetError(
            f"{where} holds {len(planes)} planes where one image is expected",
            'for a Z stack choose a projection: --z-projection max, or z_projection = "max" in dataset.toml',
        )
    stack = np.stack(planes)
    if z_projection == "max":
        return np.asarray(stack.max(axis=0))
    mean = stack.mean(axis=0, dtype=np.float64)
    return np.asarray(np.rint(mean) if stack.dtype.kind in "iu" else mean, dtype=stack.dtype)
