"""The rules by which an older tree is told apart: a lab's own, then those that ship with the package."""

from __future__ import annotations

import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dataops_parsl.errors import UsageError, nearest
from dataops_parsl.migration.plan import Kind
from dataops_parsl.migration.tree import Folder

SHIPPED = Path(__file__).with_name("rules.toml")
_SHARE = 0.5


class Rule(BaseModel):
    """One rule; see ``rules.toml`` for its keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    name: str = Field(min_length=1)
    kind: Kind = Field(validation_alias="class")
    confidence: Literal["sure", "likely", "guess"] = "likely"
    folder: tuple[str, ...] = ()
    holds: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    film: bool = False
    why: str = ""

    @model_validator(mode="after")
    def _of_one_sort(self) -> Rule:
        sorts = [bool(self.folder or self.holds), bool(self.files), self.film]
        if sum(sorts) != 1:
            raise ValueError("give folder or holds, or files, or film = true: one of the three")
        if (self.kinds or self.without) and not (self.folder or self.holds):
            raise ValueError("kinds and without go with folder or holds")
        if self.film and self.kind != "dataset":
            raise ValueError('a rule with film = true gives class = "dataset"')
        return self

    @property
    def of_folders(self) -> bool:
        """Whether it claims whole folders by what they are called and hold."""
        return bool(self.folder or self.holds)

    def fits(self, folder: Folder) -> bool:
        """Whether it claims a folder."""
        if not self.of_folders or not folder.n_files:
            return False
        if self.folder and not any(fnmatch(folder.name.lower(), each.lower()) for each in self.folder):
            return False
        if not all(folder.has(path.split("/")) for path in self.holds):
            return False
        if any(folder.kinds[kind] for kind in self.without):
            return False
        counted = sum(folder.kinds[kind] for kind in self.kinds)
        return not self.kinds or counted >= _SHARE * folder.kinds.total()

    def fits_file(self, name: str) -> bool:
        """Whether it claims a single file."""
        return any(fnmatch(name.lower(), each.lower()) for each in self.files)


class _Rules(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    rule: tuple[Rule, ...]


def load_rules(own: Path | None = None) -> tuple[Rule, ...]:
    """The rules in the order in which they are tried.

    Parameters
    ----------
    own : Path, optional
        A file whose rules come before those of the program.

    Raises
    ------
    UsageError
        It cannot be read, or a key or value in it cannot be meant.
    """
    return (*(_read(own) if own else ()), *_read(SHIPPED))


def _read(path: Path) -> tuple[Rule, ...]:
    remedy = f"see {SHIPPED} for how rules are written"
    try:
        return _Rules.model_validate(tomllib.loads(path.read_text(encoding="utf-8"))).rule
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}", remedy) from error
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            place = ".".join(str(part) for part in problem["loc"])
            known = [str(field.validation_alias or name) for name, field in Rule.model_fields.items()]
            hint = nearest(str(problem["loc"][-1]), known) if problem["type"] == "extra_forbidden" else ""
            lines.append(f"{path}: {place}: {problem['msg'].removeprefix('Value error, ')}{hint}")
        raise UsageError("\n".join(lines), remedy) from error
