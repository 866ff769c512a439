"""One film in every format that is read: one fingerprint, and the same tables to the last bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import get_args

from dataops_parsl.dataset import writers
from dataops_parsl.dataset.manifest import Dataset
from dataops_parsl.truth.render import render
from dataops_parsl.truth.scene import Scene
from dataops_parsl.truth.simulate import simulate
from tests.helpers import CHANNELS, DESCRIPTION, Project, same_tables

SCENE = Scene(height_px=96, width_px=112, n_frames=4, n_effectors=5, n_targets=2)
SEED = 5
FORMATS = get_args(writers.Format)
# `stills` publishes all tables that are made from pixels; the other tables are made from these. What a format
# could change is read before registration and denoising, which would take longest.
PLAIN = (
    "--set=stages.register_denoise.register_frames=false",
    "--set=stages.register_denoise.denoise=off",
)


def _write(folder: Path, format: str) -> Path:
    film, size = simulate(SCENE, SEED), SCENE.pixel_size_um
    writers.write(
        format,
        folder,
        {"P1": SCENE.n_frames},
        CHANNELS,
        lambda _, channel, frame: render(film, frame)[channel],
        (size, size),
        SCENE.frame_interval_s,
    )
    pattern = f'pattern = "{writers.PATTERN}"\n' if format == "tiff-frames" else ""
    text = DESCRIPTION.format(
        name=format, size=size, interval=SCENE.frame_interval_s, pattern=pattern
    ).replace('plate = "plate.csv"\n', "")
    (folder / "dataset.toml").write_text(text)
    return folder


def _all_at_once(project: Project, command: Callable[[str], tuple[str, ...]]) -> None:
    """A command for each format; most of its time is spent on starting, so they start together."""
    drivers = [project.start(*command(format)) for format in FORMATS]
    for driver in drivers:
        assert driver.wait() == 0, driver.output


def _computed(bundle: Path) -> int:
    """Tasks that this run computed itself."""
    lines = (bundle / "log" / "events.jsonl").read_text().splitlines()
    return sum(json.loads(line)["event"] == "ended" for line in lines)


def test_every_format_gives_the_same_tables(bare_project: Project, tmp_path: Path) -> None:
    films = {f: _write(tmp_path / "films" / f, f) for f in FORMATS}
    _all_at_once(bare_project, lambda f: ("dataset", "add", str(films[f]), "--name", f))
    datasets = [Dataset.open(bare_project.root / "data" / "datasets" / f) for f in FORMATS]
    assert len({dataset.fingerprint for dataset in datasets}) == 1
    # Outputs of its own for each: a sealed bundle of the same pixels would end the run at once.
    _all_at_once(
        bare_project,
        lambda f: (
            "run",
            "stills",
            "--dataset",
            f,
            "--workers=1",
            f"--set=paths.output_root=output/{f}",
            *PLAIN,
        ),
    )
    bundles = {f: next(bare_project.root.glob(f"output/{f}/stills/run_*")) for f in FORMATS}
    tables = {f: bare_project.tables(bundle) for f, bundle in bundles.items()}
    first, *others = FORMATS
    for name in ("frames", "cells", "contacts"):
        assert tables[first][name].num_rows > 0
    for other in others:
        assert _computed(bundles[other]) == _computed(bundles[first]) >= 6
        assert same_tables(tables[first], tables[other])
