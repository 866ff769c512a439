"""What a folder seems to hold, as a ``dataset.toml`` for a biologist to complete."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dataops_parsl.dataset.names import safe_name
from dataops_parsl.dataset.readers import FoundPosition, Hints, Reader, detect
from dataops_parsl.dataset.readers.patterns import propose_pattern
from dataops_parsl.dataset.readers.tiff import is_tiff
from dataops_parsl.dataset.staging import walk
from dataops_parsl.errors import DatasetError


@dataclass(frozen=True)
class SourceFiles:
    """A source to take in: a folder, and the files in it that count (sorted, relative, with ``/``)."""

    root: Path
    files: list[str]


@dataclass(frozen=True)
class Proposal:
    """What was found.

    Attributes
    ----------
    text : str
        A ``dataset.toml``; what could not be known stands in it as a commented line.
    reader : str
        The file format.
    found : sequence of FoundPosition
    questions : sequence of str
        What only the experimenter knows.
    warnings : sequence of str
        What looks odd.
    """

    text: str
    reader: str
    found: Sequence[FoundPosition]
    questions: Sequence[str]
    warnings: Sequence[str]


def source_files(source: Path | Sequence[Path]) -> SourceFiles:
    """List what there is to take in.

    Parameters
    ----------
    source : Path or sequence of Path
        A folder, an OME-Zarr image, or files.

    Raises
    ------
    DatasetError
        It does not exist, or is empty.
    """
    paths = [Path(source)] if isinstance(source, str | Path) else [Path(path) for path in source]
    for path in paths:
        if not path.exists():
            raise DatasetError(f"{path} does not exist", "give a folder or files")
    if not paths:
        raise DatasetError("no file was given", "give a folder or files")
    whole = len(paths) == 1 and paths[0].is_dir() and not is_zarr(paths[0])
    root = Path(
        os.path.abspath(paths[0] if whole else os.path.commonpath([os.path.abspath(p.parent) for p in paths]))
    )
    files: list[str] = []
    for path in paths:
        at = Path(os.path.abspath(path))
        below = [at / file for file in walk(at)] if at.is_dir() else [at]
        files += [file.relative_to(root).as_posix() for file in below]
    if not files:
        raise DatasetError(f"{root} is empty", "give the folder that the microscope wrote")
    return SourceFiles(root, sorted(set(files)))


def is_zarr(folder: Path) -> bool:
    """Whether a folder is a zarr group or array itself."""
    return any((folder / name).is_file() for name in ("zarr.json", ".zgroup", ".zarray"))


def propose(source: Path | Sequence[Path]) -> Proposal:
    """Look at a source and propose its ``dataset.toml``; nothing is written.

    Raises
    ------
    DatasetError
        No format fits; the message says what was looked for.
    """
    listed = source_files(source)
    reader = detect(listed.root, listed.files, Hints())
    return propose_for(reader, reader.scan(listed.root, listed.files, Hints()), listed)


def propose_for(reader: Reader, found: Sequence[FoundPosition], listed: SourceFiles) -> Proposal:
    """The proposal for positions that were found already."""
    pattern = (
        propose_pattern([file for file in listed.files if is_tiff(file)])
        if reader.NAME == "tiff-frames"
        else None
    )
    sizes = {position.pixel_size_um for position in found}
    intervals = {position.frame_interval_s for position in found}
    size = sizes.pop() if len(sizes) == 1 else None
    interval = intervals.pop() if len(intervals) == 1 else None
    channels = list(dict.fromkeys(name for position in found for name in position.channels))
    questions = []
    if size is None:
        questions.append("pixel_size_um: how large is a pixel in the sample?")
    if interval is None:
        questions.append("frame_interval_s: how much time is between two frames?")
    questions.append("channels: which is the death marker, and which stain is lost on death?")
    questions.append("populations: which cells are there, in which channels, and how large are they?")
    warnings = [
        f"position {position.name} lacks channel {name!r}"
        for position in found
        for name in channels
        if name not in position.channels
    ]
    deep = max((c.n_z for position in found for c in position.channels.values()), default=1)
    if deep > 1:
        warnings.append(f"there are {deep} Z planes: choose a z_projection")
        questions.append("z_projection: max or mean?")
    text = write_description(
        channels={safe_name(name): name for name in channels},
        pixel_size_um=size,
        frame_interval_s=interval,
        pattern=pattern,
        plate="plate.csv" if "plate.csv" in listed.files else None,
        z_stack=deep > 1,
    )
    return Proposal(text, reader.NAME, found, questions, warnings)


def write_description(
    channels: dict[str, str],
    pixel_size_um: tuple[float, float] | None = None,
    frame_interval_s: float | None = None,
    pattern: str | None = None,
    plate: str | None = None,
    z_stack: bool = False,
) -> str:
    """The text of a ``dataset.toml`` with a comment for every line.

    Parameters
    ----------
    channels : dict
        Name to the name in the files.
    pixel_size_um, frame_interval_s, pattern, plate
        What is known; what is None is written as a commented line to complete.
    z_stack : bool
        Whether a projection has to be chosen.
    """
    y, x = pixel_size_um or (0.65, 0.65)
    names = list(channels)
    lines = [
        "# What this dataset is, in words. Lines that start with # are not read:",
        "# complete those marked TO FILL IN, and take the # away.",
        "",
        _line(f"pixel_size_um = [{y:.6g}, {x:.6g}]", "y, x: size of a pixel, µm", pixel_size_um is not None),
        _line(
            f"frame_interval_s = {frame_interval_s or 60:.6g}",
            'time between frames, s; or times = "times.csv"',
            frame_interval_s is not None,
        ),
    ]
    if pattern is not None:
        lines.append(_line(f"pattern = {_quoted(pattern)}", "how the file names are made", True))
    if plate is not None:
        lines.append(
            _line(f"plate = {_quoted(plate)}", "position,well,condition,control,replicate,e_to_t", True)
        )
    else:
        lines.append('# plate = "plate.csv"   # optional: position,well,condition,control,replicate,e_to_t')
    if z_stack:
        lines.append(_line('z_projection = "max"', 'or "mean": how a Z stack becomes one image', False))
    lines += [
        "",
        "# Each channel: stain = what was stained with; death_marker = true for a dye that dead cells take",
        "# up; lost_on_death = true for a stain that dying cells lose; every = 5 if acquired in every 5th",
        "# frame only.",
        "[channels]",
    ]
    for name, found in channels.items():
        renamed = f", found_as = {_quoted(found)}" if found != name else ""
        lines.append(f"{_key(name)} = {{ stain = {_quoted(found)}{renamed} }}")
    lines += [
        "",
        "# TO FILL IN: the kinds of cells, the channels that show them, and their typical diameter.",
    ]
    for population, diameter in (("effector", 10), ("target", 20)):
        lines += [
            f"# [populations.{population}]",
            f"# segment = {_list(names[:1] if population == 'effector' else names[1:] or names)}",
            '# mask = "cell"        # or "nucleus"',
            f"# diameter_um = {diameter}",
        ]
    return "\n".join(lines) + "\n"


def _line(setting: str, comment: str, known: bool) -> str:
    return f"{setting}   # {comment}" if known else f"# {setting}   # TO FILL IN: {comment}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in escaped) + '"'


def _list(names: Sequence[str]) -> str:
    return "[" + ", ".join(_quoted(name) for name in names) + "]"


def _key(name: str) -> str:
    return _quoted(name) if "." in name else name
