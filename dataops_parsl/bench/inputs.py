"""What the benchmark of a stage reads and where it writes: inputs made once, a scratch of its own a case."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Collection
from pathlib import Path

from dataops_parsl.config import Loaded
from dataops_parsl.errors import UsageError
from dataops_parsl.storage.atomic import place_errors
from dataops_parsl.workflow import Workflow


def check_stages(flow: Workflow, stages: Collection[str]) -> None:
    """Refuse a stage that the workflow does not have."""
    for stage in stages:
        flow.until(stage)
    if len(set(stages)) < len(stages):
        raise UsageError(f"bench.stages names a stage twice: {', '.join(stages)}")


def changed(
    config: Loaded, *, workers: int | None = None, frames: int | None = None, scratch: Path | None = None
) -> Loaded:
    """The configuration with other workers, at most so many frames, or another root of scratch."""
    inner = config.config
    if workers is not None:
        inner = inner.model_copy(update={"workers": workers})
    if frames is not None:
        inner = inner.model_copy(
            update={"dataset": inner.dataset.model_copy(update={"total_frames": frames})}
        )
    paths = config.paths if scratch is None else dataclasses.replace(config.paths, scratch_root=scratch)
    return dataclasses.replace(config, config=inner, paths=paths)


def link_inputs(root: Path, prepared: Path, stage: str) -> Path:
    """Make a root of scratch in which all stages but the measured one are links to prepared inputs.

    Parameters
    ----------
    root : Path
        Must not exist.
    prepared : Path
        Scratch folder of the dataset that holds the inputs.
    stage : str
        The measured one: it starts from nothing.
    """
    folder = root / prepared.name
    with place_errors(folder):
        folder.mkdir(parents=True)
        for inputs in sorted(p for p in prepared.iterdir() if p.is_dir()) if prepared.exists() else ():
            if inputs.name != stage and not inputs.name.startswith("."):  # not the leases of other runs
                (folder / inputs.name).symlink_to(inputs, target_is_directory=True)
    return root


def remove(root: Path) -> None:
    """Remove what a case wrote; links in it are not followed."""
    if root.exists():
        shutil.rmtree(root)
