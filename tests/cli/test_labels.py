"""Masks given from outside: found exactly, moved with the drift by nearest, measured and paired exactly."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from dataops_parsl.truth.film import Film
from dataops_parsl.truth.render import labels, render
from dataops_parsl.truth.scene import Scene
from dataops_parsl.truth.simulate import simulate
from tests.helpers import PROJECT, Project

Images = dict[str, NDArray[Any]]
Tables = dict[str, Any]

SIZE_UM = (0.65, 0.5)
STORE_UM, RADIUS_UM = 10.0, 2.0
EVERY = 3
FIRST_LABEL = {"effector": 0, "target": 70_000}
"""Added to the true ids: labels beyond 16 bits come through."""
DESCRIPTION = f"""\
pixel_size_um = {list(SIZE_UM)}
frame_interval_s = 120
pattern = "{{position}}/{{channel}}/im_{{frame:05d}}.tif"
[channels]
ctdr = {{ stain = "CTDR" }}
gfp = {{ stain = "GFP", lost_on_death = true }}
pi = {{ stain = "PI", death_marker = true, every = {EVERY} }}
effector_masks = {{ labels = "effector" }}
target_masks = {{ labels = "target", labels_frame = "LABELS_FRAME" }}
[populations.effector]
segment = ["ctdr"]
diameter_um = 10
[populations.target]
segment = ["gfp"]
diameter_um = 20
"""
OFF = "--set=stages.register_denoise.register_frames=false"


@pytest.fixture(scope="module")
def film() -> Film:
    """A film that drifts, with contacts."""
    return simulate(Scene(height_px=96, width_px=112, n_frames=5, n_effectors=6, n_targets=4, drift_px=2), 5)


def _masks(film: Film, frame: int) -> Images:
    return {
        population: np.where(image > 0, image + np.uint32(FIRST_LABEL[population]), 0).astype(np.uint32)
        for population, image in labels(film, frame).items()
    }


def _write(folder: Path, film: Film, labels_frame: str) -> None:
    """Stains, a sparse death marker, and true masks as channels."""
    for frame in range(film.scene.n_frames):
        images: Images = {c: i for c, i in render(film, frame).items() if c != "pi" or frame % EVERY == 0}
        images |= {f"{population}_masks": image for population, image in _masks(film, frame).items()}
        for channel, image in images.items():
            path = folder / "P1" / channel / f"im_{frame:05d}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(path, image)
    (folder / "dataset.toml").write_text(DESCRIPTION.replace("LABELS_FRAME", labels_frame))


def _all_at_once(project: Project, commands: list[tuple[str, ...]]) -> None:
    drivers = [project.start(*command) for command in commands]
    for driver in drivers:
        assert driver.wait() == 0, driver.output


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory, film: Film) -> dict[str, Tables]:
    """Tables of three runs: masks on drifting frames left there, or moved; masks on registered frames."""
    project = Project(tmp_path_factory.mktemp("labels") / "project")
    shutil.copytree(PROJECT / "apps", project.root / "apps")
    shutil.copytree(PROJECT / "configs" / "sites", project.root / "configs" / "sites")
    films = {where: project.root.parent / where for where in ("raw", "registered")}
    for where, folder in films.items():
        _write(folder, film, where)
    _all_at_once(project, [("dataset", "add", str(f), "--name", n) for n, f in films.items()])
    runs = {
        "left": ("raw", "--set=stages.cellpose.backend=labels", OFF),
        "moved": ("raw", "--set=stages.cellpose.backend=labels"),
        "registered": ("registered", "--set=stages.cellpose.target.backend=labels"),
    }
    _all_at_once(
        project,
        [
            ("run", "--workers=1", f"--set=paths.output_root=output/{name}", "--dataset", dataset, *more)
            for name, (dataset, *more) in runs.items()
        ],
    )
    bundles = {name: next(project.root.glob(f"output/{name}/cytotoxicity/run_*")) for name in runs}
    return {name: project.tables(bundle) for name, bundle in bundles.items()}


def _moved(mask: NDArray[Any], drift_px: tuple[float, float]) -> NDArray[Any]:
    """The mask on the registered frame: at each pixel the nearest of the drifted frame, if there is one."""
    out = np.zeros_like(mask)
    at = [np.arange(n) + d for n, d in zip(mask.shape, drift_px, strict=True)]
    seen = [(a >= 0) & (a <= n - 1) for a, n in zip(at, mask.shape, strict=True)]
    source = [np.floor(a[s] + 0.5).astype(int) for a, s in zip(at, seen, strict=True)]
    out[np.ix_(*seen)] = mask[np.ix_(*source)]
    return out


def _areas(mask: NDArray[Any]) -> dict[int, int]:
    found, counts = np.unique(mask[mask > 0], return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


def _pairs(masks: Images) -> dict[tuple[int, int], tuple[float, int]]:
    """Gap in µm and shared pixels of each pair of effector and target, by comparing all their pixels."""
    centres = {
        population: {label: np.argwhere(image == label) * SIZE_UM for label in _areas(image)}
        for population, image in masks.items()
    }
    out = {}
    for e, effector in centres["effector"].items():
        for t, target in centres["target"].items():
            distances = cdist(effector, target)
            if distances.min() <= STORE_UM:
                shared = (masks["effector"] == e) & (masks["target"] == t)
                out[e, t] = (float(distances.min()), int(shared.sum()))
    return out


def _rows(tables: Tables, name: str, frame: int) -> list[dict[str, Any]]:
    return [row for row in tables[name].to_pylist() if row["frame"] == frame]


def _check(tables: Tables, frame: int, masks: Images) -> None:
    """Objects and contacts of a frame are those of these masks, no more and no less."""
    cells = _rows(tables, "cells", frame)
    for population, mask in masks.items():
        found = {c["label"]: c["area_um2"] for c in cells if c["population"] == population}
        expected = {label: n * SIZE_UM[0] * SIZE_UM[1] for label, n in _areas(mask).items()}
        assert found == pytest.approx(expected), f"{population} in frame {frame}"
    pairs = _pairs(masks)
    contacts = _rows(tables, "contacts", frame)
    assert all((c["population_a"], c["population_b"]) == ("effector", "target") for c in contacts)
    assert {(c["label_a"], c["label_b"]): c["gap_um"] for c in contacts} == pytest.approx(
        {pair: gap for pair, (gap, _) in pairs.items()}
    )
    assert {(c["label_a"], c["label_b"]): c["overlap_px"] for c in contacts} == {
        pair: shared for pair, (_, shared) in pairs.items()
    }
    for index, population in enumerate(("effector", "target")):
        near = [pair[index] for pair, (gap, _) in pairs.items() if gap <= RADIUS_UM]
        touching = {c["label"]: c["n_contacts"] for c in cells if c["population"] == population}
        assert touching == {label: near.count(label) for label in touching}


def _drift_px(tables: Tables, frame: int) -> tuple[float, float]:
    (row,) = _rows(tables, "frames", frame)
    return row["dy_px"], row["dx_px"]


def test_masks_without_registration(tables: dict[str, Tables], film: Film) -> None:
    frames = range(film.scene.n_frames)
    assert any(_pairs(_masks(film, frame)) for frame in frames)
    for frame in frames:
        assert _drift_px(tables["left"], frame) == (0, 0)
        _check(tables["left"], frame, _masks(film, frame))


def test_masks_on_acquired_frames_are_moved_with_the_drift(tables: dict[str, Tables], film: Film) -> None:
    frames = range(film.scene.n_frames)
    drifts = [_drift_px(tables["moved"], frame) for frame in frames]
    assert max(abs(d) for drift in drifts for d in drift) > 2
    for frame, drift in zip(frames, drifts, strict=True):
        assert drift == pytest.approx(film.drift_px[frame], abs=0.5)
        _check(tables["moved"], frame, {p: _moved(mask, drift) for p, mask in _masks(film, frame).items()})


def test_masks_of_one_population_on_registered_frames_are_taken_as_they_are(
    tables: dict[str, Tables], film: Film
) -> None:
    for frame in range(film.scene.n_frames):
        cells = _rows(tables["registered"], "cells", frame)
        areas = {c["label"]: c["area_um2"] for c in cells if c["population"] == "target"}
        expected = _areas(_masks(film, frame)["target"])
        assert areas == pytest.approx({label: n * SIZE_UM[0] * SIZE_UM[1] for label, n in expected.items()})
        assert any(c["population"] == "effector" for c in cells), "effectors are segmented all the same"
        assert _drift_px(tables["registered"], frame) == _drift_px(tables["moved"], frame)


def test_a_sparse_channel_is_measured_where_it_was_acquired(tables: dict[str, Tables], film: Film) -> None:
    for cell in tables["left"]["cells"].to_pylist():
        measures = [cell[f"{name}_pi"] for name in ("mean_raw", "mean_bg", "p95_bg")]
        if cell["frame"] % EVERY:
            assert measures == [None, None, None]
            continue
        mask = _masks(film, cell["frame"])[cell["population"]] == cell["label"]
        assert measures[0] == pytest.approx(render(film, cell["frame"])["pi"][mask].mean())
        assert None not in measures
    measured = {c["frame"] for c in tables["moved"]["cells"].to_pylist() if c["mean_raw_pi"] is not None}
    assert measured == set(range(0, film.scene.n_frames, EVERY))
