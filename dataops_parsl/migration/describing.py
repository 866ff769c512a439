"""A ``dataset.toml`` to complete for each film that has none, beside the plan."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from dataops_parsl.dataset.description import FILE_NAME
from dataops_parsl.dataset.proposal import propose
from dataops_parsl.dataset.record import MANIFEST
from dataops_parsl.errors import DatasetError
from dataops_parsl.migration.plan import Item, Plan, names_of
from dataops_parsl.migration.proposing import Proposed

SUFFIX = ".descriptions"


@dataclass(frozen=True)
class Described:
    """A plan whose films all have a description.

    Parameters
    ----------
    files : dict
        Texts to write, by their paths.
    questions : dict
        Key of an item to what only the experimenter knows.
    """

    proposed: Proposed
    files: dict[Path, str]
    questions: dict[str, list[str]]


def describe(proposed: Proposed, path: Path) -> Described:
    """Propose the descriptions that are missing; nothing is written, and those beside the plan are kept.

    Parameters
    ----------
    path : Path
        Of the plan.
    """
    plan = proposed.plan
    files: dict[Path, str] = {}
    questions: dict[str, list[str]] = {}
    items = []
    for item in plan.item:
        if not lacks_description(plan, item):
            items.append(item)
            continue
        file = path.with_name(path.stem + SUFFIX) / f"{Path(item.target).name}.toml"
        try:
            said = propose(sources(plan, item))
        except DatasetError as error:
            questions[item.key] = [error.message.splitlines()[0]]
            items.append(item)
            continue
        if not file.exists():
            files[file] = said.text
        questions[item.key] = [*said.questions, *said.warnings]
        items.append(item.model_copy(update={"description": str(file.relative_to(path.parent))}))
    new = plan.model_copy(update={"item": tuple(items)})
    return Described(dataclasses.replace(proposed, plan=new), files, questions)


def lacks_description(plan: Plan, item: Item) -> bool:
    """Whether it is a film that nobody has described yet."""
    place = plan.place(item)
    if item.kind != "dataset" or item.description or (not item.only and (place / MANIFEST).is_file()):
        return False
    own = place / FILE_NAME
    return not own.is_file()


def sources(plan: Plan, item: Item) -> Path | list[Path]:
    """What the readers are given: the folder, or those of its children that are meant."""
    place = plan.place(item)
    names = names_of(place, item.only)
    return place if names is None else [place / name for name in names]
