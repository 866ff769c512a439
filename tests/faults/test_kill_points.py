"""The kit itself: what it counts, and that it kills where it says."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tests.faults import kill_points
from tests.helpers import Project


def test_a_command_is_counted_and_killed_where_asked(bare_project: Project, small_films: Path) -> None:
    root = bare_project.root
    (root / "data" / "datasets").mkdir(parents=True)
    words = ["dataset", "add", str(small_films), "--name", "one", "--project", str(root)]
    whole = kill_points.run(words, [root / "data"], log=root / "log")
    assert whole.code == 0, whole.output
    assert {"rename", "fsync", "mkdir"} <= {p.call for p in whole.points}
    renamed = next(p for p in whole.points if p.call == "rename" and ".one.incoming" in p.path)

    def renamed_as(name: str) -> kill_points.Point:
        return dataclasses.replace(renamed, kind=renamed.kind.replace("one", name))

    for when, name, there in (("before", "two", False), ("after", "three", True)):
        again = [name if word == "one" else word for word in words]
        hit = kill_points.run(again, [root / "data"], at=renamed_as(name), when=when, log=root / "log")
        assert (hit.code, hit.points[-1].call) == (-9, "rename")
        assert (root / "data" / "datasets" / name).is_dir() == there
