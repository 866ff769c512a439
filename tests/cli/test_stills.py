"""Single frames; and what a user asks between runs: what would be computed, why, from which values."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dataops_parsl import open_run
from dataops_parsl.dataset import ingest, writers
from dataops_parsl.stages.measure import OBJECTS
from dataops_parsl.truth.film import labels
from dataops_parsl.truth.render import render
from dataops_parsl.truth.scene import Scene
from dataops_parsl.truth.simulate import simulate
from tests.helpers import CHANNELS, DESCRIPTION, PROJECT, Project, same_tables

SCENE = Scene(height_px=112, width_px=128, n_frames=1, n_effectors=6, n_targets=2)
SEEDS = {"A1": 1, "A2": 4, "B1": 6}
BATCH = 4
DEFAULTS = "configs/config.def.toml"


def _stills(folder: Path) -> Path:
    """Three positions of one frame each."""
    films = {position: simulate(SCENE, seed) for position, seed in SEEDS.items()}
    size = SCENE.pixel_size_um
    writers.write(
        "ome-tiff",
        folder,
        dict.fromkeys(films, 1),
        CHANNELS,
        lambda position, channel, frame: render(films[position], frame)[channel],
        (size, size),
        SCENE.frame_interval_s,
    )
    text = DESCRIPTION.format(name="stills", size=size, interval=SCENE.frame_interval_s, pattern="")
    (folder / "dataset.toml").write_text(
        "".join(line for line in text.splitlines(True) if not line.startswith(("plate", "frame_interval")))
    )
    return folder


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, small_films: Path) -> Project:
    """A project in which `stills` ran on single frames, and `cytotoxicity` on the first frames of a film."""
    root = tmp_path_factory.mktemp("stills") / "project"
    shutil.copytree(PROJECT / "configs", root / "configs", ignore=shutil.ignore_patterns("*.user.toml"))
    shutil.copytree(PROJECT / "apps", root / "apps")
    for name, folder in (("small", small_films), ("stills", _stills(root.parent / "films"))):
        ingest.add(folder, name, root / "data" / "datasets")
    (root / "configs" / "config.user.toml").write_text(
        f'batch_frames = {BATCH}\n[dataset]\nname = "small"\n[stages.killing]\nwindow_min = 45\n'
    )
    project = Project(root)
    drivers = [
        project.start("run", "stills", "--dataset=stills", "--workers=1"),
        project.start("run", "--frames=3", "--workers=1"),
    ]
    for driver in drivers:
        assert driver.wait() == 0, driver.output
    return project


def _plan(output: str) -> dict[str, str]:
    """Node → reason, as `--dry-run` prints them."""
    lines = [line.split(maxsplit=3) for line in output.splitlines() if " × " in line]
    return {node: reason for _, _, node, reason in lines}


def test_single_frames(ran: Project) -> None:
    tables = ran.tables(workflow="stills")
    assert sorted(tables) == ["cells", "contacts", "frames"]
    frames = tables["frames"].to_pylist()
    assert [(f["position_id"], f["frame"], f["valid"]) for f in frames] == [(p, 0, True) for p in SEEDS]
    assert all((f["dy_px"], f["dx_px"]) == (0, 0) for f in frames)
    cells = tables["cells"].to_pylist()
    for position, seed in SEEDS.items():
        true = labels(simulate(SCENE, seed), 0)["effector"]
        found = [c for c in cells if c["position_id"] == position and c["population"] == "effector"]
        hits = [c for c in found if true[round(c["y_px_raw"]), round(c["x_px_raw"])]]
        assert found
        assert len(hits) == len(found), "an effector was found where none is"
    known = {(c["position_id"], c["population"], c["label"]) for c in cells}
    pairs = tables["contacts"].to_pylist()
    assert pairs
    assert {(c["position_id"], c[f"population_{x}"], c[f"label_{x}"]) for c in pairs for x in "ab"} <= known


def test_notebook_tables_are_pandas(ran: Project) -> None:
    run = open_run(ran.bundles("stills")[-1])
    assert run.results == ["cells", "contacts", "frames"]
    assert run.names == [*run.results, "trace"]
    assert {"cells", "contacts"} <= set(dir(run))
    cells = run.cells
    assert isinstance(cells, pd.DataFrame)
    assert list(cells) == [c.name for c in OBJECTS.for_channels(CHANNELS).columns]
    assert cells["touches_edge"].dtype == np.bool_
    assert cells["label"].dtype == np.int64
    assert cells.groupby("population").size()["effector"] > 3


def test_frames_round_up_to_whole_batches(ran: Project) -> None:
    tables = ran.tables()
    assert {f["frame"] for f in tables["frames"].to_pylist()} == set(range(BATCH))
    assert {p["n_frames"] for p in tables["positions"].to_pylist()} == {BATCH}
    assert "2 positions, 16 frames" in ran.run("run", "--frames=5", "--dry-run")


def test_runs_list_shows_both(ran: Project) -> None:
    text = ran.run("runs", "list")
    head, *rows = text.partition("\n\n")[0].splitlines()
    assert head.split()[:4] == ["run", "workflow", "dataset", "state"]
    assert {tuple(row.split()[1:4]) for row in rows} == {
        ("stills", "stills", "accepted"),
        ("cytotoxicity", "small", "accepted"),
    }
    for bundle in (*ran.bundles("stills"), *ran.bundles()):
        assert any(row.startswith(bundle.name.removeprefix("run_")) for row in rows)
    assert str(ran.root / "output") in text


def test_dry_run_says_what_is_missing(ran: Project) -> None:
    output = ran.run("run", "--dry-run")
    plan = _plan(output)
    # The first batch of each position is there; chains go on in the next one.
    assert "2 positions, 24 frames" in output
    assert "4 × register_denoise.estimate" in output
    assert plan["register_denoise.estimate"] == "missing"
    assert plan["contact.pairs"] == "missing"
    assert "tasks would be computed" in output


def test_dry_run_says_which_parameter_changed(ran: Project) -> None:
    plan = _plan(ran.run("run", "--frames=3", "--set=stages.contact.radius_um=3", "--dry-run"))
    assert plan["contact.events"] == "parameter changed: radius_um was 2.0, is 3.0"
    assert plan["killing.close"] == "a step before it changed"
    above = ("register_denoise", "cellpose", "measure", "trackmate", "contact.pairs")
    assert not any(node.startswith(above) for node in plan)


def test_dry_run_says_that_batches_changed(ran: Project) -> None:
    plan = _plan(ran.run("run", "--frames=3", "--set=batch_frames=2", "--dry-run"))
    assert plan["register_denoise.estimate"] == f"batch_frames was {BATCH}, is 2"
    assert plan["contact.events"] == f"batch_frames was {BATCH}, is 2"


def test_forced_stage_and_what_follows_is_computed_again(ran: Project) -> None:
    before = ran.tables()
    forced = ("run", "--frames=3", "--workers=1", "--force=contact")
    plan = _plan(ran.run(*forced, "--dry-run"))
    assert set(plan.values()) == {"forced"}
    ran.run(*forced)
    (log,) = (b / "log" / "events.jsonl" for b in ran.bundles()[1:])
    events = [json.loads(line) for line in log.read_text().splitlines()]
    computed = {e["task"].partition("/")[0] for e in events if e["event"] == "ended"}
    assert computed == set(plan)
    after = {"contact", "killing", "outcome", "overlays", "charts"}
    assert {node.partition(".")[0] for node in computed} == after
    assert {"overlays.outline", "charts.curves", "charts.strips"} <= computed
    assert same_tables(ran.tables(), before)


def test_config_names_the_origin_of_each_value(ran: Project) -> None:
    output = ran.run("config", "--dataset=small", "--set=stages.contact.radius_um=3")
    for line in (
        "batch_frames = 4  # configs/config.user.toml",
        "stages.killing.window_min = 45.0  # configs/config.user.toml",
        "stages.contact.radius_um = 3.0  # --set",
        f"stages.contact.store_um = 10.0  # {DEFAULTS}",
        "populations.target.diameter_um = 20.0  # data/datasets/small/dataset.toml",
        "dataset.name = 'small'  # --dataset",
        "site.kind = 'local'  # configs/sites/laptop.toml",
    ):
        assert line in output.splitlines()
    assert output.count("  # ") == len(output.splitlines()), "every value has an origin"
