"""The two CSV files beside a film: ``plate.csv`` (what was done to each position) and ``times.csv``."""

from __future__ import annotations

import csv
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dataops_parsl.dataset.names import safe_name
from dataops_parsl.errors import DatasetError, nearest

PLATE_COLUMNS = ("position", "well", "condition", "control", "replicate", "e_to_t")


@dataclass(frozen=True)
class PlateRow:
    """What was done to a position; null where it was not said.

    Attributes
    ----------
    e_to_t : float or None
        Effector cells per target cell, as seeded.
    """

    well: str | None = None
    condition: str | None = None
    control: str | None = None
    replicate: str | None = None
    e_to_t: float | None = None


@dataclass(frozen=True)
class Times:
    """Time stamps, and in which frames each channel was acquired, by position (None: for all)."""

    time_s: Mapping[str | None, Mapping[int, float]]
    acquired: Mapping[str, Mapping[str | None, frozenset[int]]] = field(default_factory=dict)

    def of(self, position: str, n_frames: int, where: str) -> list[float]:
        """The time stamps of a position's frames, in s.

        Raises
        ------
        DatasetError
            A frame has none, or time does not advance.
        """
        stamps = self.time_s.get(position, self.time_s.get(None, {}))
        for frame in range(n_frames):
            if frame not in stamps:
                raise DatasetError(
                    f"{where} has no time for position {position}, frame {frame}", "add the row"
                )
            if frame and stamps[frame] <= stamps[frame - 1]:
                raise DatasetError(
                    f"{where}: position {position}, frame {frame} is not later than the frame before it",
                    "put the acquisition times in seconds",
                )
        return [stamps[frame] for frame in range(n_frames)]

    def acquired_in(self, channel: str, position: str) -> frozenset[int] | None:
        """The frames in which a channel was acquired, or None where no column says so."""
        by_position = self.acquired.get(channel)
        return None if by_position is None else by_position.get(position, by_position.get(None, frozenset()))


def read_plate(path: Path, positions: Collection[str]) -> dict[str, PlateRow]:
    """Read ``plate.csv``; positions without a row are absent.

    Raises
    ------
    DatasetError
        Not readable, an unknown column, an unknown or repeated position, an e_to_t that is no ratio.
    """
    plate: dict[str, PlateRow] = {}
    for line, row in _rows(path, required=("position",), known=PLATE_COLUMNS):
        name = safe_name(row["position"])
        where = f"{path}, line {line}"
        if name not in positions:
            raise DatasetError(f"{where}: no position {name!r}{nearest(name, positions)}", "mend the name")
        if name in plate:
            raise DatasetError(f"{where}: position {name!r} is there twice", "keep one row")
        words = {key: row.get(key) or None for key in ("well", "condition", "control", "replicate")}
        plate[name] = PlateRow(**words, e_to_t=_ratio(row.get("e_to_t", ""), where))
    return plate


def read_times(path: Path, channels: Collection[str]) -> Times:
    """Read ``times.csv``.

    Raises
    ------
    DatasetError
        Not readable, an unknown column, a frame or time that is no number, a repeated row.
    """
    known = ("position", "frame", "time_s", *channels)
    stamps: dict[str | None, dict[int, float]] = {}
    acquired: dict[str, dict[str | None, set[int]]] = {}
    for line, row in _rows(path, required=("frame", "time_s"), known=known):
        where = f"{path}, line {line}"
        position = safe_name(row["position"]) if row.get("position") else None
        try:
            frame, time_s = int(row["frame"]), float(row["time_s"])
        except ValueError as error:
            raise DatasetError(f"{where}: {error}", "frame is an integer from 0, time_s a number") from error
        if not math.isfinite(time_s) or frame < 0 or frame in stamps.get(position, {}):
            raise DatasetError(
                f"{where}: frame {frame} at {time_s} s is repeated or cannot be", "mend the row"
            )
        stamps.setdefault(position, {})[frame] = time_s
        for channel in channels:
            if channel in row:
                if row[channel] not in ("0", "1", ""):
                    raise DatasetError(
                        f"{where}: {channel} = {row[channel]!r}", "write 1 where acquired, else 0"
                    )
                frames = acquired.setdefault(channel, {}).setdefault(position, set())
                if row[channel] == "1":
                    frames.add(frame)
    return Times(stamps, {c: {p: frozenset(f) for p, f in by.items()} for c, by in acquired.items()})


def _rows(path: Path, required: tuple[str, ...], known: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read: {error}", "save it as CSV in UTF-8") from error
    lines = text.splitlines()
    # spreadsheets write semicolons where the comma is the decimal sign
    delimiter = ";" if lines and ";" in lines[0] else ","
    reader = csv.DictReader(lines, delimiter=delimiter)
    header = [name.strip() for name in reader.fieldnames or []]
    reader.fieldnames = header
    for name in required:
        if name not in header:
            raise DatasetError(
                f"{path} has no column {name!r}{nearest(name, header)}", f"columns: {', '.join(known)}"
            )
    for name in header:
        if name not in known:
            raise DatasetError(
                f"{path}: unknown column {name!r}{nearest(name, known)}", f"columns: {', '.join(known)}"
            )
    rows = []
    for row in reader:
        if None in row:
            raise DatasetError(f"{path}, line {reader.line_num}: more cells than columns", "mend the row")
        cells = {name: (value or "").strip() for name, value in row.items()}
        if any(cells.values()):
            rows.append((reader.line_num, cells))
    return rows


def _ratio(text: str, where: str) -> float | None:
    """``5``, ``0,5`` or ``5:1``."""
    if not text:
        return None
    try:
        effectors, _, targets = text.replace(",", ".").partition(":")
        value = float(effectors) / float(targets or 1)
        if value < 0 or not math.isfinite(value):
            raise ValueError(text)
    except (ValueError, ZeroDivisionError) as error:
        raise DatasetError(f"{where}: e_to_t {text!r} is no ratio", "write 5, 0.5 or 5:1") from error
    return value
