"""Masks given from outside: found exactly, moved with the drift by nearest, measured and paired exactly."""

from __future__ import annotations

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
from tests.helpers import Project

Images = dict[str, NDArray[Any]]

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
target_masks = {{ labels = "target" }}
[populations.effector]
segment = ["ctdr"]
diameter_um = 10
[populations.target]
segment = ["gfp"]
diameter_um = 20
"""
LABELS = "--set=stages.cellpose.backend=labels"
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


@pytest.fixture
def masked(bare_project: Project, film: Film, tmp_path: Path) -> Project:
    """A project with the dataset `masked`: stains, a sparse death marker, and true masks as channels."""
    for frame in range(film.scene.n_frames):
        images: Images = {c: i for c, i in render(film, frame).items() if c != "pi" or frame % EVERY == 0}
        images |= {f"{population}_masks": image for population, image in _masks(film, frame).items()}
        for channel, image in images.items():
            path = tmp_path / "film" / "P1" / channel / f"im_{frame:05d}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(path, image)
    (tmp_path / "film" / "dataset.toml").write_text(DESCRIPTION)
    bare_project.run("dataset", "add", str(tmp_path / "film"), "--name", "masked")
    (bare_project.root / "configs" / "config.user.toml").write_text('[dataset]\nname = "masked"\n')
    return bare_project


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


def _rows(tables: dict[str, Any], name: str, frame: int) -> list[dict[str, Any]]:
    return [row for row in tables[name].to_pylist() if row["frame"] == frame]


def _check(tables: dict[str, Any], frame: int, masks: Images) -> None:
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


def _drift_px(tables: dict[str, Any], frame: int) -> tuple[float, float]:
    (row,) = _rows(tables, "frames", frame)
    return row["dy_px"], row["dx_px"]


def _check_sparse_channel(tables: dict[str, Any], film: Film) -> None:
    """Without drift: the mean of the acquired counts under the mask where there are any, else null."""
    for cell in tables["cells"].to_pylist():
        measures = [cell[f"{name}_pi"] for name in ("mean_raw", "mean_bg", "p95_bg")]
        if cell["frame"] % EVERY:
            assert measures == [None, None, None]
            continue
        mask = _masks(film, cell["frame"])[cell["population"]] == cell["label"]
        assert measures[0] == pytest.approx(render(film, cell["frame"])["pi"][mask].mean())
        assert None not in measures


def test_masks_on_acquired_frames_with_and_without_registration(masked: Project, film: Film) -> None:
    runs = [masked.start("run", "--workers=1", LABELS, *more) for more in ((), (OFF,))]
    for run in runs:
        assert run.wait() == 0, run.output
        assert "verdict: accepted" in run.output
    tables = [masked.tables(bundle) for bundle in masked.bundles()]
    still, registered = sorted(tables, key=lambda t: np.ptp(t["frames"]["dy_px"]))
    frames = range(film.scene.n_frames)
    assert any(_pairs(_masks(film, frame)) for frame in frames)
    for frame in frames:
        assert _drift_px(still, frame) == (0, 0)
        _check(still, frame, _masks(film, frame))
        drift = _drift_px(registered, frame)
        assert drift == pytest.approx(film.drift_px[frame], abs=0.5)
        _check(registered, frame, {p: _moved(mask, drift) for p, mask in _masks(film, frame).items()})
    assert max(abs(d) for frame in frames for d in _drift_px(registered, frame)) > 2
    _check_sparse_channel(still, film)
    assert {c["frame"] for c in registered["cells"].to_pylist() if c["mean_raw_pi"] is not None} == set(
        frames[::EVERY]
    )


def test_masks_of_one_population_on_registered_frames(masked: Project, film: Film) -> None:
    description = masked.root / "data" / "datasets" / "masked" / "dataset.toml"
    text = description.read_text().replace('"target" }', '"target", labels_frame = "registered" }')
    description.write_text(text)
    masked.run("run", "--workers=2", "--set=stages.cellpose.target.backend=labels")
    tables = masked.tables()
    assert any(abs(d) > 2 for frame in range(film.scene.n_frames) for d in _drift_px(tables, frame))
    for frame in range(film.scene.n_frames):
        cells = _rows(tables, "cells", frame)
        areas = {c["label"]: c["area_um2"] for c in cells if c["population"] == "target"}
        expected = _areas(_masks(film, frame)["target"])
        assert areas == pytest.approx({label: n * SIZE_UM[0] * SIZE_UM[1] for label, n in expected.items()})
        assert any(c["population"] == "effector" for c in cells)
