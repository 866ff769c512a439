"""What can go wrong, as one tree; every error says what, where, and the remedy.

::

    DataopsError                    1   (base; a bare one is a bug)
    ├── UsageError                  2   a command line or name that cannot be meant (also ValueError)
    │   ├── ConfigError             2   a config file or key
    │   └── DatasetError            2   input that is not what it says it is
    ├── PlaceError                  3   the machine is not fit: disk, SLURM, weights (also OSError)
    │   └── MissingExtraError       3   an optional dependency is not installed
    ├── InputMissingError           4   an intermediate that was there is gone or damaged: plan again
    ├── PartialError                4   the run is done but for named frames
    ├── RejectedError               5   validation says no
    └── InterruptedRunError       130   Ctrl-C or a signal
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DataopsError(Exception):
    """Base of the tree.

    Parameters
    ----------
    message : str
        What happened, and where.
    remedy : str
        What to do about it, as an imperative sentence; may be empty.
    """

    exit_code = 1

    # One required argument: an exception whose constructor needs two does not unpickle, and a
    # future that carries it never resolves.
    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message, remedy)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n  remedy: {self.remedy}" if self.remedy else self.message


class UsageError(DataopsError, ValueError):
    """A command line, name or value that cannot be meant."""

    exit_code = 2


class ConfigError(UsageError):
    """A config file, key or value that is wrong."""


class DatasetError(UsageError):
    """Input data that is not what it says it is."""


class PlaceError(DataopsError, OSError):
    """The machine is not fit: disk, permissions, scheduler, weights."""

    exit_code = 3


class MissingExtraError(PlaceError):
    """An optional dependency is not installed."""


class InputMissingError(DataopsError):
    """A part that a task reads is gone or is not what its receipt says."""

    exit_code = 4


class PartialError(DataopsError):
    """Everything that could be computed was; named frames could not."""

    exit_code = 4


class RejectedError(DataopsError):
    """A bundle that validation does not accept."""

    exit_code = 5


class InterruptedRunError(DataopsError):
    """The run was stopped by a signal."""

    exit_code = 130


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``' (did you mean 'x'?)'`` for the closest known name, or ``''``."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean {found[0]!r}?)" if found else ""
