"""How the frames that were taken in are numbered in the files, so that new ones continue them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from dataops_parsl.dataset.manifest import Dataset, Position
from dataops_parsl.dataset.readers import Source
from dataops_parsl.dataset.readers.patterns import Pattern
from dataops_parsl.dataset.record import is_own
from dataops_parsl.errors import DatasetError


def original(dataset: Dataset, file: str) -> str:
    """Where a file of the dataset lay in its source."""
    return file.partition("/")[2] if dataset.link is None and is_own(file) else file


class Numbers:
    """Numbers in the files of a dataset.

    Parameters
    ----------
    dataset : Dataset
    raw : mapping
        The channels' names in the files, each with its own.
    pattern : str, optional
        How the files are named, where a file is a frame.
    """

    def __init__(self, dataset: Dataset, raw: Mapping[str, str], pattern: str | None) -> None:
        self.dataset, self.raw, self.pattern = dataset, raw, pattern
        self._found: dict[tuple[str, str], dict[int, tuple[int, Source]]] = {}

    def of(self, film: Position, raw: str) -> dict[int, tuple[int, Source]]:
        """The frames that were taken in by their number in the files."""
        if (film.id, raw) not in self._found:
            self._found[film.id, raw] = self._number(film, raw)
        return self._found[film.id, raw]

    def _number(self, film: Position, raw: str) -> dict[int, tuple[int, Source]]:
        channel, numbered = self.raw[raw], {}
        single = self.dataset.reader == "tiff-frames" and self.pattern
        pattern = Pattern(self.pattern or "", tuple(self.raw))
        for t in range(film.n_frames):
            source = film.source(channel, t)
            if source is None:
                continue
            number = t
            if single:
                match = pattern.match(original(self.dataset, source.file))
                if match is None or match.frame is None:
                    raise DatasetError(
                        f"{self.dataset.root / source.file} does not fit the pattern {self.pattern!r}",
                        "put the pattern of before back into dataset.toml",
                    )
                number = match.frame
            numbered[number] = (t, source)
        return numbered

    @cached_property
    def first(self) -> int:
        """Of frame 0 in the files."""
        if "first_number" in self.dataset.record:
            return int(self.dataset.record["first_number"])
        # a channel of few frames that is numbered by itself is behind
        films = self.dataset.positions.values()
        return max(n - t for film in films for raw in self.raw for n, (t, _) in self.of(film, raw).items())

    def last(self, film: Position, raw: str) -> int:
        """The highest number in the files of what was taken in, left out or not acquired before."""
        numbered = self.of(film, raw)
        last = max(numbered, default=self.first - 1)
        by_itself = any(number - t != self.first for number, (t, _) in numbered.items())
        return last if by_itself else max(last, film.n_frames - 1 + self.first)
