"""Who was in contact before a death, against what was planted, and the level that chance reaches."""

from __future__ import annotations

import numpy as np
import pytest

from dataops_parsl.algorithms.attribution import candidates, clip_to_life
from dataops_parsl.algorithms.chance import Targets, Touches, chance_level

NAN = float("nan")


def test_contact_is_summed_within_the_window_and_ranked() -> None:
    found = candidates(
        [7, 3, 7, 9, 5],
        [0.0, 2000.0, 3000.0, 0.0, 4000.0],
        [1000.0, 2900.0, 3600.0, 390.0, 4100.0],
        death_time_s=4000.0,
        window_s=3600.0,
    )
    # 7: [400, 1000) and [3000, 3600); 3: [2000, 2900); 9 ended before the window; 5 came at death.
    assert found.effector.tolist() == [7, 3]
    assert found.contact_s.tolist() == [1200.0, 900.0]
    assert found.lag_s.tolist() == [400.0, 1100.0]
    assert found.first_s.tolist() == [0.0, 2000.0]
    assert found.first_event.tolist() == [0, 1]
    assert found.credit_frac == pytest.approx([1200 / 2100, 900 / 2100])
    assert found.rank.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("effector", "start", "end", "order", "lag"),
    [
        ([2, 1], [0, 50], [50, 100], [1, 2], [0.0, 50.0]),  # the smaller lag
        ([4, 3], [0, 0], [60, 60], [3, 4], [40.0, 40.0]),  # then the smaller number
        ([4], [90], [500], [4], [0.0]),  # still in contact
        ([4, 4], [0, 150], [60, 160], [4], [40.0]),  # contact after death is no contact
    ],
)
def test_ties_and_lag(effector, start, end, order, lag) -> None:
    found = candidates(effector, start, end, death_time_s=100.0, window_s=100.0)
    assert found.effector.tolist() == order
    assert found.lag_s.tolist() == lag


@pytest.mark.parametrize(
    ("effector", "start", "end"), [([], [], []), ([1], [100], [200]), ([1], [0], [40]), ([1], [NAN], [NAN])]
)
def test_nobody_was_there(effector, start, end) -> None:
    found = candidates(effector, start, end, death_time_s=100.0, window_s=60.0)
    assert all(len(values) == 0 for values in vars(found).values())


def test_the_order_of_events_does_not_matter() -> None:
    rng = np.random.default_rng(1)
    who, start = rng.integers(1, 5, 30), rng.uniform(0, 100, 30)
    end, p = start + rng.uniform(0, 30, 30), rng.permutation(30)
    one = candidates(who, start, end, 90.0, 60.0)
    other = candidates(who[p], start[p], end[p], 90.0, 60.0)
    assert one.effector.tolist() == other.effector.tolist()
    np.testing.assert_allclose(one.contact_s, other.contact_s)
    assert one.first_event.tolist() == p[other.first_event].tolist()


@pytest.mark.parametrize(("death", "window"), [(NAN, 60.0), (10.0, 0.0), (10.0, NAN)])
def test_no_time_of_death_or_no_window(death, window) -> None:
    with pytest.raises(ValueError, match="finite"):
        candidates([1], [0], [1], death, window)


def test_lengths_are_checked() -> None:
    with pytest.raises(ValueError, match="end_s 2"):
        candidates([1], [0], [1, 2], 10.0, 5.0)


def test_the_dead_do_not_kill() -> None:
    kept, end = clip_to_life(
        [5, 6, 7, 8, 5, 9],
        [0, 0, 0, 0, 60, 40],
        [100, 100, 100, 100, 90, 70],
        track_id=[8, 7, 6, 5, 9],
        death_time_s=[NAN, NAN, NAN, 50.0, 50.0],
        dead_at_entry=[None, True, False, False, False],
    )
    assert kept.tolist() == [True, True, False, True, False, True]
    assert end[kept].tolist() == [50.0, 100.0, 100.0, 50.0]


@pytest.mark.parametrize("n", [0, 1])
def test_clipping_without_effectors(n) -> None:
    kept, end = clip_to_life([3] * n, [0] * n, [9] * n, track_id=[], death_time_s=[], dead_at_entry=[])
    assert (kept.tolist(), end.tolist()) == ([True] * n, [9.0] * n)


def _targets(n: int, death=(), begin=0.0, until=1000.0, at_entry=()) -> Targets:
    times, entry = np.full(n, NAN), np.zeros(n, bool)
    for track, time in dict(death).items():
        times[track - 1] = time
    entry[[t - 1 for t in at_entry]] = True
    return Targets(np.arange(1, n + 1), np.full(n, begin), np.full(n, until), times, entry)


def _touches(rows) -> Touches:
    table = np.array(rows, float).reshape(-1, 4)
    return Touches(
        table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), table[:, 2].copy(), table[:, 3].copy()
    )


def test_chance_is_the_share_of_targets_in_contact() -> None:
    # 100 targets, 25 of them in contact all the time with one effector each; 20 die at one time.
    targets = _targets(100, dict.fromkeys(range(1, 21), 500.0))
    touches = _touches([(t, t, 0, 1000) for t in range(1, 26)])
    found = chance_level(targets, touches, range(1, 31), window_s=60.0, draws=2000, seed=0)
    # Distinct targets: hypergeometric.
    assert found.n_deaths == 20
    assert found.n_attributed.mean() == pytest.approx(5.0, abs=0.15)
    assert found.n_attributed.var() == pytest.approx(20 * 0.25 * 0.75 * 80 / 99, rel=0.15)
    assert found.kills[:25] == pytest.approx(0.2, abs=0.05)
    assert found.kills[25:].tolist() == [0.0] * 5
    assert found.n_effectors.sum() == pytest.approx(30)
    assert len(found.n_effectors) == 2  # nobody touches two


def test_where_every_target_dies_an_effect_is_still_seen() -> None:
    # One effector visits the targets in turn, each for 100 s, and each dies then: nobody else was in contact.
    n = 20
    targets = _targets(n, {t: 100.0 * t for t in range(1, n + 1)}, until=100.0 * n)
    touches = _touches([(t, 1, 100 * (t - 1), 100 * t) for t in range(1, n + 1)])
    found = chance_level(targets, touches, [1], window_s=100.0, draws=500, seed=3)
    expected = sum(1 / k for k in range(1, n + 1))
    assert found.n_attributed.mean() == pytest.approx(expected, rel=0.1)
    assert found.n_attributed.max() < n


@pytest.mark.parametrize(
    ("targets", "touches", "attributed"),
    [
        # Only target 1 is at risk at 500: the others left, came later, died before, or were dead.
        (_targets(1, {1: 500.0}), [(1, 1, 400, 600)], 1),
        (
            Targets(
                np.array([1, 2, 3, 4, 5]),
                np.array([0.0, 0.0, 600.0, 0.0, NAN]),
                np.array([900.0, 400.0, 900.0, 900.0, NAN]),
                np.array([500.0, NAN, NAN, NAN, NAN]),
                np.array([False, False, False, True, False]),
            ),
            [(t, 1, 400, 600) for t in (2, 3, 4, 5)],
            0,
        ),
    ],
)
def test_only_targets_at_risk_are_drawn(targets, touches, attributed) -> None:
    found = chance_level(targets, _touches(touches), [1], window_s=60.0, draws=10, seed=0)
    assert found.n_attributed.tolist() == [attributed] * 10


@pytest.mark.parametrize(
    ("n_targets", "deaths", "effectors"), [(0, {}, []), (3, {}, [4, 5]), (3, {1: 10.0}, []), (0, {}, [1])]
)
def test_nothing_to_draw(n_targets, deaths, effectors) -> None:
    found = chance_level(_targets(n_targets, deaths), _touches([]), effectors, window_s=9.0, draws=5, seed=0)
    assert found.n_attributed.tolist() == [0] * 5
    assert found.kills.tolist() == [0.0] * len(effectors)
    assert found.n_effectors.tolist() == [len(effectors)]


def test_draws_depend_on_the_seed_and_not_on_the_order_of_rows() -> None:
    rng = np.random.default_rng(2)
    n = 40
    targets = _targets(n, {int(t): float(rng.integers(100, 900)) for t in rng.choice(n, 15, False) + 1})
    rows = np.column_stack(
        [rng.integers(1, n + 1, 80), rng.integers(1, 9, 80), s := rng.uniform(0, 900, 80), s + 90]
    )

    def draw(p: np.ndarray, q: np.ndarray, seed: int):
        mixed = Targets(*(np.asarray(v)[p] for v in vars(targets).values()))
        return chance_level(mixed, _touches(rows[q]), range(8, 0, -1), window_s=100.0, draws=50, seed=seed)

    one = draw(np.arange(n), np.arange(80), 5)
    other = draw(rng.permutation(n), rng.permutation(80), 5)
    for name in ("n_attributed", "effector", "kills", "n_effectors"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert draw(np.arange(n), np.arange(80), 6).n_attributed.tolist() != one.n_attributed.tolist()


def test_the_top_candidate_by_chance_is_the_one_of_candidates() -> None:
    rng = np.random.default_rng(4)
    start = rng.uniform(0, 100, 40)
    rows = np.column_stack([np.ones(40), rng.integers(1, 7, 40), start, start + rng.uniform(0, 20, 40)])
    touches = _touches(rows)
    expected = candidates(touches.effector, touches.start_s, touches.end_s, 95.0, 50.0).effector[0]
    found = chance_level(_targets(1, {1: 95.0}), touches, range(1, 7), window_s=50.0, draws=3, seed=0)
    assert found.effector[found.kills == 1].tolist() == [expected]


def test_an_effector_that_is_not_known() -> None:
    with pytest.raises(ValueError, match="effector 2 touches"):
        chance_level(_targets(1), _touches([(1, 2, 0, 1)]), [1], window_s=9.0, draws=1, seed=0)


def test_who_held_on_ranks_before_who_left() -> None:
    effector, start, end = [1, 2, 3], [0.0, 2000.0, 2500.0], [2400.0, 3600.0, 3400.0]
    found = candidates(effector, start, end, 3600.0, 3600.0, detach_s=300.0)
    assert found.effector.tolist() == [2, 3, 1]
    assert found.credit_frac[2] == found.credit_frac.max()  # credit stays what it is
    strict = candidates(effector, start, end, 3600.0, 3600.0)
    assert strict.effector.tolist() == [2, 1, 3]
