"""Time stamps of a film that has grown: those that were taken in, then those of the new frames."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from dataops_parsl.dataset.manifest import Dataset
from dataops_parsl.dataset.plate import Times, read_times
from dataops_parsl.errors import DatasetError


def grown_times(dataset: Dataset, source: Path, names: Iterable[str]) -> Times | None:
    """What ``times.csv`` says of new frames, completed by what was taken in of old ones.

    The file in the source counts, which may name the new frames alone; without one, that of the dataset.

    Parameters
    ----------
    names : iterable of str
        Positions.

    Returns
    -------
    Times or None
        None where the dataset has an interval.

    Raises
    ------
    DatasetError
        There is no such file, or it cannot be read.
    """
    said = dataset.description
    if said.times is None:
        return None
    places = [folder / said.times for folder in (source, dataset.root)]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise DatasetError(
            f"{places[0]} is not there, and {dataset.name} has time stamps of its own",
            "write the times of the new frames there: columns frame, time_s, and position where they differ",
        )
    given = read_times(path, said.channels)
    time_s: dict[str | None, dict[int, float]] = {}
    acquired: dict[str, dict[str | None, frozenset[int]]] = {channel: {} for channel in given.acquired}
    for name in names:
        film = dataset.positions.get(name)
        before = film.times if film else ()
        stamps = given.time_s.get(name, given.time_s.get(None, {}))
        time_s[name] = {**dict(enumerate(before)), **stamps}
        for channel, by_position in acquired.items():
            column = given.acquired_in(channel, name) or frozenset()
            old = {t for t in range(len(before)) if film and film.raw_digest(channel, t) is not None}
            by_position[name] = column | old
    return Times(time_s, acquired)
