"""TOML to flat keys: what is known, what is not, and who said it."""

from __future__ import annotations

import copy
import difflib
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from dataops_parsl.config.models import PopulationConfig, Resources, Settings
from dataops_parsl.config.words import Key, dotted, submodel
from dataops_parsl.errors import ConfigError, nearest
from dataops_parsl.stage import Stage

DEFAULTS = "configs/config.def.toml"


class Problems:
    """Everything that is wrong, so that it is said at once."""

    def __init__(self) -> None:
        self._lines: dict[str, str] = {}

    def add(self, origin: str, key: Key, text: str, remedy: str = "") -> None:
        """Note that `text`, which begins with what follows the key, is true of the key in `origin`."""
        line = f"{origin}: {dotted(key)}{text}" if key else f"{origin}{text}"
        self._lines.setdefault(line, remedy or f"correct it there; {DEFAULTS} explains every key")

    def stop(self) -> None:
        """Raise one `ConfigError` of all problems, if there are any."""
        if not self._lines:
            return
        lines = list(self._lines)
        if len(lines) > 1:
            lines.insert(0, f"{len(lines)} problems in the configuration:")
        raise ConfigError("\n  ".join(lines), "; ".join(dict.fromkeys(self._lines.values())))


@dataclass(frozen=True)
class Known:
    """The keys that a table may have: a table of its own, or None for a value.

    Parameters
    ----------
    other : Known or None
        What a table of any other name may hold; None where there is no other.
    what : str
        What an unknown key is not.
    """

    keys: Mapping[str, Known | None]
    other: Known | None = None
    what: str = "a known key"

    def leaves(self) -> Iterator[Key]:
        """The keys of all values."""
        for name, inner in self.keys.items():
            yield from ((name, *k) for k in inner.leaves()) if inner else [(name,)]


def known_keys(model: type[BaseModel]) -> Known:
    """The keys of a model."""
    inner = {name: submodel(f) for name, f in model.model_fields.items()}
    return Known({name: known_keys(m) if m else None for name, m in inner.items()})


def known_tree(
    stage_classes: Iterable[type[Stage]],
    populations: Iterable[str] | None,
    more: Mapping[str, type[BaseModel]] | None = None,
) -> Known:
    """The keys of the whole configuration; without `populations` any name of one goes.

    `more` are tables of their own beside it.
    """
    population, resources = known_keys(PopulationConfig), known_keys(Resources)
    names = None if populations is None else list(populations)
    stages: dict[str, Known | None] = {}
    for cls in stage_classes:
        own = known_keys(cls)
        stages[cls.name] = Known(
            {**dict.fromkeys(names or (), own), **own.keys},
            own if names is None else None,
            "a parameter of this stage or a population of the dataset",
        )
    return Known(
        {
            **known_keys(Settings).keys,
            **{name: known_keys(model) for name, model in (more or {}).items()},
            "populations": Known(
                dict.fromkeys(names or (), population),
                population if names is None else None,
                "a population that the dataset.toml of the dataset describes",
            ),
            "stages": Known(stages, what="a known stage"),
            "resources": Known(dict.fromkeys(["default", *stages], resources), what="a known stage"),
        }
    )


@dataclass(frozen=True)
class Reader:
    """Reads layers and notes what is wrong with them."""

    known: Known
    problems: Problems = field(default_factory=Problems)

    def file(self, path: Path, origin: str) -> dict[str, Any]:
        """The tables of a TOML file; none where it cannot be read, which is noted."""
        text = ""
        try:
            text = path.read_text(encoding="utf-8")
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            what, _, where = str(error).rpartition(" (at ")
            where = where.removesuffix(")")
            where = where.replace("end of document", f"line {len(text.rstrip().splitlines())}")
            self.problems.add(f"{origin}, {where}", (), f": this is not TOML: {what[:1].lower()}{what[1:]}")
        except UnicodeDecodeError as error:
            self.problems.add(origin, (), f" is not UTF-8 text: byte {error.start} is wrong")
        except OSError as error:
            self.problems.add(origin, (), f" cannot be read: {error.strerror}", "make it readable")
        return {}

    def flat(self, table: Mapping[str, Any], origin: str, remedy: str = "") -> dict[Key, Any]:
        """The values of nested tables by key; keys that are not known are noted and left out."""
        return dict(self._flat(table, self.known, origin, remedy, ()))

    def _flat(
        self, table: Mapping[str, Any], known: Known, origin: str, remedy: str, at: Key
    ) -> Iterator[tuple[Key, Any]]:
        for name, value in table.items():
            key = (*at, name)
            inner = known.keys.get(name)
            if name not in known.keys and known.other and isinstance(value, dict):
                inner = known.other
            elif name not in known.keys:
                self.problems.add(origin, key, f" is not {known.what}{self._hint(name, known)}", remedy)
                continue
            if inner and isinstance(value, dict):
                yield from self._flat(value, inner, origin, remedy, key)
            elif inner:
                self.problems.add(origin, key, f" must be a table, [{dotted(key)}]", remedy)
            elif _has_date(value):
                self.problems.add(origin, key, " must not be a date or time: put it in quotes", remedy)
            else:
                yield key, value

    def _hint(self, name: str, known: Known) -> str:
        elsewhere = {key[-1]: dotted(key) for key in self.known.leaves()}
        hint = "" if name in elsewhere else nearest(name, known.keys)
        if not hint and (found := difflib.get_close_matches(name, elsewhere, n=1, cutoff=0.8)):
            hint = f" (did you mean {elsewhere[found[0]]!r}?)"
        if hint:
            return hint
        return f"; there are {', '.join(known.keys)}" if known.keys else ""

    def sets(self, sets: Sequence[str]) -> dict[Key, Any]:
        """The values of ``--set key=value``: the value is TOML, or text as it stands."""
        out: dict[Key, Any] = {}
        for given in sets:
            name, equals, text = given.partition("=")
            table = _one_line(f"{name.strip()} = 0") if equals and name.strip() else None
            if table is None:
                remedy = "write it as --set stages.contact.radius_um=3"
                self.problems.add(f"--set {given!r}", (), " is not key=value", remedy)
                continue
            value = (_one_line(f"value = {text.strip()}") or {"value": text.strip()})["value"]
            nested: Any = text.strip() if _has_date(value) else value
            for part in reversed(_path(table)):
                nested = {part: nested}
            out |= self.flat(nested, "--set")
        return out


def _has_date(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_has_date(v) for v in value.values())
    if isinstance(value, list):
        return any(_has_date(v) for v in value)
    return isinstance(value, date | datetime | time)


def _one_line(line: str) -> dict[str, Any] | None:
    """The table of one ``key = value``, None where it is not one."""
    if re.search(r"[\r\n]", line):
        return None
    try:
        return tomllib.loads(line) or None
    except tomllib.TOMLDecodeError:
        return None


def _path(table: Mapping[str, Any]) -> Key:
    """The key of the one value in nested tables."""
    name, inner = next(iter(table.items()))
    return (name, *_path(inner)) if isinstance(inner, dict) else (name,)


def origin_of(path: Path, project: Path) -> str:
    """How a file is named in messages and in bundles: relative to the project where it lies in it."""
    return path.relative_to(project).as_posix() if path.is_relative_to(project) else str(path)


def tree(values: Mapping[Key, Any]) -> dict[str, Any]:
    """Flat keys as nested tables."""
    out: dict[str, Any] = {}
    for key, value in values.items():
        inner = out
        for part in key[:-1]:
            inner = inner.setdefault(part, {})
        inner[key[-1]] = copy.deepcopy(value)
    return out
