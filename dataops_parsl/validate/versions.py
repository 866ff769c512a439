"""By which versions the parts of a result were made: those of an earlier run are not computed again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dataops_parsl.validate.checks import Check, some

_WHAT, _EXPECTED = "versions of the parts", "those of the last start made all of them"
MadeBy = Iterable[Mapping[str, Any]]
"""Each with ``versions`` of the workers, number of ``parts``, and their ``steps``."""


def others(made_by: MadeBy, last: Mapping[str, str]) -> list[str]:
    """In words, the parts that other versions made than those of the last start.

    Parameters
    ----------
    made_by : iterable
        What the receipts of the parts say.
    last : mapping of str to str
        Versions of the last start.
    """
    out = []
    for made in made_by:
        said = made["versions"]
        differ = [
            f"{name} {v or 'none'} instead of {last.get(name)}"
            for name, v in said.items()
            if last.get(name) != v
        ]
        if differ or not said:
            n, steps = made["parts"], some(made["steps"], 3)
            words = ", ".join(differ) or "a version that did not record which"
            out.append(f"{n} part{'s' * (n != 1)} made earlier, by {words} ({steps})")
    return out


def check_versions(facts: Mapping[str, Any]) -> Check:
    """Whether the versions that a run names are those of all that it published."""
    made_by = facts.get("made_by")
    if made_by is None:
        return Check(_WHAT, _EXPECTED, "the run did not record who made them", "not checked")
    last = (facts.get("starts") or [{}])[-1].get("versions", {})
    if found := others(made_by, last):
        return Check(_WHAT, _EXPECTED, some(found), "noted")
    return Check(_WHAT, _EXPECTED, f"{sum(made['parts'] for made in made_by)} parts", "ok")
