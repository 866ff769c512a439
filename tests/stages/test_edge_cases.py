"""Films at the edge of sense, by all stages and the workers' shell: whole tables, nothing invented."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dataops_parsl.errors import DatasetError
from tests.stages.films import GIVEN, SIZE_UM, Masks, project, stained, tables

N_FRAMES, SIDE_PX = 5, 32
EVERY, MIDDLE = range(N_FRAMES), 2
SATURATED, LAST = 65_535, SIDE_PX - 1
Image = NDArray[Any]


def disc(image: Image, y: float, x: float, radius_px: float, label: int) -> None:
    rows, columns = np.ogrid[: image.shape[0], : image.shape[1]]
    image[np.hypot(rows - y, columns - x) <= radius_px] = label


def usual() -> dict[str, list[Image]]:
    """Two effectors that walk, one of them along a target, and two targets that stay."""
    masks: dict[str, list[Image]] = {"effector": [], "target": []}
    for frame in range(N_FRAMES):
        effectors, targets = (np.zeros((SIDE_PX, SIDE_PX), np.uint32) for _ in range(2))
        disc(effectors, 6 + 2 * frame, 4, 2, 1)
        disc(effectors, 25, 22 - frame, 2, 2)
        disc(targets, 10, 12, 4, 1)
        disc(targets, 18, 24, 4, 2)
        masks["effector"].append(effectors)
        masks["target"].append(targets)
    return masks


def without(*frames: int, population: str = "") -> Masks:
    """The usual film, nobody (of a population) in these frames."""
    return {
        name: [
            np.zeros_like(mask) if f in frames and population in ("", name) else mask
            for f, mask in enumerate(many)
        ]
        for name, many in usual().items()
    }


def placed(label: int, *places: tuple[int, int]) -> Masks:
    """Single pixels: effectors at the first place, targets at the others, labels from `label` on."""
    masks: dict[str, list[Image]] = {"effector": [], "target": []}
    for _ in range(N_FRAMES):
        effectors, targets = (np.zeros((SIDE_PX, SIDE_PX), np.uint32) for _ in range(2))
        effectors[places[0]] = label
        for n, place in enumerate(places[1:]):
            targets[place] = label + n
        masks["effector"].append(effectors)
        masks["target"].append(targets)
    return masks


def raised(by: int) -> Masks:
    return {p: [np.where(m > 0, m + np.uint32(by), 0) for m in many] for p, many in usual().items()}


def tied() -> Masks:
    """A chequered field that moves by half its period: every object is as far from two others."""
    masks: dict[str, list[Image]] = {"effector": [], "target": []}
    for frame in range(N_FRAMES):
        targets = np.zeros((SIDE_PX, SIDE_PX), np.uint32)
        places = np.array([(y, x) for y in range(2, 30, 8) for x in range(2 + 4 * (frame % 2), 30, 8)])
        targets[tuple(places.T)] = np.arange(1, len(places) + 1)
        masks["target"].append(targets)
        masks["effector"].append(np.roll(targets, 1, axis=0))
    return masks


CASES: dict[str, Masks] = {
    "nobody": without(*EVERY),
    "no effector": without(*EVERY, population="effector"),
    "no target": without(*EVERY, population="target"),
    "empty first frame": without(0),
    "empty middle frame": without(2),
    "empty last frame": without(N_FRAMES - 1),
    "somebody in one frame only": without(0, 1, 3, 4),
    "one frame": {p: many[:1] for p, many in usual().items()},
    "one pixel each": placed(1, (10, 10), (10, 11), (20, 20)),
    "one pixel on each corner": placed(1, (0, 0), (0, LAST), (LAST, 0), (LAST, LAST)),
    "labels above 65,535": raised(70_000),
    "the largest labels": placed(2**32 - 2, (10, 10), (10, 11), (20, 20)),
    "an object as large as the frame": {
        p: [np.full((SIDE_PX, SIDE_PX), 3, np.uint32)] * N_FRAMES for p in ("effector", "target")
    },
    "integer ties": tied(),
}


def areas(masks: Masks) -> dict[tuple[str, int, int], int]:
    """Pixels of each object, by population, frame and label."""
    return {
        (population, frame, int(label)): int(n)
        for population, many in masks.items()
        for frame, mask in enumerate(many)
        for label, n in zip(*np.unique(mask[mask > 0], return_counts=True), strict=True)
    }


@pytest.mark.parametrize("masks", CASES.values(), ids=CASES.keys())
def test_planted_masks(tmp_path: Path, masks: Masks) -> None:
    found = tables(project(tmp_path, masks), *GIVEN)
    assert [f["frame"] for f in found["frames"]] == list(range(len(masks["target"])))
    cells = {(c["population"], c["frame"], c["label"]): c for c in found["cells"]}
    expected = areas(masks)
    assert {key: c["area_um2"] / SIZE_UM**2 for key, c in cells.items()} == expected
    for (population, frame, label), cell in cells.items():
        at = np.argwhere(masks[population][frame] == label)
        assert (cell["y_um"], cell["x_um"]) == pytest.approx(tuple(at.mean(axis=0) * SIZE_UM))
        assert cell["touches_edge"] == bool(np.isin(at, (0, LAST)).any())
        assert np.isfinite(cell["mean_bg_gfp"]), "a count where there are pixels"
    tracks = {(t["population"], t["track_id"]) for t in found["tracks"]}
    assert {(c["population"], c["track_id"]) for c in found["cells"]} == tracks
    assert len(found["edges"]) == len(cells) - len(tracks), "tracks are unbranched chains of all objects"
    assert found["deaths"] == found["death_candidates"] == []
    touching = {
        (frame, e, t)
        for frame, (effectors, targets) in enumerate(zip(masks["effector"], masks["target"], strict=True))
        for e, t in zip(effectors.ravel().tolist(), targets.ravel().tolist(), strict=True)
        if e and t
    }
    shared = {(c["frame"], c["label_a"], c["label_b"]) for c in found["contacts"] if c["gap_um"] == 0}
    assert shared == touching


@pytest.mark.parametrize("case", ["empty first frame", "empty middle frame", "empty last frame"])
def test_an_empty_frame_is_a_gap_and_no_death(tmp_path: Path, case: str) -> None:
    found = tables(project(tmp_path, CASES[case]), *GIVEN)
    targets = [t for t in found["tracks"] if t["population"] == "target"]
    assert len(targets) == 2, "what comes back after one frame is the same cell"
    ends = {t["end_reason"] for t in targets}
    assert ends == ({"lost"} if case == "empty last frame" else {"film"})


def test_one_pixel_beside_another_is_one_pixel_away(tmp_path: Path) -> None:
    found = tables(project(tmp_path, CASES["one pixel each"]), *GIVEN)
    gaps = {(c["label_a"], c["label_b"]): c["gap_um"] for c in found["contacts"] if c["frame"] == 0}
    assert gaps == {(1, 1): SIZE_UM}
    (event,) = found["contact_events"]
    assert (event["n_frames"], event["start_reason"], event["end_reason"]) == (N_FRAMES, "film", "film")


def counts(kind: str) -> dict[str, list[Image]]:
    """Stains of the usual film, with pixels as detectors and disks leave them."""
    images = stained(usual())
    if kind == "saturated cells":
        bright = {c: [i > 300 for i in many] for c, many in images.items()}
        return {
            c: [np.where(b, SATURATED, i).astype(np.uint16) for b, i in zip(bright[c], many, strict=True)]
            for c, many in images.items()
        }
    value = {"a saturated frame": SATURATED, "a frame of zeros": 0, "a frame of one count": 100}[kind]
    return {
        c: [np.full_like(i, value) if f == MIDDLE else i for f, i in enumerate(many)]
        for c, many in images.items()
    }


@pytest.mark.parametrize("register", [False, True], ids=["as acquired", "registered"])
@pytest.mark.parametrize(
    "kind", ["saturated cells", "a saturated frame", "a frame of zeros", "a frame of one count"]
)
def test_counts_at_the_ends_of_their_range(tmp_path: Path, kind: str, register: bool) -> None:
    flags = (f"--set=stages.register_denoise.register_frames={str(register).lower()}", GIVEN[-1])
    found = tables(project(tmp_path, usual(), counts(kind)), *flags)
    assert len(found["frames"]) == N_FRAMES
    nothing_seen = {MIDDLE} if kind.startswith("a ") else set[int]()
    for population in ("effector", "target"):
        frames = [c["frame"] for c in found["cells"] if c["population"] == population]
        assert [frames.count(f) for f in EVERY] == [0 if f in nothing_seen else 2 for f in EVERY]
    if kind == "saturated cells":
        assert 40_000 < max(c["mean_raw_gfp"] for c in found["cells"]) <= SATURATED


def test_pixels_that_are_no_number(tmp_path: Path) -> None:
    images = {c: [i.astype(np.float32) for i in many] for c, many in stained(usual()).items()}
    images["gfp"][MIDDLE][3, 3] = np.nan
    with pytest.raises(DatasetError, match=r"frame 2 .*holds 1 pixels that are no number"):
        project(tmp_path / "refused", usual(), images)
    found = tables(project(tmp_path / "excluded", usual(), images, {("P1", MIDDLE): "no numbers"}), GIVEN[-1])
    assert {f["frame"]: f["reason"] for f in found["frames"] if not f["valid"]} == {
        MIDDLE: "excluded: no numbers"
    }
    frames = [c["frame"] for c in found["cells"] if c["population"] == "target"]
    assert [frames.count(f) for f in EVERY] == [0 if f == MIDDLE else 2 for f in EVERY]
    assert {t["end_reason"] for t in found["tracks"] if t["population"] == "target"} == {"film"}
