"""Efficiency, Amdahl's law and the words, on planted times; pyCyto's own figures."""

from __future__ import annotations

from typing import Any

import pytest

from dataops_parsl.bench import analysis
from dataops_parsl.bench.pycyto import published
from dataops_parsl.bench.results import AGGREGATED, aggregate, fit, fits


def row(stage: str, workers: int, wall_s: float, **more: Any) -> dict[str, Any]:
    return {
        "stage": stage,
        "workers": workers,
        "repeat": 0,
        "wall_s": wall_s,
        "busy_s": 8.0,
        "cpu_s": 7.5,
        "max_rss_mb": 300.0,
        "tasks": 40,
        "frames": 80,
        "startup_s": 1.0,
        "queue_s": 0.5,
        "first_batch_cold_s": 0.6,
        "first_batch_warm_s": 0.1,
        "lost": 0,
        "film_tasks": 1,
        "film_frac": 0.0,
        "digest": "a",
        "site": "laptop",
        "executors": "laptop",
        "jobs": "",
        **more,
    }


def test_efficiency_is_against_the_fewest_workers() -> None:
    rows = aggregate([row("contact", 2, 5.0), row("contact", 8, 2.0)], cores=None)
    assert [r["speedup"] for r in rows] == [2.0, 5.0]
    assert [r["efficiency_frac"] for r in rows] == [1.0, 0.625]
    assert [r["busy_frac"] for r in rows] == [0.8, 0.5]
    assert rows[0]["load_s"] == pytest.approx(0.5)
    assert set(rows[0]) == set(AGGREGATED.names)
    assert not any(r["exceeds_cores"] for r in rows)


def test_the_median_of_repeats_counts() -> None:
    times = [row("contact", 1, t, repeat=i) for i, t in enumerate((9.0, 4.0, 5.0))]
    (one,) = aggregate(times, cores=2)
    assert (one["wall_s"], one["wall_min_s"], one["wall_max_s"], one["repeats"]) == (5.0, 4.0, 9.0, 3)


def test_more_workers_than_cores_are_said_and_not_fitted() -> None:
    rows = aggregate([row("contact", n, 8.0 / min(n, 2)) for n in (1, 2, 4)], cores=2)
    assert [r["exceeds_cores"] for r in rows] == [False, False, True]
    law = fits(rows)["contact"]
    assert law.fixed_s == pytest.approx(0, abs=1e-9)
    assert law.work_s == pytest.approx(8)
    assert any("more than cores" in line for line in analysis.advice(rows, {"contact": law}))


def test_one_number_of_workers_has_no_efficiency() -> None:
    (one,) = aggregate([row("contact", 8, 2.0)], cores=None)
    assert one["speedup"] is None
    assert one["efficiency_frac"] is None
    assert "| contact | 8 | 2.00 | – | – |" in analysis.results_table([one])


def test_films_enough_for_all_workers_are_shared_out() -> None:
    rows = aggregate([row("trackmate", n, 8.0 / n, film_frac=0.9, film_tasks=8) for n in (1, 8)], cores=None)
    assert [r["efficiency_frac"] for r in rows] == [1.0, 1.0]


def test_a_disturbed_measurement_is_said() -> None:
    rows = aggregate([row("contact", 1, 8.0), row("contact", 2, 5.0, lost=2)], cores=None)
    assert any("2 attempts were lost; measure it again" in x for x in analysis.advice(rows, fits(rows)))


def test_a_film_as_one_task_has_no_efficiency() -> None:
    rows = aggregate([row("trackmate", n, 8.0, film_frac=0.9) for n in (1, 8)], cores=None)
    assert [r["efficiency_frac"] for r in rows] == [None, None]
    assert not fits(rows)
    assert "one task a film" in analysis.results_table(rows)
    assert any("takes a film as one task" in line for line in analysis.advice(rows, {}))


def test_a_result_that_differs_is_seen() -> None:
    rows = aggregate([row("contact", 1, 8.0), row("contact", 2, 4.0, digest="b")], cores=None)
    assert not any(r["same_result"] for r in rows)
    text = analysis.text("x", "here", rows, {}, {"contact": []}, [])
    assert "NOT equal" in text


@pytest.mark.parametrize(("fixed", "work"), [(0.0, 8.0), (3.0, 5.0), (4.0, 0.0)])
def test_the_fit_finds_a_planted_law(fixed: float, work: float) -> None:
    law = fit({n: fixed + work / n for n in (1, 2, 4, 8)})
    assert law is not None
    assert law.fixed_s == pytest.approx(fixed, abs=1e-9)
    assert law.work_s == pytest.approx(work, abs=1e-9)
    assert law.serial_frac == pytest.approx(fixed / (fixed + work))
    assert law.error_frac < 1e-9
    assert law.at(16) == pytest.approx(fixed + work / 16)


def test_no_part_of_a_fit_is_negative() -> None:
    better_than_ideal = fit({1: 8.0, 2: 3.5, 4: 1.6})
    worse_than_serial = fit({1: 4.0, 2: 5.0})
    assert better_than_ideal is not None
    assert worse_than_serial is not None
    assert better_than_ideal.fixed_s == 0
    assert worse_than_serial.work_s == 0
    assert fit({4: 2.0}) is None


def test_tasks_that_get_slower_are_not_taken_for_serial_work() -> None:
    rows = aggregate([row("cellpose", 1, 8.0), row("cellpose", 2, 8.0, busy_s=15.9)], cores=4)
    advice = analysis.advice(rows, fits(rows))
    assert any("took 2.0 times as long with 2 workers" in line for line in advice)
    assert not any("shared out by nobody" in line for line in advice)


def test_pycytos_published_efficiency() -> None:
    at_8 = {
        s: round(100 * published().efficiency(s)[8]) for s in ("register_denoise", "contact", "trackmate")
    }
    assert at_8 == {"register_denoise": 80, "contact": 25, "trackmate": 22}
    line = published().seconds["cellpose ch0"]
    assert round(100 * line[1] / (8 * line[8])) == 39
    assert all(115 <= published().law(name).fixed_s <= 342 for name in published().seconds)
