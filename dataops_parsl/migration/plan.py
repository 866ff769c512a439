"""The plan of a migration: a TOML file that is written, read by people, edited, and then carried out."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dataops_parsl.errors import UsageError, nearest

FORMAT = 1
Kind = Literal["dataset", "intermediate", "figures", "output"]
Action = Literal["move", "copy", "link", "leave"]


@dataclass(frozen=True)
class Places:
    """Where things of each kind belong, as absolute paths."""

    project: Path
    data: Path
    scratch: Path
    output: Path
    figures: Path

    def of(self, kind: Kind) -> Path:
        """The root for a kind."""
        return {
            "dataset": self.data,
            "intermediate": self.scratch,
            "figures": self.figures,
            "output": self.output,
        }[kind]

    @property
    def all(self) -> tuple[Path, ...]:
        """Every root."""
        return (self.data, self.scratch, self.output, self.figures)


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Item(_Model):
    """A folder, a file or some children of a folder, and what becomes of it.

    Parameters
    ----------
    source : str
        Path below the plan's source; ``.`` is all of it.
    only : tuple of str
        Names, with ``*``, of direct children: only these of the folder `source`.
    target : str
        Below the project, or absolute.
    description : str
        The ``dataset.toml`` of a dataset, beside the plan or absolute.
    """

    source: str = Field(min_length=1)
    only: tuple[str, ...] = ()
    kind: Kind = Field(validation_alias="class")
    action: Action
    target: str = ""
    rule: str = ""
    why: str = ""
    files: int | None = None
    size: int | None = None
    description: str = ""

    @property
    def key(self) -> str:
        """What the journal calls it."""
        return f"{self.source}/{{{','.join(self.only)}}}" if self.only else self.source


class Plan(_Model):
    """All of a plan."""

    format: int
    source: str
    project: str
    made: str = ""
    by: str = ""
    rules: str = ""
    item: tuple[Item, ...] = ()

    def place(self, item: Item) -> Path:
        """Where an item lies."""
        return Path(os.path.normpath(Path(self.source, item.source)))

    def goal(self, item: Item) -> Path:
        """Where an item goes."""
        return Path(os.path.normpath(Path(self.project, item.target)))

    @property
    def active(self) -> list[Item]:
        """Those that something is done with."""
        return [item for item in self.item if item.action != "leave"]


def names_of(place: Path, only: Sequence[str]) -> tuple[str, ...] | None:
    """The children of a folder that an item means, sorted; None for the whole folder."""
    if not only:
        return None
    names = sorted(os.listdir(place)) if place.is_dir() else []
    return tuple(n for n in names if fits(n, only))


def fits(name: str, only: Sequence[str]) -> bool:
    """Whether a name is meant; hidden ones are meant only by a pattern that is hidden too."""
    return any(fnmatchcase(name, each) and name.startswith(".") == each.startswith(".") for each in only)


def read_plan(path: Path) -> Plan:
    """Read a plan.

    Raises
    ------
    UsageError
        It cannot be read, or a key or value in it cannot be meant; all of them are named.
    """
    remedy = "mend it, or make a new one: python -m dataops_parsl migrate SOURCE --plan NEW.toml"
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}", remedy) from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is no valid TOML: {error}", "mend that line") from error
    if said.get("format") != FORMAT:
        raise UsageError(f"{path}: format is {said.get('format')}, this version reads {FORMAT}", remedy)
    try:
        return Plan.model_validate(said)
    except ValidationError as error:
        lines = [f"{path}: {_explain(dict(e), said)}" for e in error.errors()]
        raise UsageError("\n".join(lines), "mend the lines named above") from error


def _explain(problem: dict[str, Any], plan: dict[str, Any]) -> str:
    where = problem["loc"]
    key = place = str(where[-1])
    if where[0] == "item" and len(where) > 1:
        item = plan["item"][where[1]]
        name = item.get("source", f"number {where[1] + 1}") if isinstance(item, dict) else where[1]
        place = f"item {name}: {'.'.join(map(str, where[2:]))}"
    if problem["type"] == "extra_forbidden":
        model = Item if where[0] == "item" else Plan
        known = [str(field.validation_alias or name) for name, field in model.model_fields.items()]
        return f"{place}: there is no such key{nearest(key, known)}"
    if problem["type"] == "missing":
        return f"{place} is missing"
    if problem["type"] == "literal_error":
        choices = get_args(Action if key == "action" else Kind)
        said = str(problem["input"])
        return f"{place} is {said!r}{nearest(said, choices)}; use {', '.join(choices)}"
    return f"{place}: {problem['msg']}"
