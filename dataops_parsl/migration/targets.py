"""Where claims go: names that say where something came from, and that nothing else has."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from dataops_parsl.bundle import Bundle
from dataops_parsl.dataset.names import safe_name
from dataops_parsl.dataset.record import MANIFEST, read_json
from dataops_parsl.errors import DatasetError
from dataops_parsl.migration.classify import Claim
from dataops_parsl.migration.films import PLAIN
from dataops_parsl.migration.plan import Places

LEGACY = "legacy"
"""Older results and intermediates stand below a folder of this name, so that no run of ours meets them."""
_DATE = re.compile(r"([12]\d{3})-?(0[1-9]|1[0-2])-?(0[1-9]|[12]\d|3[01])(?!\d)")


class Targets:
    """Gives each claim a place of its own.

    Parameters
    ----------
    top : Path
        The older tree.
    claims : sequence of Claim
        All of them: intermediates are filed under the dataset that they lie beside.
    """

    def __init__(self, top: Path, places: Places, claims: Sequence[Claim]) -> None:
        self._top, self._places = top, places
        self._taken: set[Path] = set()
        self._made = {id(claim): self._dataset(claim) for claim in claims if claim.rule.kind == "dataset"}
        self._datasets = [
            (claim.folder.path, self._made[id(claim)].name) for claim in claims if id(claim) in self._made
        ]

    def of(self, claim: Claim) -> Path:
        """Where a claim goes; one of this program's own layout keeps its name even where that is taken."""
        if id(claim) in self._made:
            return self._made[id(claim)]
        if claim.rule.kind == "intermediate":
            return self._intermediate(claim)
        return self._figures(claim) if claim.rule.kind == "figures" else self._output(claim)

    def _dataset(self, claim: Claim) -> Path:
        if claim.rule.confidence == "sure":
            try:
                name = str(read_json(claim.folder.path / MANIFEST).get("name") or claim.folder.name)
            except DatasetError:
                name = claim.folder.name
            return self._fixed(self._places.data / name)
        parts = [safe_name(part) for part in self._telling(claim)]
        return self._free(lambda name: self._places.data / name, parts)

    def _intermediate(self, claim: Claim) -> Path:
        if claim.rule.confidence == "sure":
            return self._fixed(self._places.scratch / claim.folder.name)
        home = claim.folder.path if claim.only else claim.folder.path.parent
        root = self._places.scratch / self._owner(home) / LEGACY
        own = safe_name(claim.rule.name) if claim.only else claim.folder.name
        return self._free(lambda name: root / name, [home.name, own])

    def _figures(self, claim: Claim) -> Path:
        parts = list(claim.folder.path.relative_to(self._top).parts) or [self._top.name]
        return self._free(lambda name: self._places.figures / name, parts)

    def _output(self, claim: Claim) -> Path:
        folder = claim.folder.path
        if claim.rule.confidence == "sure":
            workflow = str(Bundle.at(folder).facts.get("workflow") or folder.parent.name)
            return self._fixed(self._places.output / workflow / folder.name)
        name = claim.folder.name
        digest = hashlib.blake2b(
            f"{folder.relative_to(self._top)} {claim.only}".encode("utf-8", "surrogateescape")
        )
        said = _DATE.search(name)
        when = f"{''.join(said.groups())}T000000Z" if said else f"{_changed(folder):%Y%m%dT%H%M%SZ}"
        run = f"run_{when}-{digest.hexdigest()[:4]}"
        return self._free(lambda name: self._places.output / LEGACY / name, [run])

    def _owner(self, home: Path) -> str:
        """The dataset that lies nearest, or the nearest folder whose name tells something."""
        for folder in (home, *home.parents):
            if not folder.is_relative_to(self._top):
                break
            near = {name for path, name in self._datasets if path.is_relative_to(folder)}
            if len(near) == 1:
                return near.pop()
            if near:
                break
        parts = [p for p in home.relative_to(self._top).parts if not PLAIN.fullmatch(p)]
        return safe_name(parts[-1] if parts else self._top.name)

    def _telling(self, claim: Claim) -> list[str]:
        """The parts of a claim's path that say which experiment it is, outermost first."""
        parts = [self._top.name, *claim.folder.path.relative_to(self._top).parts]
        if len(claim.names) == 1 and claim.only and claim.folder.path == self._top:
            parts.append(claim.names[0].partition(".")[0])
        return [part for part in parts if not PLAIN.fullmatch(part)] or [self._top.name]

    def _fixed(self, place: Path) -> Path:
        self._taken.add(place)
        return place

    def _free(self, place: Callable[[str], Path], parts: Sequence[str]) -> Path:
        """The first place that is free, with more and more of the path in its name."""
        for name in _names(parts):
            made = place(name)
            if made not in self._taken and not os.path.lexists(made):
                return self._fixed(made)
        raise AssertionError("numbers do not end")


def _names(parts: Sequence[str]) -> Iterator[str]:
    for start in range(len(parts) - 1, -1, -1):
        yield "_".join(parts[start:])
    number = 2
    while True:
        yield f"{parts[-1]}_{number}"
        number += 1


def _changed(folder: Path) -> datetime:
    return datetime.fromtimestamp(os.stat(folder).st_mtime, UTC)
