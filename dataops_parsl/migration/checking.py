"""What speaks against a plan before anything is done: said all at once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from dataops_parsl.bundle import BENCHMARK_RECORD, RECORD
from dataops_parsl.bundle import MANIFEST as SEAL
from dataops_parsl.dataset.description import FILE_NAME
from dataops_parsl.dataset.names import SAFE
from dataops_parsl.dataset.proposal import is_zarr
from dataops_parsl.dataset.record import MANIFEST, read_json
from dataops_parsl.errors import UsageError
from dataops_parsl.migration.journal import Progress, journal_path
from dataops_parsl.migration.plan import Item, Places, Plan, names_of


@dataclass(frozen=True)
class _Sight:
    """An item as it is now."""

    item: Item
    place: Path
    goal: Path
    names: tuple[str, ...] | None
    begun: bool


def refuse_faults(plan: Plan, path: Path, places: Places, progress: Mapping[str, Progress]) -> None:
    """Raise when a plan cannot be carried out as it stands.

    Parameters
    ----------
    path : Path
        Of the plan.
    progress : mapping
        What its journal says was done already.

    Raises
    ------
    UsageError
        With every fault.
    """
    if os.path.realpath(plan.project) != os.path.realpath(places.project):
        raise UsageError(
            f"{path} is for the project {plan.project}, and this is {places.project}",
            f"go there, or give --project {plan.project}",
        )
    faults = [f"{path}: {fault}" for fault in _faults(plan, path, places, progress)]
    if faults:
        raise UsageError("\n".join(faults), "nothing was done; mend these lines of the plan")


def _faults(plan: Plan, path: Path, places: Places, progress: Mapping[str, Progress]) -> Iterator[str]:
    sights = []
    for item in plan.active:
        begun = progress.get(item.key, Progress()).begun
        place = plan.place(item)
        sight = _Sight(item, place, plan.goal(item), names_of(place, item.only), begun is not None)
        sights.append(sight)
        said = [*_source_faults(plan, sight, path)]
        said = said or [*_target_faults(sight, places)]
        if begun and (begun["target"], begun["action"]) != (str(sight.goal), item.action):
            said = [f"was begun as {begun['action']} to {begun['target']}: put that back, or --undo it first"]
        yield from (f"item {item.key}: {fault}" for fault in said)
    for one, other in combinations(sights, 2):
        for fault in _clashes(one, other):
            yield f"items {one.item.key} and {other.item.key}: {fault}"


def _source_faults(plan: Plan, sight: _Sight, path: Path) -> Iterator[str]:
    item, place = sight.item, sight.place
    if os.path.isabs(item.source) or ".." in Path(item.source).parts:
        yield f"source is {item.source!r}; it is a path below {plan.source}"
        return
    for pattern in item.only:
        if "/" in pattern or pattern in ("", ".", ".."):
            yield f"only holds {pattern!r}; these are names in {item.source}, no paths"
    if sight.begun:
        return
    if not os.path.lexists(place):
        yield f"{place} is not there"
    elif os.path.realpath(place.parent) != str(place.parent):
        yield f"{place} is reached through a symbolic link: migrate the place that it leads to by itself"
    elif sight.names == ():
        yield f"{place} holds nothing that is called {' or '.join(item.only)}"
    elif any(_holds(sight, mine) for mine in (path, journal_path(path))):
        yield f"{path} lies in it: keep the plan elsewhere"


def _target_faults(sight: _Sight, places: Places) -> Iterator[str]:
    item, place, goal = sight.item, sight.place, sight.goal
    root = next((r for r in places.all if goal != r and goal.is_relative_to(r)), None)
    if not item.target or root is None:
        yield f"target {item.target!r} lies in none of {', '.join(map(str, places.all))}"
        return
    if (root == places.data) != (item.kind == "dataset"):
        yield f"target {item.target!r}: datasets, and only they, go to {places.data}"
    elif item.kind == "dataset" and (goal.parent != root or not SAFE.fullmatch(goal.name)):
        yield f"target {item.target!r} is not {root}/NAME, of letters, digits, '.', '_' and '-'"
    if not Path(os.path.realpath(goal.parent)).is_relative_to(os.path.realpath(root)):
        yield f"target {item.target!r} leads out of {root}, to {os.path.realpath(goal.parent)}"
    if sight.begun:
        return
    if os.path.lexists(goal):
        yield f"there is something at {goal} already; it is never overwritten"
    if _holds(sight, Path(os.path.realpath(goal.parent), goal.name)):
        yield f"target {item.target!r} lies in the item itself"
    if item.kind == "dataset":
        yield from _dataset_faults(sight)
    elif (
        any((place / name).is_file() for name in (RECORD, BENCHMARK_RECORD, SEAL)) and goal.name != place.name
    ):
        yield f"target {item.target!r}: a run keeps its name, {place.name}"


def _dataset_faults(sight: _Sight) -> Iterator[str]:
    item, place = sight.item, sight.place
    if (place / MANIFEST).is_file() and not item.only:
        name = read_json(place / MANIFEST).get("name")
        if name != sight.goal.name:
            yield f"target {item.target!r}: its manifest calls it {name}, and it keeps that name"
        return
    if not item.only and (is_zarr(place) or not place.is_dir()):
        yield f'is one image: write source = "{Path(item.source).parent}" and only = ["{place.name}"]'
    own = place / FILE_NAME
    taken_along = own.is_file() and (sight.names is None or FILE_NAME in sight.names)
    if item.description and taken_along and item.action != "link":
        yield f"{own} describes it: take the description out of the plan, or rename that file"


def _holds(sight: _Sight, path: Path) -> bool:
    """Whether a path, links on the way to it followed, belongs to an item."""
    return _covers(sight, Path(os.path.realpath(path.parent), path.name))


def _covers(sight: _Sight, path: Path) -> bool:
    if not path.is_relative_to(sight.place):
        return False
    parts = path.relative_to(sight.place).parts
    return sight.names is None or bool(parts and parts[0] in sight.names)


def _clashes(one: _Sight, other: _Sight) -> Iterator[str]:
    if one.goal == other.goal:
        yield f"both go to {one.goal}"
    elif one.goal.is_relative_to(other.goal) or other.goal.is_relative_to(one.goal):
        yield "the target of one lies in that of the other"
    if one.place == other.place:
        shared = set(one.names or ()) & set(other.names or ())
        if None in (one.names, other.names) or shared:
            yield "the same files are in both"
    elif _covers(one, other.place) or _covers(other, one.place):
        yield "one lies in the other"
