"""What is validated, and what a kind of bundle has to bring for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from dataops_parsl.validate.checks import Check


@dataclass(frozen=True)
class Subject:
    """A sealed bundle, and where that which it was made from lies.

    Parameters
    ----------
    root : Path
        Its folder; it is only read.
    data_root, legacy_root, scratch_root : Path
        Of the project that validates.
    """

    root: Path
    data_root: Path
    scratch_root: Path
    legacy_root: Path | None = None

    @property
    def id(self) -> str:
        """The run's id."""
        return self.root.name.removeprefix("run_")


@dataclass(frozen=True)
class Kind:
    """A kind of bundle.

    Parameters
    ----------
    name : str
    fits : callable
        Whether a folder is a bundle of this kind.
    checks : callable
        All its checks, the seal among them; an exception in it is a bug.
    """

    name: str
    fits: Callable[[Path], bool]
    checks: Callable[[Subject], Iterable[Check]]
