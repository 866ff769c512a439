"""Small planted films with given masks, as datasets, and the tables that the real stages make of them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from dataops_parsl import publish
from dataops_parsl.dataset import ingest
from dataops_parsl.validate.tables import check_tables
from tests.helpers import PROJECT
from tests.in_process import compute, in_turn, planned

Image = NDArray[Any]
Masks = Mapping[str, Sequence[Image]]
"""Label images (Y, X) of each population, frame by frame."""

STAINS = {"effector": "ctdr", "target": "gfp"}
SIZE_UM, EVERY_S = 1.0, 60
DESCRIPTION = f"""\
pixel_size_um = [{SIZE_UM}, {SIZE_UM}]
frame_interval_s = {EVERY_S}
pattern = "{{position}}/{{channel}}/im_{{frame:05d}}.tif"
[channels]
ctdr = {{ stain = "CTDR" }}
gfp = {{ stain = "GFP", lost_on_death = true }}
pi = {{ stain = "PI", death_marker = true }}
effector_masks = {{ labels = "effector" }}
target_masks = {{ labels = "target" }}
[populations.effector]
segment = ["ctdr"]
diameter_um = 6
[populations.target]
segment = ["gfp"]
diameter_um = 10
"""
GIVEN = (
    "--set=stages.cellpose.backend=labels",
    "--set=stages.register_denoise.register_frames=false",
    "--set=stages.register_denoise.denoise=off",
    "--set=stages.killing.threshold_count=1000",
)
"""Masks are taken as they are, and a death stain above this means death."""


def stained(masks: Masks, seed: int = 0) -> dict[str, list[Image]]:
    """Counts of each stain: 400 above a ground of 100 where its population is; nobody dies."""
    rng = np.random.default_rng(seed)
    shape = masks["target"][0].shape
    images = {
        STAINS[population]: [rng.poisson(100 + 400 * (mask > 0)).astype(np.uint16) for mask in many]
        for population, many in masks.items()
    }
    return images | {"pi": [rng.poisson(np.full(shape, 100)).astype(np.uint16) for _ in masks["target"]]}


def project(
    root: Path,
    masks: Masks,
    images: Mapping[str, Sequence[Image]] | None = None,
    exclude: Mapping[tuple[str, int], str] | None = None,
) -> Path:
    """A project with one dataset, ``film``, of one position, ``P1``; returns its folder."""
    shutil.copytree(PROJECT / "configs", root / "configs", ignore=shutil.ignore_patterns("*.user.toml"))
    shutil.copytree(PROJECT / "apps", root / "apps")
    source = root / "acquired"
    films: dict[str, Sequence[Image]] = dict(stained(masks) if images is None else images)
    films |= {f"{p}_masks": [m.astype(np.uint32) for m in many] for p, many in masks.items()}
    for channel, many in films.items():
        (source / "P1" / channel).mkdir(parents=True)
        for frame, image in enumerate(many):
            tifffile.imwrite(source / "P1" / channel / f"im_{frame:05d}.tif", image)
    (source / "dataset.toml").write_text(DESCRIPTION)
    ingest.add(source, "film", root / "data" / "datasets", exclude=exclude)
    return root


def tables(root: Path, *flags: str) -> dict[str, list[dict[str, Any]]]:
    """Rows of each published table of the workflow but pictures, computed here and found valid."""
    plan = planned(root, "--dataset", "film", *flags, until="outcome")
    for part in in_turn(plan):
        compute(plan, part)
    made = publish.tables(plan)
    wrong = [c for c in check_tables(publish.schemas(plan), made, plan.n_frames) if not c.ok]
    assert not wrong, wrong
    return {name: table.to_pylist() for name, table in made.items()}
