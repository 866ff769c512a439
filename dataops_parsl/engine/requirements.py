"""What the stages of a run, as they are configured, need of this host: their own answers as findings."""

from __future__ import annotations

from collections.abc import Iterable

from dataops_parsl.engine.finding import Finding
from dataops_parsl.stage import Stage


def requirements(stages: Iterable[tuple[str, Stage]]) -> list[Finding]:
    """Ask each stage once what it needs, on this host.

    Parameters
    ----------
    stages : iterable of (population or "", Stage)
        Stages that are configured alike for several populations are asked once.

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
            found += _of(f"{name}[{', '.join(populations)}]" if len(many) > 1 else name, stage)
    return found


def _of(label: str, stage: Stage) -> list[Finding]:
    try:
        return [
            Finding(f"{label}: {need.subject}", need.ok, need.found, need.remedy)
            for need in stage.requirements()
        ]
    except Exception as error:  # a stage that cannot say what it needs must not keep `check` from the rest
        return [
            Finding(
                f"{label}: needs",
                False,
                f"cannot be told: {type(error).__name__}: {error}",
                f"is its installation whole? {type(stage).__module__}.requirements fails",
            )
        ]
