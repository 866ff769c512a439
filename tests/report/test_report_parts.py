"""The parts of the page on planted runs: what they say is what was planted."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from dataops_parsl.config import load
from dataops_parsl.report import advice, graph, timeline
from dataops_parsl.report.costs import cards, costs, hours
from dataops_parsl.report.html import Html, table, tag
from dataops_parsl.report.trouble import tail, trouble, troubled
from dataops_parsl.report.words import moment, number, percent, toml
from dataops_parsl.stages import discover
from tests.helpers import PROJECT
from tests.report.planted import GRAPH, attempt, planted

PLAIN = [
    attempt("register", 0, 100, pid=1, max_rss_mb=1024.0),
    attempt("register", 0, 80, pid=2, number=1),
    attempt("segment", 100, 50, pid=1, max_rss_mb=512.0),
    attempt("track", 150, 10, pid=1),
]


def test_text_is_escaped_and_html_is_not() -> None:
    assert tag("p", "a < b & c") == "<p>a &lt; b &amp; c</p>"
    assert tag("p", tag("b", "x"), None, class_="n", aria_label='"') == (
        '<p class="n" aria-label="&quot;"><b>x</b></p>'
    )
    assert isinstance(tag("img", alt=""), Html)
    assert tag("img", alt="") == '<img alt=""/>'


def test_a_table_says_what_its_cells_are() -> None:
    made = table("Costs", ("stage", "s"), [("<a>", "1")], note="of all")
    assert "<caption>Costs<small>of all</small></caption>" in made
    assert '<th scope="col">stage</th><th scope="col" class="n">s</th>' in made
    assert '<th scope="row">&lt;a&gt;</th><td class="n">1</td>' in made
    assert "tabindex" not in made
    assert 'tabindex="0" role="region" aria-label="Wide"' in table("Wide", list("abcdefgh"), [])


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (number(None), "–"),
        (number(1234567), "1\u202f234\u202f567"),
        (number(0.01234), "0.012"),
        (number(123.4), "123"),
        (percent(0.456), "46 %"),
        (percent(None), "–"),
        (moment("2026-01-01T12:00:00+02:00"), "1 Jan 2026, 10:00 UTC"),
        (moment("once"), "once"),
        (toml(["a", 1.0, True, None]), '["a", 1, true, not set]'),
        (hours(0.00001), "< 0.001"),
        (hours(12.345), "12.3"),
    ],
)
def test_words(said: str, words: str) -> None:
    assert said == words


# --- what was asked for, what was used


def test_what_was_used_is_found(tmp_path: Path) -> None:
    found = {u.stage: u for u in advice.uses(planted(tmp_path, PLAIN, kind="slurm"))}
    register = found["register"]
    assert (register.asked_gb, register.used_gb, register.longest_task_s) == (4.0, 1.0, 100.0)
    assert (register.asked_min, register.longest_block_s) == (240, 600.0)
    assert advice.uses(planted(tmp_path / "local", PLAIN))[0].asked_min is None


def test_less_is_advised_word_for_word(tmp_path: Path) -> None:
    text = advice.as_toml(advice.changes(planted(tmp_path, PLAIN, kind="slurm")))
    # 1.3 times 1 GB, in halves; one and a half of a block of 10 min, two tasks and the drain.
    assert tomllib.loads(text) == {"resources": {"default": {"mem_gb": 1.5, "walltime_min": 15}}}
    assert "# was 4; the most that was used is 1 GB, by register" in text


def test_what_is_advised_is_taken_by_the_configuration(tmp_path: Path) -> None:
    own = {"default": {"mem_gb": 4.0}, "segment": {"mem_gb": 16.0}}
    view = planted(
        tmp_path,
        [attempt("segment", 0, 60, max_rss_mb=15900.0), attempt("register", 0, 3, max_rss_mb=100.0)],
        resources={"segment": {"mem_gb": 16.0}},
        own=own,
    )
    text = advice.as_toml(advice.changes(view)).replace("segment", "cellpose")
    assert tomllib.loads(text)["resources"] == {"default": {"mem_gb": 1}, "cellpose": {"mem_gb": 21}}
    assert "that is tight" in text
    root = tmp_path / "project"
    (root / "configs").mkdir(parents=True)
    for name in ("config.def.toml", "sites"):
        (root / "configs" / name).symlink_to(PROJECT / "configs" / name)
    (root / "configs" / "config.user.toml").write_text(text)
    loaded = load(root, stage_classes=discover())
    assert loaded.resources("cellpose").mem_gb == 21
    assert loaded.resources("contact").mem_gb == 1


def test_more_memory_is_advised_after_it_ran_out(tmp_path: Path) -> None:
    lost = attempt("track", 0, 9, outcome="oom", max_rss_mb=3000.0, reason="used more than its share")
    (change,) = advice.changes(planted(tmp_path, [lost, attempt("track", 9, 9, max_rss_mb=3100.0)]))
    assert (change.table, change.key, change.value) == ("resources.default", "mem_gb", 5.5)
    assert change.why == "4 GB were not enough for track"


def test_what_fits_stays(tmp_path: Path) -> None:
    view = planted(tmp_path, [attempt("track", 0, 3000, max_rss_mb=2500.0)], kind="slurm", block_s=9000.0)
    assert advice.changes(view) == []
    assert "Nothing to change" in advice.advice(view)


def test_a_task_as_long_as_the_walltime_needs_a_longer_one(tmp_path: Path) -> None:
    rows = [attempt("track", 0, 9000, max_rss_mb=2500.0)]
    (change,) = advice.changes(planted(tmp_path, rows, kind="slurm", block_s=9600.0))
    assert (change.key, change.value) == ("walltime_min", 360)


def test_more_workers_than_cores_are_told(tmp_path: Path) -> None:
    rows = [attempt("track", 0, 3, max_rss_mb=2500.0)]
    view = planted(tmp_path, rows, starts=[{"cores": 1}])
    assert tomllib.loads(advice.as_toml(advice.changes(view))) == {"workers": 1}
    rows = [attempt("track", 0, 3, max_rss_mb=100.0)]
    made = advice.advice(planted(tmp_path / "both", rows, starts=[{"cores": 1}]))
    top, below = re.findall("<pre><code>(.*?)</code></pre>", made, re.DOTALL)
    assert tomllib.loads(top) == {"workers": 1}
    assert tomllib.loads(below) == {"resources": {"default": {"mem_gb": 1}}}
    assert "at the top of <code>configs/config.user.toml</code>" in made.partition("<pre>")[0][-200:]


@pytest.mark.parametrize(("used", "asked"), [(0.1, 1.0), (1.0, 1.5), (6.0, 8.0), (10.0, 13.0)])
def test_memory_has_headroom(used: float, asked: float) -> None:
    assert advice.memory_gb(used) == asked


# --- cost


def test_costs_are_those_of_the_trace(tmp_path: Path) -> None:
    rows = [*PLAIN, attempt("track", 160, 40, pid=2, outcome="lost", reason="gone")]
    executors = [
        {"executor": "cpu", "blocks": 1, "attempts": 5, "lost": 1, "waiting_s": 3.0, "worker_s": 400.0}
        | {"busy_s": 280.0, "idle_frac": 0.3}
    ]
    made = costs(planted(tmp_path, rows, executors=executors))
    cells = {r[0]: r for r in _rows(made)}
    assert cells["register"][1:7] == ["2", "0", "3 min 00 s", "64 %", "1 min 30 s", "50 %"]
    assert cells["track"][1:4] == ["1", "1", "50 s"]
    assert cells["all"][3:5] == ["4 min 40 s", "100 %"]
    assert cells["cpu"][-1] == "70 %"
    assert "GPU-hours" not in made


def test_gpu_hours_where_there_are_gpus(tmp_path: Path) -> None:
    rows = [
        attempt("segment", 0, 3600, executor="gpu"),
        attempt("segment", 0, 1800, executor="gpu_with_8gb", number=1),
        attempt("track", 0, 3600),
    ]
    asked = {"cpu": "", "gpu": "gpu:a100:2"}
    cells = {r[0]: r for r in _rows(costs(planted(tmp_path, rows, kind="slurm", executor_gres=asked)))}
    assert cells["segment"][7:9] == ["1.5", "3"]
    assert cells["track"][7:9] == ["1", "0"]
    assert (cards("gpu"), cards("gpu:a100"), cards("gpu:4"), cards("")) == (1, 1, 4, 0)


def test_no_gpu_hours_where_no_worker_asked_for_a_card(tmp_path: Path) -> None:
    """What a stage would ask for on a cluster with GPUs is no card that was used."""
    configured = {"segment": {"gres": "gpu:1"}}
    view = planted(tmp_path, [attempt("segment", 0, 3600)], resources=configured, executor_gres={"cpu": ""})
    assert "GPU-hours" not in costs(view)


def _rows(made: str) -> list[list[str]]:
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", made)]


# --- time


def _boxes(made: str) -> list[tuple[float, float, float]]:
    """x, width and y of each box."""
    found = []
    for box in re.findall(r'<rect x="[^>]*class="box[^>]*>', made.partition("</svg>")[0]):
        said = dict(re.findall(r'(\w+)="([^"]*)"', box))
        found.append((float(said["x"]), float(said["width"]), float(said["y"])))
    return found


def test_a_box_an_attempt_a_row_a_worker(tmp_path: Path) -> None:
    made = timeline.timeline(planted(tmp_path, PLAIN))
    boxes = _boxes(made)
    assert len(boxes) == 4
    assert len({y for *_, y in boxes}) == 2
    first, second = boxes[0], boxes[1]
    assert second[1] / first[1] == pytest.approx(0.8, rel=0.01), "widths are as the times"
    assert "4 attempts, on 2 workers of 1 host" in made
    assert made.count("<li>") == 3, "each stage has its colour"
    assert "<title>register.step/P1/00000: 1 min 40 s, done</title>" in made


def test_what_was_lost_looks_otherwise(tmp_path: Path) -> None:
    made = timeline.timeline(planted(tmp_path, [*PLAIN, attempt("track", 160, 9, outcome="lost")]))
    assert made.count('class="box bad"') == 2, "the box, and its entry in the legend"
    assert "5 attempts, 1 of them not successful" in made


def test_a_night_in_which_nothing_ran_is_cut_short(tmp_path: Path) -> None:
    later = [attempt("track", 40_000, 100, pid=3, number=9)]
    made = timeline.timeline(planted(tmp_path, [*PLAIN, *later]))
    boxes = _boxes(made)
    assert boxes[-1][1] > 200, "what ran stays visible"
    assert max(x + w for x, w, _ in boxes) <= timeline.WIDTH
    assert "nothing ran for 11 h 04 min" in made
    assert "pause in which nothing ran" in made


def test_tens_of_thousands_of_attempts_stay_light(tmp_path: Path) -> None:
    stages = ("register", "segment", "track")
    rows = [
        attempt(stages[i // 10_000 % 3], i // 100 * 2.0, 1.9, pid=i % 100, number=i) for i in range(40_000)
    ]
    rows[25_050] |= {"outcome": "lost"}
    made = timeline.timeline(planted(tmp_path, rows))
    boxes = _boxes(made)
    assert 400 <= len(boxes) <= timeline.MOST_BOXES, "a box a stage and worker at least"
    assert len(made) < 1_000_000
    assert "too many to draw" in made
    assert made.count('class="box bad"') == 2, "what was lost is not hidden"


def test_places_on_a_cut_axis_lead_back_to_their_times() -> None:
    axis = timeline._Axis([(0.0, 100.0), (5000.0, 5100.0), (9000.0, 9010.0)])
    assert len(axis.cuts) == 2
    for time in (0.0, 50.0, 100.0, 2000.0, 5000.0, 5050.0, 9005.0, 9010.0):
        assert axis.time(axis.share(time)) == pytest.approx(time, abs=1e-6)
    places = [axis.px(t) for t in range(0, 9010, 10)]
    assert places == sorted(places)


def test_of_many_pauses_the_longest_are_cut(tmp_path: Path) -> None:
    starts = [1000.0 * i + 5000.0 * (i > 20) for i in range(60)]
    spans = [(start, start + 1.0) for start in starts]
    axis = timeline._Axis(spans)
    assert len(axis.cuts) == 12
    assert axis.scale > 0
    assert (20_001.0, 26_000.0) in axis.cuts, "the longest of all"
    places = [axis.px(t) for start, end in spans for t in (start, end)]
    assert places == sorted(places)
    assert timeline.LEFT <= places[0] < places[-1] <= timeline.WIDTH
    rows = [attempt("track", start, 1.0, number=i) for i, start in enumerate(starts)]
    boxes = _boxes(timeline.timeline(planted(tmp_path, rows)))
    assert all(timeline.LEFT <= x <= timeline.WIDTH for x, _, _ in boxes)


def test_a_run_that_computed_nothing(tmp_path: Path) -> None:
    view = planted(tmp_path, [])
    for made in (timeline.timeline(view), costs(view), advice.advice(view)):
        assert "othing was computed in this run" in made


# --- graph


def test_stages_read_from_stages() -> None:
    reads = graph.stage_reads(GRAPH)
    assert reads == {"register": {"raw"}, "segment": {"raw", "register"}, "track": {"register", "segment"}}
    assert graph.direct(reads) == {"register": {"raw"}, "segment": {"register"}, "track": {"segment"}}
    assert graph.depths(reads) == {"raw": 0, "register": 1, "segment": 2, "track": 3}


def test_boxes_of_the_graph_do_not_overlap() -> None:
    wide = {f"s{i}": {"raw"} if i < 3 else {f"s{i - 3}", f"s{i - 2}"} for i in range(30)}
    places = list(graph._places(wide).values())
    for i, (x, y) in enumerate(places):
        for a, b in places[:i]:
            assert abs(x - a) >= graph.BOX_W or abs(y - b) >= graph.BOX_H


# --- what failed


def test_what_failed_is_told_with_its_log(tmp_path: Path) -> None:
    failure = {"position": "P1", "stage": "register.apply", "reason": "torn <TIFF>", "log": ""}
    rows = [
        attempt("track", 0, 5, outcome="lost", reason="the worker died"),
        attempt("track", 6, 5, attempt=2),
    ]
    view = planted(
        tmp_path, rows, verdict="partial", failures=[{**failure, "frame": f} for f in (3, 4, 5, 9)]
    )
    log = view.log_dir / "failures" / "register.apply_P1_00000.txt"
    log.parent.mkdir()
    log.write_text("\n".join(f"line {i}" for i in range(100)) + "\nValueError: torn\n")
    made = trouble(view)
    assert troubled(view)
    assert ["P1", "3–5, 9", "register.apply", "torn &lt;TIFF&gt;"] in _rows(made)
    assert ["track", "lost", "1", "1", "node 1", "the worker died"] in _rows(made)
    assert "ValueError: torn" in made
    assert "line 10\n" not in made, "only its end"
    assert len(tail(log).splitlines()) == 25


def test_logs_are_read_from_their_ends(tmp_path: Path) -> None:
    log = tmp_path / "huge.log"
    with open(log, "wb") as file:
        file.truncate(3 << 30)  # no disk is taken by it, but memory would be
        file.seek(0, 2)
        file.write("µ first\n".encode() * 40)
        file.write(b"the end\n")
    found = tail(log).splitlines()
    assert len(found) == 25
    assert (found[0], found[-1]) == ("µ first", "the end")


@pytest.mark.parametrize("how", ["parts", "host", "link"])
def test_no_file_outside_of_the_logs_is_shown(tmp_path: Path, how: str) -> None:
    """A bundle of somebody else may name any file of the reader's disk."""
    (tmp_path / "secret.jsonl").write_text("a password")
    failure = {"position": "P1", "frame": 1, "stage": "a.b", "reason": "torn", "log": ""}
    host = "node"
    if how == "parts":
        failure["log"] = f"/x/log/{'../' * 30}{tmp_path.relative_to('/')}/secret.jsonl"
    if how == "host":
        host = f"{'../' * 30}{tmp_path.relative_to('/')}/secret"
        (tmp_path / "secret-1.jsonl").write_text("a password")
    rows = [attempt("track", 0, 5, outcome="lost", reason="gone", host=host)]
    view = planted(tmp_path, rows, verdict="partial", failures=[failure])
    (view.log_dir / "failures").mkdir()
    (view.log_dir / "workers").mkdir()
    if how == "link":
        (view.log_dir / "failures" / "x.txt").symlink_to(tmp_path / "secret.jsonl")
    assert "a password" not in trouble(view)


def test_what_failed_for_the_whole_dataset_is_of_all_positions(tmp_path: Path) -> None:
    failure = {"position": "dataset", "frame": None, "stage": "outcome.rates", "reason": "no room", "log": ""}
    made = trouble(planted(tmp_path, PLAIN, verdict="partial", failures=[failure]))
    assert ["all positions", "all", "outcome.rates", "no room"] in _rows(made)


def test_a_run_without_failures_says_so(tmp_path: Path) -> None:
    view = planted(tmp_path, PLAIN)
    assert not troubled(view)
    assert "Nothing failed" in trouble(view)
