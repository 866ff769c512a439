"""What the stages of a run, as they are configured, need of this host: their own answers as findings."""

from __future__ import annotations

from collections.abc import Iterable

from dataops_parsl.engine.finding import Finding
from dataops_parsl.errors import PlaceError
from dataops_parsl.stage import Stage


def requirements(stages: Iterable[tuple[str, Stage]], computes_here: bool) -> list[Finding]:
    """Ask each stage once what it needs, on this host.

    Parameters
    ----------
    stages : iterable of (population or "", Stage)
        Stages that are configured alike for several populations are asked once.
    computes_here : bool
        Whether workers run on this host: then it must have the device that a stage computes on.

    Returns
    -------
    list of Finding
        Subjects are ``stage: what``, or ``stage[populations]: what`` where populations differ.
    """
    asked: dict[str, list[tuple[Stage, list[str]]]] = {}
    for population, stage in stages:
        known = asked.setdefault(stage.name, [])
        alike = next((populations for other, populations in known if other == stage), None)
        if alike is None:
            known.append((stage, [population]))
        else:
            alike.append(population)
    found = []
    for name, many in asked.items():
        for stage, populations in many:
            found += _of(f"{name}[{', '.join(populations)}]" if len(many) > 1 else name, stage, computes_here)
    return found


def _of(label: str, stage: Stage, computes_here: bool) -> list[Finding]:
    try:
        found = [
            Finding(f"{label}: {need.subject}", need.ok, need.found, need.remedy)
            for need in stage.requirements()
        ]
        return _with_device(f"{label}: device", stage, found) if computes_here else found
    except Exception as error:  # a stage that cannot say what it needs must not keep `check` from the rest
        return [
            Finding(
                f"{label}: needs",
                False,
                f"cannot be told: {type(error).__name__}: {error}",
                f"is its installation whole? {type(stage).__module__}.requirements fails",
            )
        ]


def _with_device(subject: str, stage: Stage, found: list[Finding]) -> list[Finding]:
    """What was found, with the device that this host lacks in the place of what the stage says of it."""
    try:
        stage.check_device()
    except PlaceError as error:
        if error.message not in {f.found for f in found}:  # such as what is not installed
            found = [f for f in found if f.subject != subject]
            found.append(Finding(subject, False, error.message, error.remedy))
    return found
