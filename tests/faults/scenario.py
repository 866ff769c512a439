"""A command that changes a tree, killed at its points, try after try; after each, a rerun completes."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import stat
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.faults import kill_points
from tests.faults.kill_points import Point, When

REPORT = "KILL_REPORT"
"""In the environment: the file to which each scenario adds a line of figures; see tests/faults/report.py."""


class Scenario(ABC):
    """What is killed, and what has to hold.

    The tree is made once and put back before each try, always at the same path.

    Parameters
    ----------
    root : Path
        Of the project.
    """

    name: str

    def __init__(self, root: Path) -> None:
        self.root = root

    @abstractmethod
    def build(self) -> None:
        """Make the tree as it is before the command."""

    @abstractmethod
    def arguments(self) -> list[str]:
        """The command that is killed, and that is run again to complete; ``--project`` is added."""

    def put_back(self) -> None:  # noqa: B027  (most have nothing there)
        """Make what lies outside the tree as it was before the command."""

    @property
    def under(self) -> list[Path]:
        """Folders whose calls are counted."""
        return [self.root]

    @abstractmethod
    def killed(self) -> None:
        """Assert what holds at any moment: no dataset byte changed, nothing half written."""

    @abstractmethod
    def completed(self) -> None:
        """Assert what holds after the rerun: the same as without a kill."""


def tries(scenario: Scenario, *, many: int | None = None, seed: int = 0) -> int:
    """Kill a scenario at its points; returns the number of tries.

    Parameters
    ----------
    many : int, optional
        So many points, drawn with `seed`; without it every point, before and after its call.
    """
    home = scenario.root.parent
    kept, log = home / f"{scenario.root.name}.kept", home / f"{scenario.root.name}.log"
    scenario.root.mkdir(parents=True, exist_ok=True)
    scenario.build()
    shutil.copytree(scenario.root, kept, symlinks=True)
    words = [*scenario.arguments(), "--project", str(scenario.root)]
    undisturbed = kill_points.run(words, scenario.under, log=log)
    assert undisturbed.code == 0, undisturbed.output
    scenario.completed()
    chosen = _chosen(undisturbed.points, many, seed)
    for at, when in chosen:
        _put_back(kept, scenario.root)
        scenario.put_back()
        hit = kill_points.run(words, scenario.under, at=at, when=when, log=log)
        where = f"{scenario.name}, killed {when} {at}"
        assert hit.code == -9, f"{where}: exit {hit.code}\n{hit.output}"
        try:
            scenario.killed()
            again = kill_points.run(words, scenario.under, log=log)
            assert again.code == 0, f"the rerun ended with {again.code}:\n{again.output}"
            scenario.completed()
        except AssertionError as error:
            raise AssertionError(f"{where}: {error}") from error
    _report(scenario.name, undisturbed.points, len(chosen))
    return len(chosen)


def _chosen(points: Sequence[Point], many: int | None, seed: int) -> list[tuple[Point, When]]:
    every: list[tuple[Point, When]] = [(p, when) for p in points for when in ("before", "after")]
    assert every, "nothing was counted"
    return every if many is None else random.Random(seed).sample(every, min(many, len(every)))


def _put_back(kept: Path, root: Path) -> None:
    make_writable(root)
    shutil.rmtree(root)
    shutil.copytree(kept, root, symlinks=True)


def make_writable(root: Path) -> None:
    """Give the owner every right to the folders of a tree, so that it can be removed."""
    for folder, _, _ in os.walk(root):
        os.chmod(folder, stat.S_IRWXU)


def digests(root: Path) -> dict[str, str]:
    """Every file of a tree, by its path below it; links by where they lead."""
    found = {}
    for folder, folders, files in os.walk(root):
        for name in (*files, *folders):
            path = Path(folder, name)
            if path.is_symlink():
                found[str(path.relative_to(root))] = f"-> {os.readlink(path)}"
            elif path.is_file():
                found[str(path.relative_to(root))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def unchanged(before: Mapping[str, str], root: Path) -> None:
    """Assert that every file of a tree is as it was; others may have come."""
    now = digests(root)
    wrong = {path for path, digest in before.items() if now.get(path) != digest}
    assert not wrong, f"changed or gone: {sorted(wrong)[:5]}"


def _report(name: str, points: Sequence[Point], n: int) -> None:
    if place := os.environ.get(REPORT):
        line = {"scenario": name, "points": len(points), "calls": Counter(p.call for p in points), "tries": n}
        with open(place, "a") as file:
            file.write(json.dumps(line) + "\n")
