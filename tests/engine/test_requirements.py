"""What stages need of the place, asked by `check`: each once, and none keeps it from the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from dataops_parsl.engine.finding import Finding
from dataops_parsl.engine.requirements import requirements
from dataops_parsl.stage import Requirement, Stage


class Weighty(Stage):
    name: ClassVar[str] = "weighty"
    version: ClassVar[int] = 1

    weights: str = "nano.pt"
    """Which weights."""

    def requirements(self) -> Sequence[Requirement]:
        if self.weights == "broken":
            raise OSError("no such device")
        return [Requirement("weights", self.weights == "nano.pt", self.weights, "download them")]


class Plain(Stage):
    name: ClassVar[str] = "plain"
    version: ClassVar[int] = 1


def test_what_a_stage_needs_is_found_with_its_remedy() -> None:
    found = requirements([("", Weighty()), ("", Plain())])
    assert found == [Finding("weighty: weights", True, "nano.pt", "download them")]


def test_populations_configured_alike_are_asked_once_and_others_are_told_apart() -> None:
    alike = requirements([("target", Weighty()), ("effector", Weighty())])
    assert [f.subject for f in alike] == ["weighty: weights"]
    three = [("target", Weighty()), ("bystander", Weighty()), ("effector", Weighty(weights="other.pt"))]
    differ = requirements(three)
    assert [(f.subject, f.ok) for f in differ] == [
        ("weighty[target, bystander]: weights", True),
        ("weighty[effector]: weights", False),
    ]


def test_a_stage_that_cannot_say_fails_alone() -> None:
    found = requirements([("target", Weighty(weights="broken")), ("effector", Weighty())])
    assert [(f.subject, f.ok) for f in found] == [
        ("weighty[target]: needs", False),
        ("weighty[effector]: weights", True),
    ]
    assert "OSError: no such device" in found[0].found
