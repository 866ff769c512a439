"""A dataset as it is read at run time: what ``dataset add`` found, checked and wrote down.

::

    <name>/
      dataset.toml  plate.csv        writable: words, not pixels
      manifest.json                  what the dataset is, and its positions; small
      manifest/<position>.json       frames, time stamps and checksums of one position
      manifest_files.json            size and sha256 of every data file
      …                              the data files as they lay in the source (none when linked)
      appended-1/                    what `dataset add --append` took in: data files, and under manifest/ and
                                     manifest_files.json the records that count from then on

``manifest.json`` names the records and the list of files that count; it is replaced last, by one rename.
What it alone named before is then removed, and a reader that comes too late looks at that of now:
a frame that was taken in stays the same whatever is appended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataops_parsl.dataset.description import FILE_NAME, DatasetDescription, load_description
from dataops_parsl.dataset.digest import pixels_digest
from dataops_parsl.dataset.plate import PlateRow, read_plate
from dataops_parsl.dataset.readers import READERS, Source
from dataops_parsl.dataset.record import APPENDED_FORMAT, FORMAT, MANIFEST, read_json, record_of
from dataops_parsl.errors import DatasetError, nearest


@dataclass(frozen=True)
class Position:
    """A field of view. Its record is loaded when first asked for.

    Attributes
    ----------
    id : str
        Its name.
    n_frames : int
        Frames, excluded ones and those that only some channels have counted.
    shape_px : (int, int)
        (Y, X).
    plate : PlateRow
        Well, condition, control, replicate and E:T ratio.
    """

    id: str
    n_frames: int
    shape_px: tuple[int, int]
    plate: PlateRow
    z_projection: str | None
    root: Path
    data: Path
    reader: str
    record: str

    @cached_property
    def _record(self) -> dict[str, Any]:
        def of_now(manifest: Mapping[str, Any]) -> str:
            return next(
                (record_of(row) for row in manifest["positions"] if row["id"] == self.id), self.record
            )

        return _read_own(self.root, self.record, of_now)

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels."""
        return tuple(self._record["channels"])

    @property
    def times(self) -> tuple[float, ...]:
        """Time stamp of each frame, s."""
        return tuple(self._record["time_s"][: self.n_frames])

    @property
    def sample_frames(self) -> tuple[int, ...]:
        """Up to 8 frames, spread over the film as it was first taken in; they never change."""
        return tuple(self._record["sample_frames"])

    @cached_property
    def excluded(self) -> dict[int, str]:
        """Frames left out, with the reason."""
        return {int(frame): reason for frame, reason in self._record["excluded"].items()}

    def dtype(self, channel: str) -> np.dtype[Any]:
        """The dtype of a channel's frames."""
        self._frames(channel)
        name: str = self._record["dtypes"][channel]
        return np.dtype(name)

    def raw_digest(self, channel: str, frame: int) -> str | None:
        """Checksum of a frame's pixels; None where it was not acquired or is excluded."""
        entry = self._entry(channel, frame)
        return None if entry is None else str(entry["sha"])

    def file(self, channel: str, frame: int) -> str | None:
        """The file or folder that holds a frame, below the data folder; None where there is no frame."""
        source = self.source(channel, frame)
        return None if source is None else source.file

    def source(self, channel: str, frame: int) -> Source | None:
        """Where a frame's pixels lie; None where there is no frame."""
        entry = self._entry(channel, frame)
        return None if entry is None else Source(entry["file"], tuple(entry.get("index", ())))

    def read(self, channel: str, frame: int) -> NDArray[Any] | None:
        """The acquired pixels of a frame.

        Returns
        -------
        (Y, X) ndarray of the acquired dtype, or None
            None where it was not acquired or is excluded.

        Raises
        ------
        DatasetError
            The channel or frame is not there, or its pixels are gone or not those that were taken in.
        """
        source, digest = self.source(channel, frame), self.raw_digest(channel, frame)
        if source is None:
            return None
        try:
            return self._checked(source, digest, f"position {self.id}, channel {channel}, frame {frame}")
        except DatasetError:
            if (now := self._grown()) is None:
                raise
            return now.read(channel, frame)

    def _checked(self, source: Source, digest: str | None, what: str) -> NDArray[Any]:
        where = f"{what} ({self.data / source.file})"
        try:
            pixels = READERS[self.reader].read(self.data, source, self.z_projection)
        except DatasetError as error:
            raise DatasetError(f"{where} cannot be read: {error.message}", error.remedy) from error
        if pixels_digest(pixels) != digest:
            raise DatasetError(
                f"{where} was changed since it was taken in: its checksum is another one",
                "put the file back as it was ('dataset verify' lists all that changed), or add the data anew",
            )
        return pixels

    def _grown(self) -> Position | None:
        """This position as it is now, where its film has grown since it was opened."""
        with suppress(DatasetError):
            now = Dataset.open(self.root).positions.get(self.id)
            return now if now is not None and now.record != self.record else None
        return None

    def _entry(self, channel: str, frame: int) -> dict[str, Any] | None:
        frames = self._frames(channel)
        if not 0 <= frame < len(frames):
            raise DatasetError(
                f"position {self.id} has no frame {frame}", f"frames are 0 to {len(frames) - 1}"
            )
        return frames[frame]

    def _frames(self, channel: str) -> list[dict[str, Any] | None]:
        channels: dict[str, list[dict[str, Any] | None]] = self._record["channels"]
        if channel not in channels:
            known = ", ".join(channels)
            raise DatasetError(
                f"position {self.id} has no channel {channel!r}{nearest(channel, channels)}", f"use {known}"
            )
        return channels[channel]


@dataclass(frozen=True)
class Dataset:
    """An input snapshot: read-only pixels with checksums, and a description in words.

    Attributes
    ----------
    root : Path
        Its folder.
    name : str
    reader : str
        The file format.
    fingerprint : str
        Sha256 of what was acquired.
    pixel_size_um : (float, float)
        y, x.
    channels : tuple of str
    description : DatasetDescription
        ``dataset.toml`` as it is now.
    positions : mapping of str to Position
        In the order of their names.
    link : Path or None
        Where the data files are, when they were not copied.
    record : mapping
        The whole of ``manifest.json``.
    """

    root: Path
    name: str
    reader: str
    fingerprint: str
    pixel_size_um: tuple[float, float]
    channels: tuple[str, ...]
    description: DatasetDescription
    positions: Mapping[str, Position]
    link: Path | None
    record: Mapping[str, Any]

    @classmethod
    def open(cls, path: str | Path) -> Dataset:
        """Read a dataset's folder; the positions' own records stay unread until they are used.

        Raises
        ------
        DatasetError
            There is none, it was never taken in, it is of a newer format, or ``dataset.toml`` contradicts
            what was acquired.
        """
        root = Path(path)
        if not root.is_dir():
            raise DatasetError(f"there is no dataset at {root}", "'dataset list' shows those that are there")
        if not (root / MANIFEST).is_file():
            raise DatasetError(
                f"{root} has no {MANIFEST}: it was never taken in",
                f"'dataset add {root} --name NAME' copies it in, with --link it stays where it is",
            )
        record = read_json(root / MANIFEST)
        if record.get("format") not in (FORMAT, APPENDED_FORMAT):
            raise DatasetError(
                f"{root / MANIFEST} is of format {record.get('format')}, this version reads "
                f"{FORMAT} and {APPENDED_FORMAT}",
                "use the version of the program that wrote it, or a newer one",
            )
        description = load_description(root / FILE_NAME)
        link = Path(record["link"]) if record["link"] else None
        size_y, size_x = record["pixel_size_um"]
        dataset = cls(
            root=root,
            name=record["name"],
            reader=record["reader"],
            fingerprint=record["fingerprint"],
            pixel_size_um=(size_y, size_x),
            channels=tuple(record["channels"]),
            description=description,
            positions=_positions(root, record, description, link or root),
            link=link,
            record=record,
        )
        dataset._agree()
        return dataset

    def position(self, name: str) -> Position:
        """A position by name.

        Raises
        ------
        DatasetError
            There is none of that name.
        """
        if name not in self.positions:
            known = ", ".join(self.positions)
            raise DatasetError(
                f"dataset {self.name} has no position {name!r}{nearest(name, self.positions)}", f"use {known}"
            )
        return self.positions[name]

    @property
    def data(self) -> Path:
        """The folder that the data files lie in."""
        return self.link or self.root

    @property
    def n_appended(self) -> int:
        """How many times frames were appended."""
        return len(self.record.get("appended", ()))

    @property
    def notes(self) -> tuple[str, ...]:
        """What was noticed when it was taken in."""
        return tuple(self.record["notes"])

    @cached_property
    def files(self) -> dict[str, dict[str, Any]]:
        """Size and sha256 of every data file, by its path below :attr:`data`."""
        own: str = self.record["files"]["path"]
        found: dict[str, dict[str, Any]] = _read_own(self.root, own, lambda now: now["files"]["path"])[
            "files"
        ]
        return found

    def _agree(self) -> None:
        """``dataset.toml`` may be edited, but not what is part of the fingerprint."""
        said = self.description
        fixed = {
            "pixel_size_um": (tuple(said.pixel_size_um), self.pixel_size_um),
            "channels": (tuple(sorted(said.channels)), tuple(sorted(self.channels))),
            "frame_interval_s": (said.frame_interval_s, self.record["frame_interval_s"]),
            "z_projection": (said.z_projection, self.record["z_projection"]),
        }
        for key, (now, then) in fixed.items():
            if now != then:
                raise DatasetError(
                    f"{self.root / FILE_NAME}: {key} is {now}, but the data were taken in with {then}",
                    "put the old value back, or add the data anew under another name",
                )


def _positions(
    root: Path, record: Mapping[str, Any], description: DatasetDescription, data: Path
) -> dict[str, Position]:
    rows = {str(row["id"]): row for row in record["positions"]}
    plate = read_plate(root / description.plate, rows) if description.plate else {}
    return {
        name: Position(
            id=name,
            n_frames=row["n_frames"],
            shape_px=(row["shape_px"][0], row["shape_px"][1]),
            plate=plate.get(name) or PlateRow(**row.get("plate", {})),
            z_projection=record["z_projection"],
            root=root,
            data=data,
            reader=record["reader"],
            record=record_of(row),
        )
        for name, row in rows.items()
    }


def _read_own(root: Path, file: str, of_now: Callable[[Mapping[str, Any]], str]) -> dict[str, Any]:
    """Read a record that the manifest named when it was read, or the one in its place since."""
    try:
        return read_json(root / file)
    except DatasetError:
        now = of_now(read_json(root / MANIFEST))
        if now == file:
            raise
        return _read_own(root, now, of_now)
