"""Small films on disk for scenarios that take them in: two positions of one channel."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
import tifffile

DESCRIPTION = """\
pixel_size_um = [0.65, 0.65]
frame_interval_s = 60
pattern = "{position}/{channel}/im_{frame:05d}.tif"
[channels]
gfp = { stain = "GFP" }
[populations.target]
segment = ["gfp"]
diameter_um = 20
"""


def write_frames(folder: Path, frames: dict[str, range]) -> None:
    """Write frames of positions, each with pixels of its own, and the description."""
    for position, numbers in frames.items():
        for t in numbers:
            path = folder / position / "gfp" / f"im_{t:05d}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            seed = [t, *position.encode()]
            tifffile.imwrite(path, np.random.default_rng(seed).integers(1, 4000, (8, 9), dtype=np.uint16))
    (folder / "dataset.toml").write_text(DESCRIPTION)


def writable(root: Path) -> set[str]:
    """Files and folders below a snapshot that can be written to."""
    found = set()
    for folder, folders, files in os.walk(root):
        for path in (Path(folder, name) for name in (*folders, *files)):
            if path.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH):
                found.add(str(path.relative_to(root)))
    return found
