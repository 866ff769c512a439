"""Write ``configs/config.def.toml`` from the models, with their docs as comments."""

from __future__ import annotations

import inspect
import json
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from dataops_parsl.config.models import PopulationConfig, Resources, Settings
from dataops_parsl.config.words import Key, dotted, expected, schemas, submodel
from dataops_parsl.stage import Stage

_WIDTH = 100
_HEAD = """
Every key with its default and its meaning, written from the code by `make config`. Do not edit it:
your values go into config.user.toml beside it, which git ignores.

Layers, the later wins, key by key: this file, sites/<site>.toml, the populations of the dataset's
dataset.toml, config.user.toml, flags, --set key=value. A key behind "#" without a space is not set.
"""
_STAGES = """
Stages. A parameter can differ for one population: [stages.<stage>.<population>] with that parameter alone.
"""
_RESOURCES = """
A stage can differ, key by key: [resources.<stage>] goes before [resources.default], whichever file says it.
"""


def write_default(stage_classes: Sequence[type[Stage]]) -> str:
    """Return the text of config.def.toml: it loads to the defaults, whatever the stages."""
    settings = Settings()
    inner = {name: submodel(field) for name, field in Settings.model_fields.items()}
    blocks = [comment(_HEAD), *lines(Settings, settings.model_dump(mode="json"))]
    for name in ("paths", "dataset"):
        blocks += _table(inner[name], getattr(settings, name).model_dump(mode="json"), (name,))
    blocks += [
        f"{comment(_doc(PopulationConfig))}\n#[populations.<population>]",
        *lines(PopulationConfig, {}),
    ]
    blocks.append(comment(_STAGES))
    for cls in stage_classes:
        blocks += _table(cls, cls().model_dump(mode="json"), ("stages", cls.name))
    blocks += _table(Resources, Resources().model_dump(mode="json"), ("resources", "default"), _RESOURCES)
    for name in ("site", "engine", "retention"):
        blocks += _table(inner[name], getattr(settings, name).model_dump(mode="json"), (name,))
    return "\n\n".join(blocks) + "\n"


def _table(model: type[BaseModel] | None, values: Mapping[str, Any], at: Key, more: str = "") -> list[str]:
    assert model is not None
    head = "\n".join(filter(None, (comment(f"{_doc(model)}\n{more}"), f"[{dotted(at)}]")))
    blocks = [head, *lines(model, values)]
    for name, field in model.model_fields.items():
        if inner := submodel(field):
            blocks += _table(inner, values[name], (*at, name), field.description or "")
    return blocks


def lines(model: type[BaseModel], values: Mapping[str, Any]) -> list[str]:
    """The lines of each key of the model; a key that is not in `values`, or None there, is commented out."""
    blocks, described = [], schemas(model)
    for name, field in model.model_fields.items():
        if submodel(field):
            continue
        doc = comment(f"{inspect.cleandoc(field.description or '')} ({expected(described[name])})")
        value = values.get(name)
        line = toml_line(name, value) if value is not None else f"#{name} ="
        blocks.append(f"{doc}\n{line}")
    return blocks


def toml_line(name: str, value: Any) -> str:
    """``name = value``, over several lines where it is long."""
    return f"{name} = {_toml(value, len(name) + 3)}"


def _doc(model: type[BaseModel]) -> str:
    return inspect.cleandoc(vars(model).get("__doc__") or "").partition("\n\n")[0]


def comment(text: str) -> str:
    """The text as comment lines; paragraphs stay apart."""
    paragraphs = [p for p in inspect.cleandoc(text).split("\n\n") if p.strip()]
    return "\n#\n".join(
        textwrap.fill(
            " ".join(p.split()),
            _WIDTH,
            initial_indent="# ",
            subsequent_indent="# ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        for p in paragraphs
    )


def _toml(value: Any, used: int = 0) -> str:
    """A plain value as TOML; an array that does not fit beside `used` characters takes a line an entry."""
    if isinstance(value, dict):
        return "{" + ", ".join(f" {dotted((k,))} = {_toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list):
        entries = [_toml(v) for v in value]
        line = f"[{', '.join(entries)}]"
        return line if used + len(line) <= _WIDTH else "[\n" + "".join(f"    {e},\n" for e in entries) + "]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str | bool) else repr(value)
