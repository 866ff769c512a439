"""``run --lean``: what no part that is still to be computed reads is deleted while the run goes on.

Only the files go: receipts stay. So what is gone is computed again if, and only if, something reads it, and
what is told of a run from receipts is the same.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable

from dataops_parsl.nodes import Part
from dataops_parsl.plan import Plan
from dataops_parsl.storage.discard import discard
from dataops_parsl.storage.folders import Root
from dataops_parsl.storage.parts import read_receipt
from dataops_parsl.storage.removing import reason
from dataops_parsl.storage.users import Use, exclusive

EVERY_S, FOR_S, AT_ONCE = 1.0, 0.25, 64
"""How often something is deleted, for how long at most, and how many parts while no other run can begin."""


class Lean:
    """Deletes intermediates of one run.

    Parameters
    ----------
    plan : Plan
    use : Use
        The run's lease: what other living runs list in theirs is left to them.
    published : collection of Part
        What is read at the end beside the parts of published tables and pictures, such as label images that
        are kept in the bundle: deleted after that.

    Attributes
    ----------
    freed : int
        Bytes deleted.
    """

    def __init__(self, plan: Plan, use: Use, published: Collection[Part] = ()) -> None:
        self._plan, self._use = plan, use
        # The tables' own parts are small, and a changed parameter of a late step starts from them.
        self._kept = set(plan.results())
        self._held_back = set(published) - self._kept
        self._readers: dict[Part, int] = {}
        self._due: dict[Part, None] = {}
        self._gone: set[Part] = set()
        self._failed: set[Part] = set()
        self._looked = 0.0
        self.freed = 0
        self._used: dict[str, str] = {}
        self._refused: dict[str, str] = {}

    @property
    def left(self) -> dict[str, str]:
        """Why some of a folder could not be deleted."""
        return {**self._used, **self._refused}

    def begin(self, todo: Collection[Part]) -> None:
        """A round begins: what none of its parts reads is due.

        Parameters
        ----------
        todo : collection of Part
            Those that were given up are among them: the next run tries them again.
        """
        self._readers = {}
        for part in {*todo, *self._failed}:
            for source in _read(part):
                self._readers[source] = self._readers.get(source, 0) + 1
        self._due = dict.fromkeys(
            part
            for node in self._plan.nodes
            for part in self._plan.parts(node)
            if part not in todo and self._is_due(part)
        )
        self._gone.difference_update(todo)
        self._delete_some()

    def settled(self, part: Part) -> None:
        """A part of the round was computed or passed over."""
        receipt = read_receipt(part.place.receipt)
        if receipt is not None and (receipt.failed or receipt.halo):  # the next run tries these frames again
            self._failed.add(part)
        else:
            for source in _read(part):
                self._readers[source] -= 1
                if self._is_due(source):
                    self._due[source] = None
        if self._is_due(part):
            self._due[part] = None
        if time.monotonic() - self._looked > EVERY_S:
            self._delete_some()

    def finish(self, todo: Collection[Part]) -> None:
        """All is published: delete what is left, but for what the same command would read again.

        Parameters
        ----------
        todo : collection of Part
            What it would try again.
        """
        self._held_back.clear()
        self._failed.clear()
        self.begin(todo)
        while self._delete_some():
            pass

    def _is_due(self, part: Part) -> bool:
        return (
            not self._readers.get(part)
            and part not in self._kept
            and part not in self._held_back
            and part not in self._gone
        )

    def _delete_some(self) -> int:
        """Delete what is due and no other run's, for a moment; returns the number of parts."""
        until, n = time.monotonic() + FOR_S, 0
        while self._due and time.monotonic() < until:
            with exclusive(self._plan.scratch), Root(self._plan.scratch) as root:
                chosen = self._choose()
                for part in chosen:
                    self._delete(root, part)
            n += len(chosen)
            if len(chosen) < AT_ONCE:
                break
        self._looked = time.monotonic()
        return n

    def _choose(self) -> list[Part]:
        others = {folder: user.run for user in self._use.others() for folder in user.folders}
        self._used, chosen = {}, list[Part]()
        for part in self._due:
            folder = self._folder(part)
            if folder in others:
                self._used[folder] = f"run {others[folder]} uses it"
            elif len(chosen) < AT_ONCE:
                chosen.append(part)
        return chosen

    def _delete(self, root: Root, part: Part) -> None:
        del self._due[part]
        self._gone.add(part)
        receipt, folder = read_receipt(part.place.receipt), self._folder(part)
        if receipt is None:
            return
        names = [name for output in receipt.outputs.values() for name in output["files"]]
        try:
            self.freed += discard(root, folder, names)
        except OSError as error:
            self._refused[folder] = reason(error)

    def _folder(self, part: Part) -> str:
        return str(part.node.folder.relative_to(self._plan.scratch))


def _read(part: Part) -> Iterable[Part]:
    return [source for source in part.inputs() if part.reads_files_of(source)]
