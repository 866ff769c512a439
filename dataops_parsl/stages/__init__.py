"""The stages, one file each: parameters, output schemas, steps."""

from __future__ import annotations

import importlib
import pkgutil

from dataops_parsl.stage import Stage


def discover() -> list[type[Stage]]:
    """All stage classes of this package, by the names of their files."""
    found: list[type[Stage]] = []
    for info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{info.name}")
        found += [
            value
            for value in vars(module).values()
            if isinstance(value, type) and issubclass(value, Stage) and value.__module__ == module.__name__
        ]
    return found
