"""Lay the layers over each other and make models of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from dataops_parsl.config.layers import DEFAULTS, Problems, tree
from dataops_parsl.config.words import Key, translate

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Value:
    """A value, who said it, and how far up in the layers."""

    value: Any
    origin: str
    rank: int


class Merge:
    """The layers on top of each other.

    Parameters
    ----------
    problems : Problems
        Where to note what is wrong.
    """

    def __init__(self, problems: Problems) -> None:
        self.problems = problems
        self.values: dict[Key, Value] = {}
        self._layers = 0

    def lay(self, leaves: Mapping[Key, Any], origin: str) -> None:
        """Put a layer on top."""
        self._layers += 1
        self.values |= {key: Value(value, origin, self._layers) for key, value in leaves.items()}

    def under(self, *at: str) -> dict[Key, Any]:
        """The values below a key, by the rest of their keys."""
        return {k[len(at) :]: v.value for k, v in self.values.items() if k[: len(at)] == at}

    def origin(self, key: Key, home: str = "") -> str:
        """Who said the value, or spoke last in the table; of what nobody said, `home` or the table around."""
        while key:
            if said := [v for k, v in self.values.items() if k[: len(key)] == key]:
                return max(said, key=lambda v: v.rank).origin
            if home:
                return home
            key = key[:-1]
        return DEFAULTS

    def model(
        self, cls: type[M], leaves: Mapping[Key, Any], at: Key = (), *, home: str = "", own: bool = False
    ) -> M | None:
        """Check values as a model; None where they are wrong, which is noted.

        Parameters
        ----------
        leaves : mapping of key to value
            Keys as the model has them.
        at : Key
            Where the model stands in the configuration.
        home : str
            The file that has to say what is missing.
        own : bool
            Note only problems of values that are said at `at` itself.
        """
        raw = tree(leaves)
        try:
            # JSON mode, since a TOML array is what a tuple is written as; strict, since "3" is not 3.
            return cls.model_validate_json(json.dumps(raw), strict=True)
        except ValidationError as error:
            for key, text in translate(error, cls, raw).items():
                if not own or (*at, *key) in self.values:
                    self.problems.add(self.origin((*at, *key), home), (*at, *key), text)
        return None
