"""One film in every format that is read: one fingerprint, and the same tables to the last bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

from dataops_parsl.commands import demo
from dataops_parsl.dataset import writers
from dataops_parsl.dataset.manifest import Dataset
from dataops_parsl.truth.render import render
from dataops_parsl.truth.scene import Scene
from dataops_parsl.truth.simulate import simulate
from tests.helpers import Project, same_tables

SCENE = Scene(height_px=80, width_px=96, n_frames=4, n_effectors=8, n_targets=4)
FORMATS = get_args(writers.Format)


def _write(folder: Path, format: str) -> None:
    film, size = simulate(SCENE, 3), SCENE.pixel_size_um
    writers.write(
        format,
        folder,
        {"P1": SCENE.n_frames},
        demo.CHANNELS,
        lambda _, channel, frame: render(film, frame)[channel],
        (size, size),
        SCENE.frame_interval_s,
    )
    pattern = f'pattern = "{writers.PATTERN}"\n' if format == "tiff-frames" else ""
    text = demo.DESCRIPTION.format(
        name=format, size=size, interval=SCENE.frame_interval_s, pattern=pattern
    ).replace('plate = "plate.csv"\n', "")
    (folder / "dataset.toml").write_text(text)


def _computed(project: Project, format: str) -> int:
    """Tasks that the run of this format computed itself."""
    (log,) = project.root.glob(f"output/{format}/*/run_*/log/events.jsonl")
    return sum(json.loads(line)["event"] == "ended" for line in log.read_text().splitlines())


def test_every_format_gives_the_same_tables(bare_project: Project, tmp_path: Path) -> None:
    for format in FORMATS:
        _write(tmp_path / "films" / format, format)
        bare_project.run("dataset", "add", str(tmp_path / "films" / format), "--name", format)
    datasets = [Dataset.open(bare_project.root / "data" / "datasets" / format) for format in FORMATS]
    assert len({dataset.fingerprint for dataset in datasets}) == 1
    # An output folder of its own for each: a sealed bundle of the same pixels would end the run at once.
    runs = {
        f: bare_project.start(
            "run", "--dataset", f, "--workers", "1", "--set", f"paths.output_root=output/{f}"
        )
        for f in FORMATS
    }
    for run in runs.values():
        assert run.wait() == 0, run.output
    first, *others = FORMATS
    tables = {f: bare_project.tables(next(bare_project.root.glob(f"output/{f}/*/run_*"))) for f in FORMATS}
    assert tables[first]["cells"].num_rows > 20
    assert tables[first]["contacts"].num_rows > 0
    assert tables[first]["tracks"].num_rows > 0
    for other in others:
        assert _computed(bare_project, other) == _computed(bare_project, first) > 15
        assert same_tables(tables[first], tables[other])
