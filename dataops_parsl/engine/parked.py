"""Parts that another run computes just now: put aside, and asked about again a little later."""

from __future__ import annotations

import time
from dataclasses import dataclass

from dataops_parsl.nodes import Part
from dataops_parsl.storage.part_claims import Claims, Holder

FIRST_S, MOST_S = 0.2, 2.0
"""When a part is asked about for the first time, and how far apart that becomes."""


@dataclass
class _Look:
    holder: Holder
    at: float
    wait_s: float = FIRST_S


class Parked:
    """The parts that were put aside.

    Parameters
    ----------
    claims : Claims
    """

    def __init__(self, claims: Claims) -> None:
        self._claims = claims
        self._looks: dict[Part, _Look] = {}
        self._told: dict[Part, Holder] = {}

    def __len__(self) -> int:
        return len(self._looks)

    def clear(self) -> None:
        """Forget all of them: another round begins."""
        self._looks.clear()
        self._told.clear()

    def add(self, part: Part, holder: Holder) -> bool:
        """Put a part aside; whether it waits for something that it did not wait for before."""
        self._looks[part] = _Look(holder, time.monotonic() + FIRST_S)
        new = self._told.get(part) != holder
        self._told[part] = holder
        return new

    def due(self) -> list[Part]:
        """Take out the parts that nobody holds any more."""
        now, free = time.monotonic(), []
        for part, look in self._looks.items():
            if look.at > now:
                continue
            if self._claims.held(part.place) is None:
                free.append(part)
            else:
                look.wait_s = min(MOST_S, 1.5 * look.wait_s)
                look.at = now + look.wait_s
        for part in free:
            del self._looks[part]
        return free

    def wait_s(self) -> float:
        """How long nothing is to be asked; infinite when there is no part."""
        now = time.monotonic()
        return max(0.0, min((look.at - now for look in self._looks.values()), default=float("inf")))
