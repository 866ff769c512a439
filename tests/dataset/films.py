"""Tiny seeded films, planted in folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FilmMaker = Callable[..., Path]
SHAPE = (12, 17)

DESCRIPTION = """
pixel_size_um = [0.65, 0.5]
frame_interval_s = 60
{extra}
[channels]
gfp = {{ stain = "GFP", lost_on_death = true }}
pi = {{ stain = "PI", death_marker = true{pi} }}
[populations.target]
segment = ["gfp", "pi"]
diameter_um = 20
"""


def describe(extra: str = "", pi: str = "") -> str:
    """A dataset.toml for the channels gfp and pi."""
    return DESCRIPTION.format(extra=extra, pi=pi)


def frame(position: str, channel: str, t: int, shape: tuple[int, int] = SHAPE) -> NDArray[np.uint16]:
    """The planted pixels: another picture for every position, channel and frame."""
    seed = [t, *position.encode(), *channel.encode()]
    return np.random.default_rng(seed).integers(1, 4000, shape, dtype=np.uint16)
