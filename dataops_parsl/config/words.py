"""What a parameter must be, and what is wrong with it, in words."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from dataops_parsl.errors import nearest

Key = tuple[str, ...]
_BARE = r"(true|false|[+-]?\d+(\.\d+)?)$"
_NOUNS = {
    "integer": ("a whole number", "whole numbers"),
    "number": ("a number", "numbers"),
    "string": ("text", "texts"),
    "boolean": ("true or false", "true or false"),
    "object": ("a table", "tables"),
    "array": ("a list", "lists"),
}
_BOUNDS = {
    "exclusiveMinimum": "greater than",
    "minimum": "at least",
    "exclusiveMaximum": "less than",
    "maximum": "at most",
}


def dotted(key: Key) -> str:
    """The key as it is written in TOML."""
    return ".".join(k if k.isascii() and k.replace("-", "_").isidentifier() else json.dumps(k) for k in key)


def show(value: object) -> str:
    """The value as it is written in TOML, shortened to one line."""
    if isinstance(value, dict):
        return "a table"
    if value is None:
        return "not set"
    if isinstance(value, list):
        text = f"[{', '.join(show(v) for v in value)}]"
    else:
        text = json.dumps(value, ensure_ascii=False) if isinstance(value, str | bool) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def submodel(field: FieldInfo | None) -> type[BaseModel] | None:
    """The model of a field that is a table of its own, else None."""
    kind = field.annotation if field else None
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def schemas(model: type[BaseModel]) -> dict[str, dict[str, Any]]:
    """The JSON schema of each field of the model, without references and without "or null"."""
    whole = model.model_json_schema()
    defs = whole.get("$defs", {})

    def resolved(node: Any) -> Any:
        if isinstance(node, list):
            return [resolved(n) for n in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            node = defs[node["$ref"].rpartition("/")[2]] | node
        kinds = [k for k in node.get("anyOf", ()) if k.get("type") != "null"]
        if len(kinds) == 1:
            node = {**node, **kinds[0]}
            del node["anyOf"]
        return {k: resolved(v) for k, v in node.items() if k != "$ref"}

    return {name: resolved(node) for name, node in whole.get("properties", {}).items()}


def expected(schema: Mapping[str, Any], plural: bool = False) -> str:
    """Say what a value must be: ``a whole number of at least 1``, ``"cell" or "nucleus"``."""
    if "anyOf" in schema:
        kinds = [s for s in schema["anyOf"] if s.get("type") != "null"]
        return " or ".join(dict.fromkeys(expected(s, plural) for s in kinds))
    if choices := schema.get("enum", [schema["const"]] if "const" in schema else None):
        *rest, last = [show(c) for c in choices]
        return f"{', '.join(rest)} or {last}" if rest else last
    kind = schema.get("type", "")
    text = _NOUNS[kind][plural] if kind in _NOUNS else "a value of another kind"
    if kind == "array":
        return text + _items(schema)
    if kind == "string" and "pattern" in schema:
        examples = " or ".join(show(e) for e in schema.get("examples", ()))
        return f"{text} like {examples}" if examples else f"{text} that matches {schema['pattern']}"
    if kind == "string" and (least := schema.get("minLength")):
        return f"{text}, not empty" if least == 1 else f"{text} of {least} letters or more"
    bounds = [f"{word} {schema[name]:g}" for name, word in _BOUNDS.items() if name in schema]
    if bounds:
        text += f" {'of ' if bounds[0].startswith('at') else ''}{' and '.join(bounds)}"
    return text


def _items(schema: Mapping[str, Any]) -> str:
    low, high = schema.get("minItems"), schema.get("maxItems")
    items = schema["prefixItems"][0] if schema.get("prefixItems") else schema.get("items")
    what = expected(items, plural=True) if items else "values"
    if low is not None and low == high:
        return f" of {low} {what}"
    size = [f"{word} {n}" for word, n in (("at least", low), ("at most", high)) if n is not None]
    if low == 1 and high is None:
        size = ["not empty"]
    return f" of {what}{', ' if size else ''}{' and '.join(size)}"


def translate(error: ValidationError, model: type[BaseModel], data: Mapping[str, Any]) -> dict[Key, str]:
    """Say in words what is wrong with `data`: key → text to be written behind the key.

    Parameters
    ----------
    error : ValidationError
        What `model` said of `data`.
    data : nested mapping of plain values
    """
    out: dict[Key, str] = {}
    for found in error.errors(include_url=False):
        key: Key = ()
        schema: Mapping[str, Any] = {}
        inner: type[BaseModel] | None = model
        for part in found["loc"]:
            if inner is None or part not in inner.model_fields:
                break
            schema, inner = schemas(inner)[str(part)], submodel(inner.model_fields[str(part)])
            key += (str(part),)
        if found["type"] in ("value_error", "assertion_error"):
            text = str(found["ctx"]["error"])
            text = f" {text}" if text.startswith("must ") else f": {text}"
        elif found["type"] == "missing" and len(found["loc"]) == len(key):
            text = f" is missing: it must be {expected(schema)}"
        elif found["type"] == "finite_number":
            text = f" must be a finite number, is {show(found['input'])}"
        else:
            text = f" must be {expected(schema)}, is {_value(schema, data, key)}"
        out.setdefault(key, text)
    return out


def _value(schema: Mapping[str, Any], data: Mapping[str, Any], key: Key) -> str:
    value: Any = data
    for part in key:
        value = value[part]
    kind = schema.get("type")
    hint = ""
    if "enum" in schema:
        hint = nearest(str(value), map(str, schema["enum"]))
    elif kind == "string" and isinstance(value, bool | int | float):
        hint = ": put it in quotes"
    elif kind in ("integer", "number", "boolean") and isinstance(value, str) and re.match(_BARE, value):
        hint = ": take the quotes away"
    return show(value) + hint
