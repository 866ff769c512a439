"""Survival with delayed entry, against curves worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from dataops_parsl.algorithms.survival import AtRisk, at_risk, kaplan_meier

NAN = float("nan")
# Dies; leaves by the edge; lost; sees the film's end; dead at entry; enters late and dies; never judged.
TARGETS = {
    "judged_from_s": [0, 0, 0, 0, 0, 300, NAN],
    "judged_until_s": [900, 500, 400, 900, 900, 900, NAN],
    "death_time_s": [600, NAN, NAN, NAN, NAN, 700, NAN],
    "dead_at_entry": [False, False, False, False, True, False, None],
    "first_contact_s": [200, NAN, 500, 0, 10, 100, 50],
    "end_reason": ["film", "edge", "lost", "film", "film", "division", "film"],
}
ALL = {0: (0, 600, 1), 1: (0, 500, 0), 3: (0, 900, 0)}


@pytest.mark.parametrize(
    ("origin", "lost_as", "spells"),
    [
        ("film_start", "censored", {**ALL, 2: (0, 400, 0), 5: (300, 700, 1)}),
        ("film_start", "dead", {**ALL, 2: (0, 400, 1), 5: (300, 700, 1)}),
        ("entry", "censored", {**ALL, 2: (0, 400, 0), 5: (0, 400, 1)}),
        # 2 was touched after it was last judged; 5 was touched 200 s before it was first judged.
        ("first_contact", "dead", {0: (0, 400, 1), 3: (0, 900, 0), 5: (200, 600, 1)}),
    ],
)
def test_spells(origin, lost_as, spells) -> None:
    found = at_risk(**TARGETS, origin=origin, lost_as=lost_as)
    rows = zip(found.entry_s.tolist(), found.exit_s.tolist(), found.died.tolist(), strict=True)
    assert dict(zip(found.index.tolist(), rows, strict=True)) == spells


def test_judged_once_only_is_no_time_at_risk() -> None:
    one = {k: [v[2]] for k, v in TARGETS.items()} | {"judged_from_s": [400]}
    for lost_as in ("censored", "dead"):
        assert len(at_risk(**one, origin="film_start", lost_as=lost_as).index) == 0


def test_no_target_has_no_curve() -> None:
    found = kaplan_meier(at_risk(**{k: [] for k in TARGETS}, origin="first_contact", lost_as="dead"))
    assert all(len(values) == 0 for values in vars(found).values())


def _curve(*spells: tuple[float, float, int]):
    entry, leave, died = (np.array(v) for v in zip(*spells, strict=True))
    return kaplan_meier(
        AtRisk(entry.astype(float), leave.astype(float), died.astype(bool), np.arange(len(died)))
    )


def test_delayed_entry_by_hand() -> None:
    found = _curve((0, 5, 1), (0, 6, 0), (5, 7, 1), (6, 7, 0), (0, 9, 0))
    assert found.time_s.tolist() == [0, 5, 6, 7, 9]
    assert found.n_at_risk.tolist() == [3, 3, 3, 3, 1]  # who enters at 5 is not at risk at 5
    assert found.n_entered.tolist() == [3, 1, 1, 0, 0]
    assert found.n_dead.tolist() == [0, 1, 0, 1, 0]
    assert found.n_censored.tolist() == [0, 0, 1, 1, 1]
    assert found.alive_frac == pytest.approx([1, 2 / 3, 2 / 3, 4 / 9, 4 / 9])
    assert np.isnan(found.low_frac[0])  # no death yet: no interval
    assert (found.low_frac[1:] < found.alive_frac[1:]).all()
    assert (found.alive_frac[1:] < found.high_frac[1:]).all()


def test_the_interval_is_greenwood_on_the_log_log_scale() -> None:
    found = _curve(*((0, t, 1) for t in (1, 2, 3)), *((0, 10, 0) for _ in range(7)))
    alive = 0.7
    greenwood = 1 / (10 * 9) + 1 / (9 * 8) + 1 / (8 * 7)
    half = 1.959964 * np.sqrt(greenwood) / abs(np.log(alive))
    np.testing.assert_allclose(found.low_frac[3], alive ** np.exp(half), rtol=1e-5)
    np.testing.assert_allclose(found.high_frac[3], alive ** np.exp(-half), rtol=1e-5)


@pytest.mark.parametrize(
    ("spells", "alive"),
    [
        ([(0, 5, 0)], [1, 1]),
        ([(0, 5, 1)], [1, 0]),
        ([(300, 500, 1)], [1, 0]),
        ([(0, 5, 1), (0, 5, 1)], [1, 0]),
        ([(0, 5, 1), (5, 8, 0)], [1, 0, 0]),  # the early risk set dies out: the estimate stays at 0
    ],
)
def test_few_targets(spells, alive) -> None:
    found = _curve(*spells)
    assert found.alive_frac.tolist() == alive
    assert found.n_at_risk[0] == sum(s[0] == spells[0][0] for s in spells)
    assert np.isnan(found.low_frac).all()


def test_late_entries_do_not_raise_survival() -> None:
    """True survival is exp(-t / 1000 s); half of the targets come into view late."""
    rng = np.random.default_rng(0)
    born = np.where(rng.random(4000) < 0.5, 0.0, rng.uniform(0, 900, 4000))
    death = rng.exponential(1000, 4000)
    seen = death > born
    found = kaplan_meier(
        AtRisk(born[seen], np.minimum(death, 1000.0)[seen], (death < 1000)[seen], np.arange(seen.sum()))
    )
    for time in (250.0, 500.0, 900.0):
        at = np.searchsorted(found.time_s, time) - 1
        assert found.alive_frac[at] == pytest.approx(np.exp(-time / 1000), abs=0.025)


def test_misuse() -> None:
    with pytest.raises(ValueError, match="origin"):
        at_risk(**TARGETS, origin="birth", lost_as="dead")
    with pytest.raises(ValueError, match="one length"):
        at_risk(**(TARGETS | {"end_reason": ["film"]}), origin="entry", lost_as="dead")
