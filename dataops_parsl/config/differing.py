"""Which values of a configuration are not the defaults, and who set them."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from dataops_parsl.config.default import write_default
from dataops_parsl.config.loaded import Loaded
from dataops_parsl.config.words import Key, dotted


def differing(loaded: Loaded) -> list[dict[str, Any]]:
    """Every value that is not the default.

    Returns
    -------
    list of dict
        ``key, value, default, origin``; the default is None where the key has none, as those of populations.
        A stage's value for one population is compared with the stage's default, a stage's resources with
        the default ones.
    """
    classes = [type(stage) for stage in loaded.config.stages.values()]
    defaults = dict(_flat(tomllib.loads(write_default(classes)), ()))
    found = []
    for key, value in loaded.values.items():
        default = next((defaults[k] for k in _same(key) if k in defaults), None)
        name = dotted(key)
        origin = loaded.origins.get(name, "")
        if _plain(value) != default and origin != "default":
            found.append({"key": name, "value": _plain(value), "default": default, "origin": origin})
    return found


def _same(key: Key) -> Iterator[Key]:
    """Where the default of a key stands."""
    yield key
    if key[0] == "stages" and len(key) == 4:
        yield (key[0], key[1], key[3])
    if key[0] == "resources" and len(key) == 3:
        yield (key[0], "default", key[2])


def _flat(table: Mapping[str, Any], at: Key) -> Iterator[tuple[Key, Any]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, (*at, name))
        else:
            yield (*at, name), value


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
