"""A film that `known_answer` weights see through: cells as Gaussian blobs at places that are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataops_parsl.dataset import writers
from tests.helpers import DESCRIPTION

SIDE_PX = 112
"""At twice its size it is still one tile of the net."""
PIXEL_UM = 0.65
EFFECTORS = ((20, 24), (24, 90), (86, 22))
TARGETS = ((30, 56), (80, 84))
SIGMA_FRAC = 0.2
"""Standard deviation of a blob, of the expected diameter."""
DIAMETERS_UM = {"effector": 10.0, "target": 20.0}


def blobs(shape: tuple[int, int], centres: Any, sigma_px: float) -> NDArray[np.float64]:
    """Blobs of height 1 at (y, x)."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    parts = [np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * sigma_px**2)) for cy, cx in centres]
    return np.sum(parts, axis=0) if parts else np.zeros(shape)


def counts(channel: str, frame: int) -> NDArray[np.uint16]:
    """Counts of a channel: effectors in ctdr, targets in gfp, nobody dead in pi."""
    who = {"ctdr": ("effector", EFFECTORS), "gfp": ("target", TARGETS)}
    noise = np.random.default_rng([frame, len(channel), ord(channel[0])]).normal(0, 8, (SIDE_PX, SIDE_PX))
    image = 200 + noise
    if channel in who:
        name, centres = who[channel]
        image += 3000 * blobs(image.shape, centres, SIGMA_FRAC * DIAMETERS_UM[name] / PIXEL_UM)
    return np.rint(image).clip(0, 65535).astype(np.uint16)


def write(folder: Path, n_frames: int) -> Path:
    """Write the film as a source for `dataset add`."""
    writers.write(
        "tiff-frames",
        folder,
        {"P1": n_frames},
        ("ctdr", "gfp", "pi"),
        lambda position, channel, frame: counts(channel, frame),
        (PIXEL_UM, PIXEL_UM),
        120.0,
    )
    text = DESCRIPTION.format(
        name="known", size=PIXEL_UM, interval=120.0, pattern=f'pattern = "{writers.PATTERN}"\n'
    )
    (folder / "dataset.toml").write_text(text)
    (folder / "plate.csv").write_text("position,well,condition,control,replicate\nP1,A1,both,,1\n")
    return folder
