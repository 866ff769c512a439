"""Older trees, made up: what labs keep, in small."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from dataops_parsl.migration.copying import Ticks
from dataops_parsl.migration.execute import Outcome, execute, undo
from dataops_parsl.migration.journal import journal_path, open_journal
from dataops_parsl.migration.plan import Action, Places, Plan
from dataops_parsl.migration.proposing import propose
from dataops_parsl.migration.rules import load_rules
from tests.dataset.films import frame

DESCRIPTION = """
pixel_size_um = [0.65, 0.65]
frame_interval_s = 60
[channels]
gfp = { stain = "GFP" }
"""


def write(path: Path, text: str | bytes = "x") -> Path:
    """A file and its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def film(
    folder: Path,
    positions: tuple[str, ...] = ("P1",),
    channels: tuple[str, ...] = ("gfp",),
    n_frames: int = 2,
    described: bool = True,
) -> Path:
    """One TIFF per frame per channel, each with other pixels; returns the folder."""
    for position in positions:
        for channel in channels:
            for t in range(n_frames):
                path = folder / position / channel / f"im_{t:05d}.tif"
                path.parent.mkdir(parents=True, exist_ok=True)
                tifffile.imwrite(path, frame(f"{folder.name}/{position}", channel, t))
    if described:
        write(folder / "dataset.toml", DESCRIPTION)
    return folder


def hyperstack(path: Path, n_frames: int = 3, n_channels: int = 2, seed: int = 0) -> Path:
    """An ImageJ hyperstack."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(1, 400, (n_frames, n_channels, 8, 8), dtype=np.uint16)
    tifffile.imwrite(path, pixels, imagej=True, metadata={"axes": "TCYX"})
    return path


def small(root: Path) -> Path:
    """A dataset, an intermediate, a draft and a result, and links that are out to harm; few files."""
    film(root / "exp1" / "raw")
    write(root / "exp1" / "raw" / "notes.txt", "acquired on a Tuesday")
    write(root / "exp1" / "cellpose" / "masks" / "a.csv", "label\n1\n")
    (root / "exp1" / "cellpose" / "inside").symlink_to(root / "exp1" / "cellpose" / "masks")
    (root / "exp1" / "cellpose" / "up").symlink_to("..")
    write(root / "exp1" / "slurm-1.out", "job 1")
    write(root / "exp1" / "slurm-2.out", "job 2")
    write(root / "paper" / "fig1.svg", "<svg/>")
    (root / "paper" / "films").symlink_to("../exp1/raw")
    (root / "paper" / "dangling").symlink_to("nowhere")
    (root / "paper" / "loop").symlink_to("loop")
    write(root / "results_2023-05-12" / "kills.csv", "track\n1\n")
    write(root / "misc" / "protocol.docx", "pipette")
    (root / "loop").symlink_to(".")
    return root


def places(project: Path) -> Places:
    """The usual places of a project."""
    data = project / "data"
    return Places(project, data / "datasets", data / "scratch", project / "output", data / "paper_figures")


def sha256(path: Path) -> str:
    """Of the bytes of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def sha256s(*roots: Path) -> Counter[str]:
    """How often which content is there, wherever it lies."""
    found: Counter[str] = Counter()
    for root in roots:
        for folder, _, files in os.walk(root):
            for name in files:
                path = Path(folder, name)
                if not path.is_symlink():
                    found[sha256(path)] += 1
    return found


def state(root: Path) -> dict[str, tuple[str, int, int]]:
    """Everything below a folder: content or where it leads, mode, and when files were changed last."""
    found = {}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(folder, name)
            said = path.lstat()
            what, changed = "folder", 0
            if path.is_symlink():
                what = f"-> {os.readlink(path)}"
            elif path.is_file():
                what, changed = sha256(path), said.st_mtime_ns
            found[str(path.relative_to(root))] = (what, stat.S_IMODE(said.st_mode), changed)
    return found


class Lab:
    """An older tree, a project, and a plan from the one to the other."""

    def __init__(self, home: Path, old: Path) -> None:
        self.old, self.project = old, home / "project"
        self.places: Places = places(self.project)
        self.file = home / "plan.toml"
        self.said: dict[str, str] = {}
        self.plan: Plan | None = None

    def look(self, action: Action | None = None) -> Plan:
        """Plan anew."""
        self.plan = propose(self.old, self.places, load_rules(), action).plan
        return self.plan

    def change(self, key: str, **changes: Any) -> None:
        """Change an item of the plan."""
        assert self.plan is not None
        items = [i.model_copy(update=changes) if i.key == key else i for i in self.plan.item]
        self.plan = self.plan.model_copy(update={"item": tuple(items)})

    def go(self, ticks: Ticks = lambda size: None) -> Outcome:
        """Carry the plan out."""
        assert self.plan is not None
        with open_journal(journal_path(self.file)) as journal:
            return execute(self.plan, self.file, self.places, journal, self.said.__setitem__, ticks)

    def back(self) -> Outcome:
        """Undo it."""
        with open_journal(journal_path(self.file)) as journal:
            return undo(journal, self.said.__setitem__)

    def hidden(self) -> list[Path]:
        """What stands under a hidden name: nothing, once all is done."""
        return [*self.old.rglob(".*"), *self.project.rglob(".*")]

    @property
    def data(self) -> Path:
        """Of the project."""
        return self.project / "data"
