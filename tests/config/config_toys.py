"""Toy stages and a project on disk, for the tests of the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import Field, field_validator, model_validator

from dataops_parsl.config import Loaded, load
from dataops_parsl.errors import ConfigError
from dataops_parsl.stage import Stage


class Trackmate(Stage):
    """Link objects to tracks.

    More that the file of defaults does not need.
    """

    name = "trackmate"
    version = 1

    backend: Literal["lap", "fiji"] = "lap"
    """What links."""

    linking_max_distance_um: float | None = Field(default=None, gt=0)
    """Farthest step. Not set: the population's diameter."""

    max_frame_gap: int = Field(default=2, ge=0)
    """Frames that may be missed."""

    splitting: bool = False
    """Whether tracks divide."""


class Contact(Stage):
    """Contacts."""

    name = "contact"
    version = 1

    radius_um: float = Field(default=2, gt=0)
    """Reach, µm."""

    store_um: float = Field(default=10, gt=0, le=100)
    """Pairs up to this gap are kept, and this sentence is long enough that it has to be wrapped once."""

    bins: tuple[float, float] = (0, 1)
    """Two bounds."""

    threshold: Literal["auto"] | float = "auto"
    """By hand, or found."""

    channels: tuple[str, ...] = ()
    """Which channels. All: none is named."""

    @field_validator("channels")
    @classmethod
    def _once(cls, channels: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(channels)) < len(channels):
            raise ValueError("a channel is named twice")
        return channels

    @model_validator(mode="after")
    def _stores_contacts(self) -> Contact:
        if self.store_um < self.radius_um:
            raise ValueError(f"store_um {self.store_um:g} must not be less than radius_um {self.radius_um:g}")
        return self


class Overlays(Stage):
    """A stage without parameters."""

    name = "overlays"
    version = 1


STAGES = (Trackmate, Contact, Overlays)
POPULATIONS: Mapping[str, Any] = {
    "effector": {"segment": ["ctdr"], "mask": "cell", "diameter_um": 10},
    "target": {"segment": ["gfp", "pi"], "diameter_um": 20.5},
}


class Project:
    """A project folder whose files a test writes.

    Parameters
    ----------
    root : Path
        Existing, empty folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("configs/sites/laptop.toml", '[site]\nkind = "local"\n')
        self.write("configs/sites/hpc.toml", '[site]\nkind = "slurm"\n[resources.trackmate]\nmem_gb = 8\n')

    def write(self, path: str, text: str) -> None:
        """Write a file below the root."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def user(self, text: str) -> None:
        """Write config.user.toml."""
        self.write("configs/config.user.toml", text)

    def load(self, populations: Mapping[str, Any] | None = POPULATIONS, **how: Any) -> Loaded:
        """Load with the toy stages and the populations as of a dataset.toml."""
        layer = None if populations is None else (self.root / "data/datasets/demo/dataset.toml", populations)
        return load(self.root, stage_classes=STAGES, dataset_layer=layer, **how)


def said(project: Project, **how: Any) -> list[str]:
    """The problems that loading names, one a line."""
    with pytest.raises(ConfigError) as caught:
        project.load(**how)
    assert caught.value.exit_code == 2
    assert caught.value.remedy
    lines = caught.value.message.splitlines()
    if len(lines) > 1:
        assert lines.pop(0) == f"{len(lines)} problems in the configuration:"
    return [line.strip() for line in lines]
