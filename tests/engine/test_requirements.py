"""What stages need of the place, asked by `check`: each once, and none keeps it from the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from dataops_parsl.engine.finding import Finding
from dataops_parsl.engine.requirements import requirements
from dataops_parsl.errors import PlaceError
from dataops_parsl.stage import Requirement, Stage

HERE = Requirement("extra", True, "here")


class Weighty(Stage):
    name: ClassVar[str] = "weighty"
    version: ClassVar[int] = 1

    weights: str = "nano.pt"
    """Which weights."""

    def requirements(self) -> Sequence[Requirement]:
        if self.weights == "broken":
            raise OSError("no such device")
        return [Requirement("weights", self.weights == "nano.pt", self.weights, "download them")]


class Carded(Stage):
    name: ClassVar[str] = "carded"
    version: ClassVar[int] = 1

    lacks: str = "a card"
    """What is missing."""

    def requirements(self) -> Sequence[Requirement]:
        extra = Requirement("extra", False, self.lacks) if self.lacks == "the extra" else HERE
        return [extra, Requirement("device", True, "GPU")]

    def check_device(self) -> None:
        if self.lacks:
            raise PlaceError(self.lacks, "go elsewhere")


class Plain(Stage):
    name: ClassVar[str] = "plain"
    version: ClassVar[int] = 1


def test_what_a_stage_needs_is_found_with_its_remedy() -> None:
    found = requirements([("", Weighty()), ("", Plain())], False)
    assert found == [Finding("weighty: weights", True, "nano.pt", "download them")]


def test_populations_configured_alike_are_asked_once_and_others_are_told_apart() -> None:
    alike = requirements([("target", Weighty()), ("effector", Weighty())], False)
    assert [f.subject for f in alike] == ["weighty: weights"]
    three = [("target", Weighty()), ("bystander", Weighty()), ("effector", Weighty(weights="other.pt"))]
    differ = requirements(three, False)
    assert [(f.subject, f.ok) for f in differ] == [
        ("weighty[target, bystander]: weights", True),
        ("weighty[effector]: weights", False),
    ]


def test_a_stage_that_cannot_say_fails_alone() -> None:
    found = requirements([("target", Weighty(weights="broken")), ("effector", Weighty())], False)
    assert [(f.subject, f.ok) for f in found] == [
        ("weighty[target]: needs", False),
        ("weighty[effector]: weights", True),
    ]
    assert "OSError: no such device" in found[0].found


def test_a_device_that_is_not_there_fails_where_workers_run_on_this_host() -> None:
    lacking = [("", Carded()), ("", Plain())]
    assert all(f.ok for f in requirements(lacking, False)), "nodes may have what this host lacks"
    assert requirements(lacking, True) == [
        Finding("carded: extra", True, "here"),
        Finding("carded: device", False, "a card", "go elsewhere"),
    ]
    assert all(f.ok for f in requirements([("", Carded(lacks=""))], True))
    # What was said already is not said again.
    twice = requirements([("", Carded(lacks="the extra"))], True)
    assert [(f.subject, f.ok) for f in twice] == [("carded: extra", False), ("carded: device", True)]
