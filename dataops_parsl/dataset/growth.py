"""What a grown source holds beyond a dataset: its new frames, and which files carry them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

from dataops_parsl.dataset.assemble import Assembled, Film, assemble, names_in_files
from dataops_parsl.dataset.manifest import Dataset, Position
from dataops_parsl.dataset.names import safe_name
from dataops_parsl.dataset.numbers import Numbers, original
from dataops_parsl.dataset.proposal import SourceFiles
from dataops_parsl.dataset.readers import READERS, FoundChannel, FoundPosition, Hints, Reader, Source, detect
from dataops_parsl.dataset.readers.patterns import propose_pattern
from dataops_parsl.dataset.readers.tiff import is_tiff
from dataops_parsl.dataset.record import APPENDED, is_own
from dataops_parsl.dataset.taking import MAX_FAULTS, Check, Steps, check_all, look_at
from dataops_parsl.dataset.times import grown_times
from dataops_parsl.errors import DatasetError, nearest

Key = tuple[str, str, int]


@dataclass(frozen=True)
class Growth:
    """What is to be taken in.

    Attributes
    ----------
    whole : Assembled
        The positions that are new or have grown, each with all its frames; sources of new frames are named
        as they will lie in the dataset.
    carried : frozenset of str
        `Source.file` of what is taken in.
    files : mapping
        File below the source to where it will lie.
    known : mapping
        Digest of each old frame of these positions, by (position, channel, frame).
    outdated : tuple of str
        Data files of the dataset in whose place others come.
    same : mapping
        Where a file will lie to the file of the dataset that has these bytes.
    """

    whole: Assembled
    carried: frozenset[str]
    files: Mapping[str, str]
    known: Mapping[Key, str]
    outdated: tuple[str, ...]
    same: Mapping[str, str]

    @property
    def films(self) -> Sequence[Film]:
        """The positions that are new or have grown."""
        return self.whole.films


class Survey:
    """Compares a source with a dataset, file by file, and frame by frame where files differ.

    Parameters
    ----------
    dataset : Dataset
        As it is.
    listed : SourceFiles
        The source: what was taken in is there again, or is not.
    exclude : mapping
        (position, frame) to the reason for leaving a new frame out.
    steps : callable
        Gives the threads for so many steps.
    """

    def __init__(
        self,
        dataset: Dataset,
        listed: SourceFiles,
        exclude: Mapping[tuple[str, int], str],
        steps: Callable[[int], Steps],
    ) -> None:
        self.dataset, self.listed, self.steps = dataset, listed, steps
        self.said = dataset.description
        self._carried: dict[str, str] = {}
        self.folder = "" if dataset.link else f"{APPENDED}{dataset.n_appended + 1}/"
        self.raw = names_in_files(self.said)
        self.reader, self.hints = self._reader()
        self.numbers = Numbers(dataset, self.raw, self.hints.pattern)
        self.exclude = self._exclusions(exclude)

    def growth(self) -> Growth | None:
        """What is new, or None where nothing is.

        Raises
        ------
        DatasetError
            A frame that was taken in shows something else, or what is new cannot be right; the message
            names the file and frame.
        """
        listed = self.reader.scan(self.listed.root, self.listed.files, self.hints)
        found = [self._declared(position) for position in listed]
        units = {unit: files for position in found for unit, files in self._units(position).items()}
        changed = self._changed(units)
        taken = changed & {unit for position in found for unit in self._bringing(position)}
        self._compare(found, changed - taken)
        touched = [position for position in found if taken.intersection(self._units(position))]
        names = {safe_name(position.name) for position in touched}
        self._refuse_exclusions_of_nothing(names)
        merged = [self._merged(position, taken) for position in touched]
        times = grown_times(self.dataset, self.listed.root, names)
        exclude = {(name, t): why for (name, t), why in self.exclude.items() if name in names}
        whole = assemble(merged, self.said, exclude, times, str(self.listed.root), self.numbers.first)
        whole = replace(whole, films=[self._with_sample(film) for film in whole.films if self._is_new(film)])
        self._refuse_other_frames(whole)
        return self._growth(whole, units) if whole.films else None

    # --- how the source is read

    def _reader(self) -> tuple[Reader, Hints]:
        reader = READERS[self.dataset.reader]
        tiffs = [file for file in self.listed.files if is_tiff(file)]
        pattern = self.said.pattern
        if pattern is None and reader.NAME == "tiff-frames":
            pattern = propose_pattern(
                sorted({*tiffs, *(original(self.dataset, file) for file in self.dataset.files)})
            )
        hints = Hints(pattern, self.said.axes, tuple(self.raw))
        seen = detect(self.listed.root, self.listed.files, hints)
        if seen.NAME != reader.NAME:
            raise DatasetError(
                f"{self.listed.root} holds {seen.LOOKS_FOR}, and {self.dataset.name} is of the format "
                f"{reader.NAME}",
                "append files of the format that was taken in, or take these in as a dataset of their own",
            )
        return reader, hints

    def _declared(self, found: FoundPosition) -> FoundPosition:
        """A position with the declared channels alone, by their names in the files."""
        by_name = {name: raw for raw, name in self.raw.items()}
        channels = {}
        for raw, channel in found.channels.items():
            name = self.raw.get(raw) or self.raw.get(safe_name(raw))
            if name is not None:
                channels[by_name[name]] = channel
        return replace(found, channels=channels)

    def _exclusions(self, asked: Mapping[tuple[str, int], str]) -> dict[tuple[str, int], str]:
        """Those of before, and what is asked for now, of new frames only."""
        known = self.dataset.positions
        old = {(p, frame): why for p, film in known.items() for frame, why in film.excluded.items()}
        for name, frame in asked:
            if name in known and frame < known[name].n_frames and (name, frame) not in old:
                raise DatasetError(
                    f"--exclude {name}:{frame}: that frame was taken in before",
                    f"new frames are {known[name].n_frames} and later; to leave it out, add the data under "
                    "another name",
                )
        return {**asked, **old}

    def _refuse_exclusions_of_nothing(self, touched: set[str]) -> None:
        known = self.dataset.positions
        for name, frame in self.exclude:
            if name not in touched and (name not in known or frame >= known[name].n_frames):
                hint = "" if name in known else nearest(name, {*known, *touched})
                raise DatasetError(
                    f"--exclude {name}:{frame}: {self.listed.root} has no such new frame{hint}", "mend it"
                )

    # --- which files are new

    def _units(self, found: FoundPosition) -> dict[str, list[str]]:
        """What is taken in whole or not at all: a file, or the folder of a position, and its files."""
        if found.folder:
            inside = f"{found.folder}/"
            return {found.folder: [file for file in self.listed.files if file.startswith(inside)]}
        return {source.file: [source.file] for c in found.channels.values() for source in c.frames.values()}

    def _changed(self, units: Mapping[str, Sequence[str]]) -> set[str]:
        """Units that are new, or of another content than the dataset's."""
        twins = self._twins
        files = [file for of in units.values() for file in of]
        again = [file for file in files if file in twins and self._has_size(file, twins[file])]
        steps = self.steps(len(again))
        looked = steps.map(lambda file: look_at(self.listed.root / file)["sha256"], again)
        digests = dict(zip(again, looked, strict=True))
        self._same = {f for f, sha in digests.items() if sha == self.dataset.files[twins[f]]["sha256"]}
        return {unit for unit, of in units.items() if not self._same.issuperset(of)}

    def _has_size(self, file: str, twin: str) -> bool:
        size: int = self.dataset.files[twin]["size"]
        return (self.listed.root / file).stat().st_size == size

    @cached_property
    def _twins(self) -> dict[str, str]:
        """By its place in the source, the file of the dataset."""
        return {original(self.dataset, file): file for file in self.dataset.files}

    def _unit(self, found: FoundPosition, source: Source) -> str:
        return found.folder or source.file

    def _bringing(self, found: FoundPosition) -> set[str]:
        """Units with frames that were not taken in; of a linked dataset also those that were."""
        film = self.dataset.positions.get(safe_name(found.name))
        units = self._units(found)
        if film is None:
            return set(units)
        new = {unit for unit, of in units.items() if self.dataset.link and self._twins.keys() & of}
        for raw, channel in found.channels.items():
            last = self.numbers.last(film, raw)
            new |= {self._unit(found, s) for number, s in channel.frames.items() if number > last}
        return new

    # --- frames that were taken in before

    def _compare(self, found: Sequence[FoundPosition], units: set[str]) -> None:
        """Refuse files that are not as they were taken in and show something else."""
        items, known = [], {}
        for position in found:
            name = safe_name(position.name)
            if not units & set(self._units(position)):
                continue
            film = self.dataset.positions[name]
            for raw, channel in position.channels.items():
                for number, (t, _) in self.numbers.of(film, raw).items():
                    source = channel.frames.get(number)
                    if source is not None and self._unit(position, source) in units:
                        items.append(Check(_bare(film, self.raw), self.raw[raw], t, source, empty=False))
                        known[name, self.raw[raw], t] = str(film.raw_digest(self.raw[raw], t))
        check_all(self.listed.root, self.reader, items, self.said, self.steps(len(items)), known)

    def _refuse_other_frames(self, whole: Assembled) -> None:
        """Refuse what would change a film up to where it was."""
        faults = []
        for film in whole.films:
            before = self.dataset.positions.get(film.name)
            if before is None:
                continue
            where = f"position {film.name}"
            if film.n_frames < before.n_frames or list(film.time_s[: before.n_frames]) != list(before.times):
                faults.append(f"{where}: time stamps differ from those that were taken in")
            for channel, frames in film.frames.items():
                for t in range(min(before.n_frames, film.n_frames)):
                    if (frames[t] is None) != (before.raw_digest(channel, t) is None):
                        faults.append(
                            f"{where}, channel {channel}, frame {t}: was not as acquired as it is now"
                        )
        if faults:
            raise DatasetError(
                "nothing was taken in, since what was taken in before would change:\n"
                + "\n".join(f"  - {fault}" for fault in faults[:MAX_FAULTS]),
                "put the files and times back as they were, or add the data under another name",
            )

    # --- the films as they are to be

    def _merged(self, found: FoundPosition, taken: set[str]) -> FoundPosition:
        """A position with its old frames and its new ones."""
        film = self.dataset.positions.get(safe_name(found.name))
        channels = {}
        for raw, name in self.raw.items():
            new = found.channels.get(raw)
            frames = {}
            for number, source in new.frames.items() if new else ():
                if (unit := self._unit(found, source)) in taken:
                    frames[number] = replace(source, file=self.folder + source.file)
                    self._carried[frames[number].file] = unit
            if film is not None:
                old = self.numbers.of(film, raw)
                frames = {**{n: s for n, (_, s) in old.items()}, **frames}
                new = replace(
                    new or FoundChannel(film.shape_px, "", {}),
                    shape_px=film.shape_px,
                    dtype=film.dtype(name).name,
                )
            if new is not None:
                channels[raw] = replace(new, frames=dict(sorted(frames.items())))
        return replace(found, channels=channels)

    def _with_sample(self, film: Film) -> Film:
        before = self.dataset.positions.get(film.name)
        return film if before is None else replace(film, sampled=before.sample_frames)

    def _is_new(self, film: Film) -> bool:
        before = self.dataset.positions.get(film.name)
        grown = before is None or film.n_frames != before.n_frames
        return grown or any(source.file in self._carried for source in _sources(film))

    def _growth(self, whole: Assembled, units: Mapping[str, Sequence[str]]) -> Growth:
        sources = {source.file for film in whole.films for source in _sources(film)}
        carried = sources & self._carried.keys()
        used = {self._carried[file] for file in carried}
        files = {file: self.folder + file for unit in used for file in units[unit]}
        for file in files:
            if is_own(file):
                raise DatasetError(
                    f"{self.listed.root / file} has the name of a file of the program", "rename it"
                )
        before = [self.dataset.positions[f.name] for f in whole.films if f.name in self.dataset.positions]
        known = {
            (film.id, channel, t): str(film.raw_digest(channel, t))
            for film in before
            for channel in film.channels
            for t in range(film.n_frames)
            if film.raw_digest(channel, t) is not None
        }
        same = {self.folder + file: self._twins[file] for file in files if file in self._same}
        return Growth(
            whole, frozenset(carried), files, known, self._outdated(used, sources | set(files.values())), same
        )

    def _outdated(self, used: set[str], needed: set[str]) -> tuple[str, ...]:
        """Files of the dataset in whose place others come."""
        out = []
        for file in self.dataset.files:
            place = PurePosixPath(original(self.dataset, file))
            if {str(place), *map(str, place.parents)} & used and file not in needed:
                out.append(file)
        return tuple(out)


def _sources(film: Film) -> Iterator[Source]:
    for frames in film.frames.values():
        yield from (source for source in frames if source is not None)


def _bare(film: Position, channels: Mapping[str, Any]) -> Film:
    """A film of which only the kind of its pixels is known."""
    dtypes = {name: film.dtype(name).name for name in channels.values()}
    return Film(film.id, film.shape_px, film.n_frames, dtypes, film.times, {}, {}, {}, "")
