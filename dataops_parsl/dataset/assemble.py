"""From what the files hold and what the description says to one film per position, or to an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataops_parsl.dataset.description import DatasetDescription
from dataops_parsl.dataset.names import check_position, safe_name
from dataops_parsl.dataset.plate import Times
from dataops_parsl.dataset.readers import FoundChannel, FoundPosition, Source
from dataops_parsl.errors import DatasetError, nearest

IMAGE_DTYPES = ("uint8", "uint16", "uint32", "int16", "int32", "float32", "float64")
LABEL_DTYPES = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64")
N_SAMPLE_FRAMES = 8
_MAX_NAMED = 20


@dataclass(frozen=True)
class Film:
    """One position, complete.

    Attributes
    ----------
    frames : mapping
        Channel to the source of each frame; None where not acquired or excluded.
    empty : mapping
        Channel to the frames in which it was not acquired, but in which the files hold zeros.
    sampled : sequence of int, optional
        The sample frames of the film before it grew.
    """

    name: str
    shape_px: tuple[int, int]
    n_frames: int
    dtypes: Mapping[str, str]
    time_s: Sequence[float]
    excluded: Mapping[int, str]
    frames: Mapping[str, Sequence[Source | None]]
    empty: Mapping[str, Mapping[int, Source]]
    folder: str
    sampled: Sequence[int] | None = None

    @property
    def sample_frames(self) -> list[int]:
        """Up to 8 frames, evenly spread over those that have most channels; those fixed before, if any."""
        if self.sampled is not None:
            return list(self.sampled)
        present = [
            sum(frames[t] is not None for frames in self.frames.values()) for t in range(self.n_frames)
        ]
        most = max(present)
        whole = [t for t, n in enumerate(present) if n == most and n]
        picks = np.linspace(0, len(whole) - 1, min(N_SAMPLE_FRAMES, len(whole)))
        return [whole[round(float(i))] for i in picks]


@dataclass(frozen=True)
class Assembled:
    """All positions, what was renamed (new name by the files' own), and what the user should know.

    `first_number` is that of frame 0 in the files.
    """

    films: list[Film]
    renamed: dict[str, str]
    first_number: int
    notes: list[str] = field(default_factory=list)


def assemble(
    found: Sequence[FoundPosition],
    said: DatasetDescription,
    exclude: Mapping[tuple[str, int], str],
    times: Times | None,
    where: str,
    first_number: int | None = None,
) -> Assembled:
    """Match files and description.

    Parameters
    ----------
    exclude : mapping
        (position, frame) to the reason.
    times : Times or None
        ``times.csv``, where there is one.
    where : str
        Names the source in errors.
    first_number : int, optional
        Of frame 0 in the files, where it is known: the dataset has frames already.

    Raises
    ------
    DatasetError
        A channel is missing, frames are missing or unequal, sizes differ, a dtype cannot be right, a Z
        stack has no projection; every such fault is named, up to twenty.
    """
    renamed: dict[str, str] = {}
    notes: list[str] = []
    problems: list[str] = []
    names = _names(found, renamed, where)
    taken = [_channels_of(position, said, renamed, notes, problems) for position in found]
    first = first_number
    if first is None:
        first = min((min(c.frames, default=0) for channels in taken for c in channels.values()), default=0)
        if first > 1:
            notes.append(f"file numbers start at {first}: taken as frame 0")
    result = Assembled([], renamed, first, notes)
    for position, name, channels in zip(found, names, taken, strict=True):
        problems += _faults_of_kind(name, channels, said)
        if len(channels) == len(said.channels):
            film = _film(name, position, channels, said, exclude, times, first, problems)
            result.films.append(film)
    problems += _unknown_exclusions(result.films, exclude)
    if problems:
        more = [f"… and {len(problems) - _MAX_NAMED} more"] if len(problems) > _MAX_NAMED else []
        raise DatasetError(
            f"{where} was not taken in:\n" + "\n".join(f"  - {p}" for p in problems[:_MAX_NAMED] + more),
            "mend the files or dataset.toml; a bad frame can be left out with --exclude position:frame",
        )
    return result


def _names(found: Sequence[FoundPosition], renamed: dict[str, str], where: str) -> list[str]:
    names: list[str] = []
    for position in found:
        name = check_position(safe_name(position.name), where)
        if name != position.name:
            renamed[position.name] = name
        if name in names:
            raise DatasetError(f"{where}: two positions are called {name!r}", "rename one of them")
        names.append(name)
    return names


def names_in_files(said: DatasetDescription) -> dict[str, str]:
    """The channels' names in the files, each with its own."""
    return {channel.found_as or name: name for name, channel in said.channels.items()}


def _channels_of(
    position: FoundPosition,
    said: DatasetDescription,
    renamed: dict[str, str],
    notes: list[str],
    problems: list[str],
) -> dict[str, FoundChannel]:
    wanted = names_in_files(said)
    channels: dict[str, FoundChannel] = {}
    for raw, channel in position.channels.items():
        name = wanted.get(raw) or wanted.get(safe_name(raw))
        if name is None:
            note = f"channel {raw!r} is in the files but not in dataset.toml: left out"
            if note not in notes:
                notes.append(note)
            continue
        channels[name] = channel
        if name != raw:
            renamed[raw] = name
    for raw, name in wanted.items():
        if name not in channels:
            there = ", ".join(position.channels) or "none"
            hint = nearest(raw, position.channels)
            problems.append(
                f"position {position.name}: no channel {raw!r}{hint}; the files have {there}"
                f' (if one of them is meant: found_as = "…" under channels.{name})'
            )
    return {name: channels[name] for name in said.channels if name in channels}


def _faults_of_kind(name: str, channels: Mapping[str, FoundChannel], said: DatasetDescription) -> list[str]:
    """Wrong sizes, dtypes and Z stacks, as the first frame of each channel shows them."""
    faults = []
    shapes = {channel.shape_px for channel in channels.values()}
    for channel, found in channels.items():
        first = min(found.frames, default=0)
        where = f"position {name}, channel {channel}, frame 0 ({found.file_of(first)})"
        labels = bool(said.channels[channel].labels)
        fault = dtype_fault(found.dtype, labels)
        if fault:
            faults.append(f"{where}: {fault}")
        if found.n_z > 1 and said.z_projection is None:
            faults.append(
                f"{where} has {found.n_z} Z planes and there is no projection: --z-projection max,"
                ' or z_projection = "max" in dataset.toml (are they time points? then swap Z and T in Fiji)'
            )
        elif found.n_z > 1 and labels and said.z_projection == "mean":
            faults.append(f"{where} carries masks in {found.n_z} Z planes: labels have no mean, take the max")
        if len(shapes) > 1:
            y, x = found.shape_px
            faults.append(
                f"{where} is {y} x {x} px (y x), and the channels of a position must be equal in size"
            )
    return faults


def dtype_fault(dtype: str, labels: bool) -> str:
    """Why a dtype cannot be right, or nothing."""
    if dtype in (LABEL_DTYPES if labels else IMAGE_DTYPES):
        return ""
    if labels:
        return f"is {dtype}, and label images hold whole numbers"
    return f"is {dtype}, and acquired counts are one of {', '.join(IMAGE_DTYPES)}"


def pixel_fault(pixels: NDArray[Any], film: Film, channel: str, labels: bool) -> str:
    """Why the pixels of a frame cannot be right, or nothing."""
    dtype = pixels.dtype.name
    fault = dtype_fault(dtype, labels)
    if fault:
        return fault
    if pixels.shape != film.shape_px:
        here, there = (" x ".join(map(str, shape)) for shape in (pixels.shape, film.shape_px))
        return f"is {here} px (y x) where the film is {there}"
    if dtype != film.dtypes[channel]:
        return f"is {dtype} where the channel is {film.dtypes[channel]}"
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        return f"holds {int((~np.isfinite(pixels)).sum())} pixels that are no number (NaN or infinite)"
    if labels and pixels.size and (pixels.min() < 0 or pixels.max() > np.iinfo(np.uint32).max):
        return "holds labels below 0 or beyond 32 bits"
    return ""


def _film(
    name: str,
    position: FoundPosition,
    channels: Mapping[str, FoundChannel],
    said: DatasetDescription,
    exclude: Mapping[tuple[str, int], str],
    times: Times | None,
    first: int,
    problems: list[str],
) -> Film:
    def is_sparse(channel: str) -> bool:
        in_column = times is not None and times.acquired_in(channel, name) is not None
        return said.channels[channel].every > 1 or in_column

    ends = {channel: max(found.frames, default=first - 1) - first + 1 for channel, found in channels.items()}
    n_frames = max([n for channel, n in ends.items() if not is_sparse(channel)] or ends.values())
    excluded = {frame: reason for (at, frame), reason in sorted(exclude.items()) if at == name}
    frames: dict[str, list[Source | None]] = {}
    empty: dict[str, dict[int, Source]] = {}
    for channel, found in channels.items():
        column = times.acquired_in(channel, name) if times is not None else None
        acquired = frozenset(range(0, n_frames, said.channels[channel].every)) if column is None else column
        placed, fault = _place(found, acquired, n_frames, first, excluded, is_sparse(channel))
        if fault:
            problems.append(f"position {name}, channel {channel}: {fault}")
        frames[channel] = [
            placed.get(t) if t in acquired and t not in excluded else None for t in range(n_frames)
        ]
        if found.dense:
            empty[channel] = {t: s for t, s in placed.items() if t not in acquired and t not in excluded}
    if n_frames == 0 or all(source is None for of in frames.values() for source in of):
        problems.append(f"position {name} holds no frame")
    return Film(
        name=name,
        shape_px=next(iter(channels.values())).shape_px,
        n_frames=n_frames,
        dtypes={channel: found.dtype for channel, found in channels.items()},
        time_s=_time_s(name, n_frames, said, times, problems),
        excluded=excluded,
        frames=frames,
        empty=empty,
        folder=position.folder,
    )


def _place(
    found: FoundChannel,
    acquired: frozenset[int],
    n_frames: int,
    first: int,
    excluded: Mapping[int, str],
    sparse: bool,
) -> tuple[dict[int, Source], str]:
    """Sources by frame of the film, and what is wrong with them.

    Files of a sparse channel are numbered either by the film's frames or by themselves.
    """
    numbered = {number - first: source for number, source in found.frames.items()}
    if sparse and not found.dense and not set(numbered) <= acquired and len(numbered) == len(acquired):
        numbered = dict(zip(sorted(acquired), (numbered[t] for t in sorted(numbered)), strict=True))
    beyond = sorted(set(numbered) - acquired)
    if beyond and not found.dense:
        file = found.file_of(beyond[0] + first)
        return (
            numbered,
            f"frame {beyond[0]} ({file}) is there, but dataset.toml says that it was not acquired",
        )
    missing = sorted(acquired - set(numbered) - set(excluded))
    if not missing:
        return numbered, ""
    file = found.file_of(missing[0] + first)
    if missing[0] > max(numbered, default=-1):
        have = len(numbered)
        every = next((k for k in range(2, n_frames + 1) if -(-n_frames // k) == have), None)
        hint = f"; if it was acquired in every {every}th frame only, say every = {every}" if every else ""
        return (
            numbered,
            f"has {have} frames where {len(acquired)} are expected: "
            f"frame {missing[0]} ({file}) is missing{hint}",
        )
    others = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
    return numbered, f"frame {missing[0]} ({file}) is missing{others}"


def _time_s(
    name: str, n_frames: int, said: DatasetDescription, times: Times | None, problems: list[str]
) -> Sequence[float]:
    if times is not None:
        try:
            return times.of(name, n_frames, said.times or "times.csv")
        except DatasetError as error:
            problems.append(error.message)
            return []
    if said.frame_interval_s is None and n_frames > 1:
        problems.append(f"position {name}: dataset.toml has neither frame_interval_s nor times")
        return []
    # rounded, so that frame 3 at 0.1 s is at 0.3 s
    return [round(t * (said.frame_interval_s or 0.0), 9) for t in range(n_frames)]


def _unknown_exclusions(films: Sequence[Film], exclude: Mapping[tuple[str, int], str]) -> list[str]:
    lengths = {film.name: film.n_frames for film in films}
    faults = []
    for name, frame in exclude:
        if name not in lengths:
            faults.append(f"--exclude {name}:{frame}: no such position{nearest(name, lengths)}")
        elif not 0 <= frame < lengths[name]:
            faults.append(f"--exclude {name}:{frame}: frames are 0 to {lengths[name] - 1}")
    return faults
