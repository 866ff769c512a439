"""What a check says: what was looked at, what was expected, what was found, and whether that holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

State = Literal["ok", "noted", "not checked", "partial", "failed", "tampered"]
Verdict = Literal["accepted", "partial", "rejected", "tampered"]
STATES: tuple[State, ...] = get_args(State)
PURGED = "purged"
MAX_NAMED = 5
_VERDICTS: dict[State, Verdict] = {
    "ok": "accepted",
    "noted": "accepted",
    "not checked": "accepted",
    "partial": "partial",
    "failed": "rejected",
    "tampered": "tampered",
}
_SEVERITY: tuple[Verdict, ...] = ("accepted", "partial", "rejected", "tampered")


@dataclass(frozen=True)
class Check:
    """One check.

    Parameters
    ----------
    what : str
        What was looked at.
    expected, found : str
        In words; `found` of what was not checked says why not.
    verdict : State
        ``ok``; ``noted``, no fault, but who uses the result should know it; ``not checked``, what it needs
        is not there; ``partial``, frames failed in the run and are
        listed; ``failed``, the bundle contradicts itself or its input; ``tampered``, a file is not the
        one that was sealed.
    """

    what: str
    expected: str
    found: str
    verdict: State

    @property
    def ok(self) -> bool:
        """Whether nothing speaks against the bundle."""
        return self.verdict in ("ok", "noted", "not checked")

    def __str__(self) -> str:
        return f"{self.what}: {self.verdict}: {self.found}"


def check(what: str, expected: str, problems: Sequence[str], found: str) -> Check:
    """A check that holds unless there are problems, which are then what was found."""
    return Check(what, expected, some(problems) or found, "failed" if problems else "ok")


def some(words: Sequence[str], most: int = MAX_NAMED) -> str:
    """The first few of them, and how many more there are."""
    more = f"; and {len(words) - most} more" if len(words) > most else ""
    return "; ".join(words[:most]) + more


def overall(checks: Iterable[Check]) -> Verdict:
    """The verdict on a bundle: that of its worst check."""
    return worst(_VERDICTS[c.verdict] for c in checks)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst of several verdicts; accepted where there is none."""
    return max(verdicts, key=_SEVERITY.index, default="accepted")
