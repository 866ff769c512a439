"""One answer to the question whether a place is fit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dataops_parsl.errors import PlaceError

_NAMED = 3
"""So many failures an error spells out; `check` prints all."""


@dataclass(frozen=True)
class Finding:
    """One answer.

    Parameters
    ----------
    subject : str
        What was asked about, in a word or two.
    ok : bool
        Whether a run could start as far as this goes.
    found : str
        What is there.
    remedy : str
        What to do about it. With `ok` it is advice.
    """

    subject: str
    ok: bool
    found: str
    remedy: str = ""


def require(findings: Iterable[Finding]) -> None:
    """Refuse to go on when anything is not fit.

    Raises
    ------
    PlaceError
        Naming the first failures, in the words of whoever refused, and what to do.
    """
    failed = [f for f in findings if not f.ok]
    if not failed:
        return
    lines = [f"{f.subject}: {f.found}" for f in failed[:_NAMED]]
    if more := len(failed) - len(lines):
        lines.append(f"and {more} more")
    remedies = [f.remedy for f in failed[:_NAMED] if f.remedy]
    raise PlaceError(
        "\n  ".join(["the site is not fit for this run:", *lines]),
        "; ".join(dict.fromkeys([*remedies, "`python -m dataops_parsl check` says all that it finds"])),
    )
