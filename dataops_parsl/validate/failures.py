"""The failures that a run lists: what they excuse."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dataops_parsl.dataset.names import FOR_ALL

_ALL = (None, "", FOR_ALL)
"""Positions of a failure that is of no single field of view."""


def place(position: str | None) -> str:
    """Where a failure is, in words."""
    return "all positions" if position is None or position in _ALL else position


class Failures:
    """Frames, films and dataset-wide results that a run lists as failed.

    Parameters
    ----------
    listed : iterable of mapping
        Each with ``position, frame, stage, reason``; frame None or -1 is the whole film.

    Attributes
    ----------
    frames : set of (position, frame)
        Those that are listed by themselves.
    """

    def __init__(self, listed: Iterable[Mapping[str, Any]] = ()) -> None:
        self.listed = list(listed)
        self.frames = {(f["position"], f["frame"]) for f in self.listed if f["frame"] not in (None, -1)}
        self._films = {f["position"] for f in self.listed if f["frame"] in (None, -1)}
        self._everywhere = any(f["position"] in _ALL for f in self.listed)

    def __bool__(self) -> bool:
        return bool(self.listed)

    def covers(self, position: str, frame: int) -> bool:
        """Whether a frame may be missing, by itself or with its film."""
        return self._everywhere or position in self._films or (position, frame) in self.frames

    def touches(self, position: str) -> bool:
        """Whether anything of a film failed: what reads several frames may lack rows there."""
        return self._everywhere or any(f["position"] == position for f in self.listed)

    def words(self) -> list[str]:
        """A line each: position, frame, stage, reason."""
        out = []
        for f in self.listed:
            frame = "" if f["frame"] in (None, -1) else f" frame {f['frame']}"
            out.append(f"{place(f['position'])}{frame}, {f['stage']}: {f['reason']}")
        return out
