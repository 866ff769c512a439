"""Carrying a plan out, item by item, and going back by its journal."""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from dataops_parsl.errors import DatasetError, PartialError, PlaceError
from dataops_parsl.migration.carrying import Carrier
from dataops_parsl.migration.copying import Ticks
from dataops_parsl.migration.journal import Journal
from dataops_parsl.migration.plan import Item, Places, Plan
from dataops_parsl.migration.plan_text import words
from dataops_parsl.migration.undo import go_back
from dataops_parsl.migration.ways import existing

_Thing = TypeVar("_Thing")
Said = Callable[[str, str], None]
"""Called with an item and what was done with it."""


@dataclass
class Outcome:
    """What came of it.

    Parameters
    ----------
    done : int
        Items that were brought to where they belong now, by this call.
    failed : list of (item, error)
        Items that were not, or wait for something.
    """

    done: int = 0
    failed: list[tuple[str, Exception]] = field(default_factory=list)


def execute(
    plan: Plan, path: Path, places: Places, journal: Journal, said: Said, ticks: Ticks = lambda size: None
) -> Outcome:
    """Carry out what is left of a plan.

    Raises
    ------
    PlaceError
        A disk is too small, or was full; nothing is lost, and the same call goes on.
    """
    carrier = Carrier(plan, path, places, journal, ticks)
    left = [item for item in plan.active if not carrier.is_done(item)]
    _refuse_full(carrier, left)
    return _each({item.key: item for item in left}, lambda key, item: carrier.carry(item), said)


def undo(journal: Journal, said: Said, ticks: Ticks = lambda size: None) -> Outcome:
    """Bring every item back to where it came from, the last one first.

    Raises
    ------
    PlaceError
        A disk was full; nothing is lost, and the same call goes on.
    """
    begun = {key: p for key, p in reversed(journal.items.items()) if p.begun is not None}
    return _each(begun, lambda key, _: go_back(journal, key, ticks), said)


def _each(things: Mapping[str, _Thing], work: Callable[[str, _Thing], str], said: Said) -> Outcome:
    outcome = Outcome()
    for key, thing in things.items():
        try:
            said(key, work(key, thing))
        except PlaceError:
            raise
        except (PartialError, DatasetError, OSError) as error:
            outcome.failed.append((key, error))
        else:
            outcome.done += 1
    return outcome


def _refuse_full(carrier: Carrier, left: list[Item]) -> None:
    """Raise when what is to be copied cannot fit."""
    need: dict[int, int] = defaultdict(int)
    place: dict[int, Path] = {}
    for item in left:
        try:
            size = carrier.bytes_to_copy(item)
        except PartialError:  # said when its turn comes
            continue
        folder = existing(carrier.plan.goal(item).parent)
        device = os.stat(folder).st_dev
        need[device] += size
        place[device] = folder
    for device, size in need.items():
        free = shutil.disk_usage(place[device]).free
        if size > free:
            raise PlaceError(
                f"{place[device]} has {words(free)} free, and {words(size)} are to be copied there",
                'free space, or say action = "link" or "leave" for some items of the plan; nothing was done',
            )
