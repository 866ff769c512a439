"""Sizes and steps that were planted are found again, whatever fragments and clumps lie among them."""

from __future__ import annotations

import numpy as np
import pytest

from dataops_parsl.algorithms import suggest


def _areas(diameter_um: np.ndarray) -> np.ndarray:
    return np.pi * (diameter_um / 2) ** 2


@pytest.mark.parametrize("diameter_um", [8.0, 20.0])
@pytest.mark.parametrize(
    ("n_fragments", "n_pairs", "n_clumps"), [(0, 0, 0), (80, 0, 0), (0, 70, 20), (50, 50, 9)]
)
def test_diameter_of_single_cells(diameter_um: float, n_fragments: int, n_pairs: int, n_clumps: int) -> None:
    rng = np.random.default_rng(3)
    whole = _areas(diameter_um * rng.normal(1, 0.08, 200))
    fragments = _areas(diameter_um * rng.uniform(0.15, 0.5, n_fragments))
    pairs = whole[:n_pairs] + whole[-n_pairs:] if n_pairs else whole[:0]
    clumps = _areas(diameter_um * rng.uniform(1.8, 3.0, n_clumps))
    found = suggest.diameter(np.concatenate([whole, fragments, pairs, clumps, [np.nan]]), 2 * diameter_um)
    assert found.value_um == pytest.approx(diameter_um, rel=0.06)
    assert not found.fine
    assert ("fragments" in found.evidence) == bool(n_fragments)
    assert f"{found.value_um:.1f} µm" in found.evidence


@pytest.mark.parametrize(("current_um", "fine"), [(10.0, True), (11.5, True), (13.0, False), (7.0, False)])
def test_a_diameter_that_is_near_is_fine(current_um: float, fine: bool) -> None:
    areas = _areas(10 * np.random.default_rng(0).normal(1, 0.05, 60))
    assert suggest.diameter(areas, current_um).fine is fine


@pytest.mark.parametrize("n", [0, 1, suggest.MIN_OBJECTS - 1])
def test_too_few_say_nothing(n: int) -> None:
    found = suggest.diameter(np.full(n, 300.0), 20.0)
    assert np.isnan(found.value_um)
    assert found.fine
    assert f"{n} whole object" in found.evidence
    places = np.random.default_rng(0).uniform(0, 500, (n, 2))
    linked = suggest.linking_distance([(places, places)] if n else [], 20.0, 20.0)
    assert np.isnan(linked.value_um)
    assert linked.fine


def _lattice(spacing_um: float, n: int = 12) -> np.ndarray:
    return spacing_um * np.stack(np.meshgrid(np.arange(n), np.arange(n)), axis=-1).reshape(-1, 2).astype(
        float
    )


def _moved(places: np.ndarray, step_um: float, seed: int) -> np.ndarray:
    angle = np.random.default_rng(seed).uniform(0, 2 * np.pi, len(places))
    return places + step_um * np.column_stack([np.sin(angle), np.cos(angle)])


@pytest.mark.parametrize("step_um", [0.5, 4.0, 9.0])
def test_planted_steps(step_um: float) -> None:
    before = _lattice(40.0)
    after = _moved(before, step_um, 1)
    steps = suggest.mutual_steps_um(before, after[::-1])
    np.testing.assert_allclose(steps, step_um, atol=1e-9)
    found = suggest.linking_distance([(before, after)], 1.01 * step_um, 6.0)
    assert found.value_um == pytest.approx(max(1.5 * step_um, 3.0))
    assert found.fine, "it covers every step and is not wide"


def test_cells_that_come_and_go_are_no_steps() -> None:
    before = _lattice(40.0)
    after = np.concatenate([_moved(before, 3.0, 2)[10:], [[4000.0, 4000.0]]])
    steps = suggest.mutual_steps_um(before, after)
    assert len(steps) == len(before) - 10
    assert steps.max() < 3.1


@pytest.mark.parametrize(
    ("current_um", "fine"), [(4.0, False), (6.2, True), (15.0, True), (30.0, False)], ids=str
)
def test_a_distance_that_cuts_steps_or_reaches_other_cells_is_not_fine(current_um: float, fine: bool) -> None:
    before = _lattice(40.0)
    found = suggest.linking_distance([(before, _moved(before, 6.0, 5))], current_um, 10.0)
    assert found.value_um == pytest.approx(9.0)
    assert found.fine is fine


def test_never_beyond_half_the_way_to_the_next_cell() -> None:
    before = _lattice(16.0)
    found = suggest.linking_distance([(before, _moved(before, 7.0, 4))], 20.0, 10.0)
    assert found.value_um == pytest.approx(8.0)
    assert "half the way to the next cell is 8.0 µm" in found.evidence


@pytest.mark.parametrize(("n_before", "n_after"), [(0, 0), (0, 3), (3, 0), (1, 1)])
def test_frames_with_hardly_anything(n_before: int, n_after: int) -> None:
    steps = suggest.mutual_steps_um(np.zeros((n_before, 2)), np.ones((n_after, 2)))
    assert len(steps) == min(n_before, n_after, 1)
    assert len(suggest.neighbour_distances_um(np.zeros((n_before, 2)))) == (3 if n_before == 3 else 0)
