"""The kinds of bundles that can be validated; the first that fits is taken.

A new one: a module with a `Kind`, and its name in `KINDS`.
"""

from __future__ import annotations

from pathlib import Path

from dataops_parsl.validate import workflow_run
from dataops_parsl.validate.subject import Kind

KINDS: tuple[Kind, ...] = (workflow_run.KIND,)


def kind_of(root: Path) -> Kind | None:
    """The kind of a bundle; None for a folder that is none."""
    return next((kind for kind in KINDS if kind.fits(root)), None)
