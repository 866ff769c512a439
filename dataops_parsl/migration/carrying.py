"""One item on its way: what is noted before each step, and how it goes on from what journal and disk say."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dataops_parsl.bundle import Bundle
from dataops_parsl.dataset import ingest
from dataops_parsl.dataset.description import FILE_NAME, load_description
from dataops_parsl.dataset.manifest import Dataset
from dataops_parsl.dataset.record import MANIFEST
from dataops_parsl.dataset.staging import remove_dead
from dataops_parsl.errors import DatasetError, PartialError
from dataops_parsl.migration import copies, transfer
from dataops_parsl.migration.copying import Ticks
from dataops_parsl.migration.describing import sources
from dataops_parsl.migration.journal import Journal, Progress
from dataops_parsl.migration.links import new_texts
from dataops_parsl.migration.listing import counted, differences, listing, n_files, size_of
from dataops_parsl.migration.living import why_in_use
from dataops_parsl.migration.plan import Item, Places, Plan, names_of
from dataops_parsl.migration.retracting import retract
from dataops_parsl.migration.taking_in import Note, digests_of, record_results, take_in
from dataops_parsl.migration.transfer import OtherDiskError, Transfer
from dataops_parsl.migration.ways import folders_of, one_disk, to_json, token, way_of
from dataops_parsl.storage.atomic import place_errors, sync_folder


@dataclass(frozen=True)
class Carrier:
    """Carries the items of a plan out, one at a time.

    Parameters
    ----------
    path : Path
        Of the plan: descriptions are named from its folder.
    """

    plan: Plan
    path: Path
    places: Places
    journal: Journal
    ticks: Ticks

    def is_done(self, item: Item) -> bool:
        """Whether nothing is left to do for an item."""
        progress = self.journal.of(item.key)
        return progress.done is not None and (progress.finished is not None or not self._is_written(item))

    def bytes_to_copy(self, item: Item) -> int:
        """What an item still needs at its target."""
        progress = self.journal.of(item.key)
        if item.action not in ("move", "copy") or progress.placed or progress.done:
            return 0
        if progress.begun is not None:
            way = way_of(progress.begun)
            if progress.begun["how"] == "rename":
                return 0
            return max(size_of(way.said) - copies.bytes_there(way), 0)
        place = self.plan.place(item)
        way = Transfer(place, self.plan.goal(item), names_of(place, item.only), {}, {}, "")
        if item.action == "move" and one_disk(way) and not copies.locked(way, inner=False):
            return 0
        return size_of(listing(place, way.names))

    def carry(self, item: Item) -> str:
        """Bring one item to where it goes, from wherever it is; returns what is to be said of it.

        Raises
        ------
        PartialError, DatasetError
            This item cannot be brought, or waits; nothing of it is lost.
        PlaceError
            The disk is full; nothing is lost.
        """
        progress = self.journal.of(item.key)
        self._refuse_in_use(item)
        if item.action == "link" and self._is_film(item):
            return self._link_film(item, progress)
        if progress.begun is None or self._never_left(progress):
            self._begin(item)
        if progress.done is None:
            _PLACE[item.action](self, item, progress)
        if self._is_written(item) and progress.finished is None:
            self._finish(item, progress)
        assert progress.done is not None
        kept = progress.done["kept"]
        done = f"copied; the source stays: {kept}" if kept else _PAST[item.action]
        return f"{done}, and a dataset now" if progress.begun and progress.begun["film"] else done

    def _refuse_in_use(self, item: Item) -> None:
        place = self.plan.place(item)
        if item.kind == "output" and Bundle.at(place).live:
            raise PartialError(f"{place} is written by a living run", "let it end")
        if in_use := why_in_use(place, self._scratches, whole=not item.only):
            raise PartialError(f"{place} stays for now: {in_use}", "let it end")

    @cached_property
    def _scratches(self) -> list[Path]:
        """What may be scratch of this program: of that which stays too."""
        return [self.plan.place(i) for i in self.plan.item if i.kind == "intermediate" and not i.only]

    def _begin(self, item: Item) -> None:
        place, goal = self.plan.place(item), self.plan.goal(item)
        names = names_of(place, item.only)
        if names == ():
            raise PartialError(f"{place} holds nothing that is called {' or '.join(item.only)}", "plan again")
        said = listing(place, names) if item.action != "link" else {}
        if said and (item.files not in (None, n_files(said)) or item.size not in (None, counted(said))):
            raise PartialError(
                f"{place} was changed since the plan was made: {n_files(said)} files, {counted(said)} bytes "
                f"where there were {item.files} and {item.size}",
                "if it is complete now, plan again, or take files and size out of the plan",
            )
        texts = new_texts(place, names, said, self._moved)
        way = Transfer(place, goal, names, said, texts, token(item.key, self.path))
        stays = item.action != "move" or not one_disk(way) or copies.locked(way, inner=False)
        how = "copy" if stays else "rename"
        film = self._is_film(item)
        self.journal.write(item.key, "begun", action=item.action, how=how, film=film, **to_json(way))

    def _never_left(self, progress: Progress) -> bool:
        """Whether nothing of a begun item was brought, and it was changed since: it is begun anew."""
        assert progress.begun is not None
        way = way_of(progress.begun)
        if (
            progress.placed
            or progress.done
            or progress.begun["action"] == "link"
            or not transfer.untouched(way)
        ):
            return False
        if not differences(way.said, listing(way.start, way.names)):
            return False
        copies.drop_copies(way)
        transfer.remove_empty(folders_of(progress.begun))
        return True

    @cached_property
    def _moved(self) -> dict[Path, Path]:
        """Where else links may have to follow."""
        moved = [item for item in self.plan.active if item.action == "move" and not item.only]
        return {self.plan.place(item): self.plan.goal(item) for item in moved}

    def _move(self, item: Item, progress: Progress) -> None:
        assert progress.begun is not None
        if progress.begun["how"] == "copy":
            self._copy(item, progress)
            return
        way = way_of(progress.begun)
        transfer.make_folders(folders_of(progress.begun))
        try:
            transfer.by_rename(way)
        except OtherDiskError:  # two mounts of one disk, or a layered file system
            said = {k: v for k, v in progress.begun.items() if k not in ("item", "step", "at", "how")}
            self.journal.write(item.key, "begun", how="copy", **said)
            self._copy(item, progress)
            return
        self.journal.write(item.key, "done", kept="")

    def _copy(self, item: Item, progress: Progress) -> None:
        assert progress.begun is not None
        way = way_of(progress.begun)
        again = progress.placed is not None
        if progress.placed is None:
            transfer.make_folders(folders_of(progress.begun))
            self.journal.write(item.key, "placed", sha256=copies.by_copy(way, self.ticks))
        assert progress.placed is not None
        kept = ""
        if item.action == "move":
            kept = copies.remove_start(way, progress.placed["sha256"], again=again)
        self.journal.write(item.key, "done", kept=kept)

    def _link(self, item: Item, progress: Progress) -> None:
        assert progress.begun is not None
        way = way_of(progress.begun)
        transfer.make_folders(folders_of(progress.begun))
        for pair in way.pairs:
            if os.path.lexists(pair.end):
                if not pair.end.is_symlink() or os.readlink(pair.end) != str(pair.start):
                    raise transfer.taken(pair.end)
            else:
                with place_errors(pair.end):
                    os.symlink(pair.start, pair.end)
        sync_folder(way.pairs[0].end.parent)
        self.journal.write(item.key, "done", kept="")

    def _link_film(self, item: Item, progress: Progress) -> str:
        """Films that stay where they are: a dataset that reads them there."""
        goal, description = self.plan.goal(item), self._description(item)
        if description is not None:
            load_description(description)
        if progress.begun is None:
            if os.path.lexists(goal):
                raise transfer.taken(goal)
            self._begin(item)
        assert progress.begun is not None
        if not os.path.lexists(goal):
            transfer.make_folders([f for f in folders_of(progress.begun) if f != goal])
            try:
                films = sources(self.plan, item)
                ingest.add(films, goal.name, goal.parent, link=True, description=description)
            except DatasetError:
                transfer.remove_empty(folders_of(progress.begun))
                self.journal.write(item.key, "undone")
                raise
        elif Dataset.open(goal).link != self.plan.place(item):
            raise transfer.taken(goal)
        else:
            remove_dead(goal.parent, goal.name)
        self.journal.write(item.key, "writing", files=digests_of(goal))
        self.journal.write(item.key, "done", kept="")
        self.journal.write(item.key, "finished")
        return "a dataset now; its films stay where they are"

    def _finish(self, item: Item, progress: Progress) -> None:
        """Write what makes a dataset, or a run to look at, of the files that were brought."""
        goal = self.plan.goal(item)
        retract(self.journal, item.key)

        def note(files: Mapping[str, str]) -> None:
            self.journal.write(item.key, "writing", files=dict(files))

        assert progress.begun is not None
        if item.kind == "dataset":
            self._take_in(item, progress.begun["token"], note)
        else:
            record_results(goal, self.plan.place(item), progress.begun["token"], note)
        self.journal.write(item.key, "finished")

    def _take_in(self, item: Item, mark: str, note: Note) -> None:
        goal, description = self.plan.goal(item), self._description(item)
        if description is None and not (goal / FILE_NAME).is_file():
            raise PartialError(
                f"its files are at {goal}, but nobody has described them",
                f"give it a description in the plan: python -m dataops_parsl dataset propose {goal}",
            )
        try:
            take_in(goal, description, self.plan.place(item), mark, note)
        except DatasetError as error:
            raise DatasetError(
                f"its files are at {goal}, but are no dataset yet: {error.message}", error.remedy
            ) from error

    def _description(self, item: Item) -> Path | None:
        if item.description:
            return Path(os.path.normpath(self.path.parent / item.description))
        own = self.plan.place(item) / FILE_NAME
        return own if item.only and own.is_file() else None

    def _is_written(self, item: Item) -> bool:
        """Whether something is written beside its files once they are there."""
        if item.kind == "dataset":
            return self._is_film(item)
        return item.kind == "output" and item.action != "link"

    def _is_film(self, item: Item) -> bool:
        """Whether it is a dataset that has no manifest of this program yet."""
        if item.kind != "dataset":
            return False
        progress = self.journal.of(item.key)
        if progress.begun is not None:
            return bool(progress.begun["film"])
        return bool(item.only) or not (self.plan.place(item) / MANIFEST).is_file()


_PLACE: dict[str, Callable[[Carrier, Item, Progress], None]] = {
    "move": Carrier._move,
    "copy": Carrier._copy,
    "link": Carrier._link,
}
_PAST = {"move": "moved", "copy": "copied", "link": "linked"}
