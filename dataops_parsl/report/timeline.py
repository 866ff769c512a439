"""Who computed what when: a row a worker, a box an attempt."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from dataops_parsl.report.html import Html, join, tag
from dataops_parsl.report.view import GOOD, RunView
from dataops_parsl.report.words import duration, many, short_duration

WIDTH, LEFT, TOP = 1040, 150, 8
MOST_ROWS, MOST_BOXES, MOST_TITLES = 120, 6000, 1500
_PAUSE_S, _PAUSE_FRAC, _PAUSE_PX, _MOST_CUTS = 30.0, 0.08, 26.0, 12
"""A pause of all workers that is longer, and a larger share of the working time, is drawn this wide."""


Worker = tuple[str, int]
"""Host and process id."""


@dataclass
class _Box:
    worker: int
    stage: str
    start: float
    end: float
    good: bool
    n: int
    words: str


class _Axis:
    """Time to px, long pauses of everybody cut short."""

    def __init__(self, spans: list[tuple[float, float]]) -> None:
        self.start = min(s for s, _ in spans)
        busy = _union(spans)
        worked = sum(b - a for a, b in busy)
        gaps = [(a[1], b[0]) for a, b in pairwise(busy)]
        long = [g for g in gaps if g[1] - g[0] > max(_PAUSE_S, _PAUSE_FRAC * worked)]
        # Each cut takes some width: of many pauses the longest are cut, and the others drawn as they are.
        self.cuts = sorted(sorted(long, key=lambda g: g[0] - g[1])[:_MOST_CUTS])
        self.end = max(e for _, e in spans)
        shown = self.end - self.start - sum(b - a for a, b in self.cuts)
        self.scale = (WIDTH - LEFT - 10 - _PAUSE_PX * len(self.cuts)) / max(shown, 1e-6)

    def px(self, time: float) -> float:
        """Place of a time."""
        out = LEFT + (time - self.start) * self.scale
        for a, b in self.cuts:
            if time >= b:
                out += _PAUSE_PX - (b - a) * self.scale
            elif time > a:
                out += (time - a) * (_PAUSE_PX / (b - a) - self.scale)
        return out

    def share(self, time: float) -> float:
        """Place of a time, 0 at the start and 1 at the end."""
        return (self.px(time) - LEFT) / (self.px(self.end) - LEFT)

    def time(self, share: float) -> float:
        """The time at such a place."""
        at = self.start
        left = share * (self.px(self.end) - LEFT)
        for a, b in self.cuts:
            run = (a - at) * self.scale
            if left <= run:
                break
            if left <= run + _PAUSE_PX:
                return a + (left - run) / _PAUSE_PX * (b - a)
            left, at = left - run - _PAUSE_PX, b
        return at + left / self.scale

    def ticks(self) -> Iterator[tuple[float, str]]:
        """Times since the start, evenly apart, outside of pauses."""
        shown = (WIDTH - LEFT) / self.scale
        step = next((s for s in _STEPS_S if shown / s <= 9), _STEPS_S[-1])
        time = 0.0
        while self.start + time <= self.end and time < 2000 * step:
            if not any(a < self.start + time < b for a, b in self.cuts):
                yield self.px(self.start + time), _tick(time, step)
            time += step


_STEPS_S = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800, 86400, 604800)


def _tick(time: float, step: float) -> str:
    if step < 60:
        return f"{time:.0f} s"
    return f"{time / 60:.0f} min" if step < 3600 else f"{time / 3600:.0f} h"


def _union(spans: list[tuple[float, float]]) -> list[tuple[float, float]]:
    out: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(end, out[-1][1]))
        else:
            out.append((start, end))
    return out


def timeline(view: RunView) -> Html:
    """The chart with its legend, or words where nothing was computed."""
    ran = view.ran
    if not ran:
        return tag("p", "Nothing was computed in this run: everything was there already.")
    axis = _Axis([(a["started"], max(a["ended"], a["started"])) for a in ran])
    workers = list(dict.fromkeys(map(_worker, _by_start(ran))))
    shown = workers[:MOST_ROWS]
    rows = set(shown)
    drawn = [a for a in _by_start(ran) if _worker(a) in rows]
    boxes = _boxes(drawn, shown, axis)
    row_px = 20 if len(shown) <= 24 else 11 if len(shown) <= 60 else 7
    height = TOP + row_px * len(shown) + 30
    chart = tag(
        "svg",
        tag("title", _title(view, workers), id="timeline-name"),
        tag("desc", "The table of costs below has the same in numbers.", id="timeline-told"),
        *_frame(axis, shown, row_px, height),
        *(_drawn(view, axis, box, row_px, len(boxes) <= MOST_TITLES) for box in boxes),
        role="img",
        aria_labelledby="timeline-name timeline-told",
        viewBox=f"0 0 {WIDTH} {height}",
        class_="chart",
    )
    left_out = len(workers) - len(shown)
    note = f" The first {MOST_ROWS} workers are drawn, {left_out} are not." if left_out else ""
    if any(box.n > 1 for box in boxes):
        note += " There are too many to draw: each box shows the stage that took longest in its time."
    return join(
        [
            tag(
                "figure",
                tag("div", chart, class_="wide"),
                tag("figcaption", _title(view, workers) + "." + note),
            ),
            _legend(view, ran, bool(axis.cuts)),
        ]
    )


def _title(view: RunView, workers: list[Worker]) -> str:
    bad = sum(a["outcome"] not in GOOD for a in view.attempts)
    lost = f", {bad} of them not successful" if bad else ""
    hosts = len({host for host, _ in workers})
    where = f"{many(len(workers), 'worker')} of {many(hosts, 'host')}"
    return f"{many(len(view.attempts), 'attempt')}{lost}, on {where}"


def _worker(attempt: dict[str, Any]) -> Worker:
    return attempt["host"] or "?", attempt["worker_pid"] or 0


def _by_start(ran: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(ran, key=lambda a: float(a["started"]))


def _boxes(ran: list[dict[str, Any]], workers: list[Worker], axis: _Axis) -> list[_Box]:
    """A box an attempt; where these were too many, a box a stage that a worker did one after the other."""
    rows = {worker: i for i, worker in enumerate(workers)}
    if len(ran) <= MOST_BOXES:
        return [_box(rows[_worker(a)], a) for a in ran]
    n_bins = MOST_BOXES // len(workers)
    bins: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for a in ran:
        first, last = (int(axis.share(a[k]) * n_bins) for k in ("started", "ended"))
        for i in range(first, min(last, n_bins - 1) + 1):
            bins.setdefault((rows[_worker(a)], i), []).append(a)
    boxes: list[_Box] = []
    for (row, i), held in sorted(bins.items()):
        # Of several stages in one bin that which took longest; what went wrong is never hidden.
        longest = max(held, key=lambda a: float(a["ended"] - a["started"]))
        good = all(a["outcome"] in GOOD for a in held)
        start, end = axis.time(i / n_bins), axis.time((i + 1) / n_bins)
        before = boxes[-1] if boxes else None
        same = before and (before.worker, before.stage, before.good) == (row, longest["stage"], good)
        if before and same and start - before.end < 1e-6 * (1 + axis.end - axis.start):
            before.end, before.n = end, before.n + len(held)
            continue
        boxes.append(_Box(row, longest["stage"], start, end, good, len(held), ""))
    return boxes


def _box(row: int, a: dict[str, Any]) -> _Box:
    words = f"{a['task']}: {short_duration(a['ended'] - a['started'])}, {a['outcome']}"
    return _Box(row, a["stage"], a["started"], a["ended"], a["outcome"] in GOOD, 1, words)


def _frame(axis: _Axis, workers: list[Worker], row_px: int, height: int) -> Iterator[Html]:
    bottom = height - 30
    for x, words in axis.ticks():
        yield tag("line", x1=x, x2=x, y1=TOP, y2=bottom + 4, class_="grid")
        yield tag("text", words, x=x, y=bottom + 18, text_anchor="middle")
    for a, b in axis.cuts:
        x = axis.px(a)
        yield tag(
            "rect",
            tag("title", f"nothing ran for {duration(b - a)}"),
            x=x,
            y=TOP,
            width=_PAUSE_PX,
            height=bottom - TOP,
            class_="pause",
        )
        yield tag(
            "text", duration(b - a), x=x + _PAUSE_PX / 2, y=bottom + 29, text_anchor="middle", class_="small"
        )
    several = len({host for host, _ in workers}) > 1
    if row_px < 9:
        yield tag("text", many(len(workers), "worker"), x=LEFT - 8, y=TOP + 10, text_anchor="end")
        return
    for i, (host, pid) in enumerate(workers):
        name = f"{host[:14]} {pid}" if several else f"worker {pid}"
        yield tag("text", name, x=LEFT - 8, y=TOP + row_px * i + row_px * 0.5 + 4, text_anchor="end")


def _drawn(view: RunView, axis: _Axis, box: _Box, row_px: int, titled: bool) -> Html:
    x = axis.px(box.start)
    words = box.words if box.n == 1 else f"{box.n} attempts of {box.stage}"
    return tag(
        "rect",
        tag("title", words) if titled else None,
        x=x,
        y=TOP + row_px * box.worker + 1.0,
        width=max(axis.px(box.end) - x, 0.8),
        height=row_px - 2.0,
        fill=view.colour(box.stage),
        class_="box" if box.good else "box bad",
    )


def _legend(view: RunView, ran: list[dict[str, Any]], cut: bool) -> Html:
    there = {a["stage"] for a in ran}

    def entry(words: str, colour: str, class_: str) -> Html:
        swatch = tag("rect", x=1, y=1, width=14, height=10, fill=colour, class_=class_)
        return tag("li", tag("svg", swatch, viewBox="0 0 16 12", aria_hidden="true"), words)

    entries = [entry(s, view.colour(s), "box") for s in view.stages if s in there]
    if any(a["outcome"] not in GOOD for a in ran):
        entries.append(entry("lost, failed or stopped", "#FFFFFF", "box bad"))
    if cut:
        entries.append(entry("pause in which nothing ran, cut short", "#FFFFFF", "pause"))
    return tag("ul", *entries, class_="legend", aria_label="Colours of the stages")
