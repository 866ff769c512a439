"""What lies on scratch: step folders, what killed processes left behind, and what is not ours.

A step folder is known by its place and by the ``step.json`` in it; what is not known is named and left.
Nothing is written while looking.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from dataops_parsl.dataset.names import SAFE
from dataops_parsl.storage.folders import Root, disk_bytes, open_inner, walk
from dataops_parsl.storage.loose import LEFT_BEHIND_S, TEMPORARY, Loose
from dataops_parsl.storage.removing import is_trash, reason
from dataops_parsl.storage.step_folders import is_step, mark
from dataops_parsl.storage.users import LOCK, RUNS

BENCH = ".bench"
"""Folder of the benchmarks' cases, one a run."""
_OWN = (LOCK, RUNS)
_STEP = re.compile(r"(?P<step>[A-Za-z_][\w.-]*)-(?P<key>[0-9a-f]{12})")
_RUN = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{4}")

Kind = Literal["step", "trash", "benchmark", "temporary"]


@dataclass(frozen=True)
class Unit:
    """What is taken away as a whole.

    Parameters
    ----------
    kind : str
        ``step`` folder, ``trash`` of an earlier purge, a ``benchmark``'s cases, a ``temporary`` file.
    parents : tuple of str
        Names that lead from the scratch root to its folder.
    name : str
    bytes, files : int
        What it takes.
    used_s : float
        When anything in it was last written, s since 1970.
    inode : int
        Of the folder.
    mark : tuple of int
        Of a step folder: when files in it came or went, see `mark`.
    loose : tuple of str
        Of a step folder: files in it that were never finished, or that no receipt names, if old.
    loose_bytes : int
        What they take.
    """

    kind: Kind
    parents: tuple[str, ...]
    name: str
    bytes: int
    files: int
    used_s: float
    inode: int
    mark: tuple[int, ...] = ()
    loose: tuple[str, ...] = ()
    loose_bytes: int = 0

    @property
    def path(self) -> str:
        """Below the scratch root."""
        return "/".join((*self.parents, self.name))

    @property
    def dataset(self) -> str:
        """Name of the dataset; empty where it is of none."""
        return self.parents[0] if self.parents and self.parents[0] != BENCH else ""

    @property
    def stage(self) -> str:
        """Name of the stage; empty where it is of none."""
        return self.parents[1] if len(self.parents) > 1 else ""

    @property
    def step(self) -> str:
        """Name of the step, with the population where there is one."""
        return self.name.rpartition("-")[0]

    @property
    def key(self) -> str:
        """Key of the step."""
        return self.name.rpartition("-")[2]

    @property
    def folder(self) -> str:
        """Below the dataset's folder, as runs name it."""
        return "/".join((*self.parents[1:], self.name))


@dataclass
class Inventory:
    """What was found.

    Parameters
    ----------
    units : list of Unit
        In order of their paths.
    skipped : dict of path to reason
        What leads outside, cannot be read, or was not made by the program.
    empty : list of (dataset, stage)
        Folders of stages without anything in them.
    datasets : list of str
        Names of folders that may be those of datasets.
    stages : set of str
        Names in them that may be those of stages.
    """

    units: list[Unit] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    empty: list[tuple[str, str]] = field(default_factory=list)
    datasets: list[str] = field(default_factory=list)
    stages: set[str] = field(default_factory=set)

    def of(self, *kinds: Kind) -> list[Unit]:
        """The units of these kinds."""
        return [unit for unit in self.units if unit.kind in kinds]


def look(
    root: Root,
    *,
    dataset: str = "",
    stages: Collection[str] = (),
    loose_tables: bool = False,
    now: float | None = None,
) -> Inventory:
    """Find what lies on scratch.

    Parameters
    ----------
    dataset, stages : str, collection of str
        Look no further than into these; empty: into all. Only what is there on the way is named too.
    loose_tables : bool
        Count tables that no receipt names as loose files too.
    now : float, optional
        Time, s since 1970.
    """
    return _Look(root, dataset, stages, loose_tables, time.time() if now is None else now).look()


class _Look:
    def __init__(
        self, root: Root, dataset: str, stages: Collection[str], loose_tables: bool, now: float
    ) -> None:
        self.root, self.loose_tables, self.now = root, loose_tables, now
        self.dataset, self.stages = dataset, stages
        self.found = Inventory()

    def look(self) -> Inventory:
        for name, facts in self._entries():
            if stat.S_ISDIR(facts.st_mode) and SAFE.fullmatch(name):
                self.found.datasets.append(name)
            if self.dataset not in ("", name):
                continue
            if name == BENCH:
                self._look_at_benchmarks()
            elif not self._is_left((), name, facts) and self._is_ours((), name, facts):
                self._look_at_dataset(name)
        self.found.units.sort(key=lambda unit: (unit.parents, unit.name))
        return self.found

    # --- levels

    def _look_at_dataset(self, dataset: str) -> None:
        empty: list[str] = []
        used = False
        for name, facts in self._entries(dataset):
            if name in _OWN:
                used = True
                continue
            self.found.stages.add(name)
            if self.stages and name not in self.stages:
                continue
            if self._is_left((dataset,), name, facts) or not self._is_ours((dataset,), name, facts):
                continue
            if not self._look_at_stage(dataset, name):
                empty.append(name)
        if used:  # else it may be a folder of the user's
            self.found.empty += [(dataset, name) for name in empty]

    def _look_at_stage(self, dataset: str, stage: str) -> bool:
        """Whether anything is in it."""
        parents, n = (dataset, stage), 0
        for name, facts in self._entries(*parents):
            n += 1
            if not self._is_left(parents, name, facts) and self._is_ours(parents, name, facts):
                self._add_step(parents, name)
        return n > 0 or "/".join(parents) in self.found.skipped

    def _look_at_benchmarks(self) -> None:
        for name, facts in self._entries(BENCH):
            if self._is_left((BENCH,), name, facts):
                continue
            if _RUN.fullmatch(name):
                self._add((BENCH,), name, "benchmark")
            else:
                self._skip((BENCH,), name, "was not made by this program")

    # --- single things

    def _entries(self, *names: str) -> Iterator[tuple[str, os.stat_result]]:
        try:
            with self.root.open(*names) as folder, os.scandir(folder) as entries:
                for entry in entries:
                    with contextlib.suppress(FileNotFoundError):
                        facts = entry.stat(follow_symlinks=False)
                        yield entry.name, facts
        except FileNotFoundError:
            return
        except OSError as error:
            self._skip(names[:-1], names[-1] if names else "", reason(error))

    def _skip(self, parents: tuple[str, ...], name: str, why: str) -> None:
        self.found.skipped["/".join((*parents, name))] = why

    def _is_left(self, parents: tuple[str, ...], name: str, facts: os.stat_result) -> bool:
        """Whether it was left behind, which is noted, or is a file that someone is about to finish."""
        file = Unit("temporary", parents, name, disk_bytes(facts), 1, facts.st_mtime, facts.st_ino)
        if is_trash(name) and (len(parents) == 2 or parents == (BENCH,)):
            if stat.S_ISDIR(facts.st_mode):
                self._add(parents, name, "trash")
            else:
                self.found.units.append(replace(file, kind="trash"))
            return True
        if not TEMPORARY.fullmatch(name) or not stat.S_ISREG(facts.st_mode):
            return False
        if self.now - facts.st_mtime > LEFT_BEHIND_S:
            self.found.units.append(file)
        return True

    def _is_ours(self, parents: tuple[str, ...], name: str, facts: os.stat_result) -> bool:
        """Whether it is a folder of a dataset, a stage or a step, by its name and kind."""
        if stat.S_ISLNK(facts.st_mode):
            self._skip(parents, name, "is a link")
            with contextlib.suppress(OSError), self.root.open(*parents) as home:
                self._skip(parents, name, f"is a link to {os.readlink(name, dir_fd=home)}")
            return False
        fits = _STEP.fullmatch(name) if len(parents) == 2 else SAFE.fullmatch(name)
        if not fits or not stat.S_ISDIR(facts.st_mode):
            self._skip(parents, name, "was not made by this program")
            return False
        return True

    def _add_step(self, parents: tuple[str, ...], name: str) -> None:
        try:
            with self.root.open(*parents, name) as folder:
                known = is_step(folder, parents[1], name.rpartition("-")[0])
        except FileNotFoundError:
            return
        except OSError as error:
            self._skip(parents, name, reason(error))
            return
        if known:
            self._add(parents, name, "step")
        else:
            self._skip(parents, name, "has no step.json that fits: it was not made by this program")

    def _add(self, parents: tuple[str, ...], name: str, kind: Kind) -> None:
        try:
            with self.root.open(*parents) as home:
                inner = open_inner(name, home, self.root.mount)
                try:
                    self.found.units.append(self._measured(inner, parents, name, kind))
                finally:
                    os.close(inner)
        except FileNotFoundError:
            return
        except OSError as error:
            self._skip(parents, name, reason(error))

    def _measured(self, folder: int, parents: tuple[str, ...], name: str, kind: Kind) -> Unit:
        own, before = os.fstat(folder), mark(folder)
        size, files, used = disk_bytes(own), 0, 0.0
        loose = Loose(self.now, self.loose_tables) if kind == "step" else None
        for entry in walk(folder, self.root.mount):
            size += entry.bytes
            files += not entry.is_folder
            if stat.S_ISREG(entry.facts.st_mode):
                used = max(used, entry.facts.st_mtime)
                if loose:
                    loose.see(entry)
        used = used or own.st_mtime
        if loose is None:
            return Unit(kind, parents, name, size, files, used, own.st_ino)
        return Unit(kind, parents, name, size, files, used, own.st_ino, before, *loose.found())
