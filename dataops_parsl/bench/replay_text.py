"""The words of a replay."""

from __future__ import annotations

from collections.abc import Mapping

from dataops_parsl.bench.analysis import frac, table
from dataops_parsl.bench.overhead import Rates
from dataops_parsl.bench.pycyto import published
from dataops_parsl.bench.replay import Replay, Timed

EFFICIENCY_BAR, MAKESPAN_BAR, RATE_BAR, RESUME_BAR_S = 0.95, 1.10, 0.80, 5.0
PROJECTED_WORKERS, PROJECTED_FRAMES = 64, 8640


def head(replayed: Replay) -> str:
    """What is replayed, and how it is scaled."""
    costs, paid = replayed.costs, [p for p in replayed.parts if replayed.seconds(p) > 0]
    mean = replayed.work_s(paid) / len(paid) if paid else 0.0
    lines = [
        f"Replay of: {costs.title}",
        f"{len(replayed.parts)} tasks, of which {len(paid)} cost time: "
        f"{replayed.work_s(paid) / replayed.time_scale:.0f} s of work; time_scale = "
        f"{replayed.time_scale:.4g}, which makes the mean task {mean:.2f} s, all of it "
        f"{replayed.work_s(paid):.0f} s",
    ]
    if costs.fixed:
        fixed = ", ".join(f"{line} {s:.0f} s" for line, s in costs.fixed.items())
        lines.append(f"taken off as fixed (start, loading, merging; fitted): {fixed}")
    return "\n".join(lines)


def text(
    run_id: str,
    replayed: Replay,
    timed: Mapping[int, Timed],
    rates: Rates | None,
    resume: tuple[int, float] | None,
) -> str:
    """``replay.md``: every bar, met or missed."""
    blocks = [
        f"# Replay {run_id}",
        head(replayed),
        "The engine, the executors and the scheduling are real; tasks sleep instead of computing. It "
        "measures what our orchestration adds to tasks of known length, never the code whose costs these "
        "are: nothing of pyCyto was run.",
        "## Efficiency of each stage, replayed",
        _efficiency(replayed, timed),
        "## The whole run, streamed",
        _makespan(timed),
    ]
    if rates is not None and resume is not None:
        words = f"With {max(timed)} workers on this host, whatever the site."
        blocks += ["## The engine beside bare Parsl", words, _overhead(rates, resume)]
    blocks += ["## Projection", _projection(replayed, timed, rates)]
    return "\n\n".join(blocks) + "\n"


def _met(is_met: bool) -> str:
    return "met" if is_met else "**missed**"


def _efficiency(replayed: Replay, timed: Mapping[int, Timed]) -> str:
    base, most = min(timed), max(timed)
    rows = []
    for stage, alone in timed[base].stages.items():
        if not replayed.work_s(replayed.of([stage])):
            continue
        theirs = published().efficiency(stage)
        for n, one in timed.items():
            value = base * alone / (n * one.stages[stage])
            bar = _met(value >= EFFICIENCY_BAR) if n == most and n > base else ""
            words = f"{value:.3f}" if most > base else "–"
            rows.append((stage, str(n), f"{one.stages[stage]:.2f}", words, frac(theirs.get(n)), bar))
    head = ("stage", "N", "replayed, s", "efficiency", "pyCyto's own, published", f"bar {EFFICIENCY_BAR}")
    return table(head, rows)


def _makespan(timed: Mapping[int, Timed]) -> str:
    rows = []
    for n, one in timed.items():
        if one.streamed_s is not None:
            ratio = one.streamed_s / one.bound.seconds
            rows.append(
                (
                    str(n),
                    f"{one.streamed_s:.2f}",
                    f"{one.staged_s:.2f}",
                    f"{one.bound.seconds:.2f} (critical path {one.bound.critical_path_s:.2f}, work "
                    f"{one.bound.work_s:.2f})",
                    f"{ratio:.3f}",
                    _met(ratio <= MAKESPAN_BAR),
                )
            )
    head = (
        "N",
        "streamed, s",
        "stage after stage, s",
        "bound, s",
        "streamed / bound",
        f"bar {MAKESPAN_BAR:.2f}",
    )
    return table(head, rows)


def _overhead(rates: Rates, resume: tuple[int, float]) -> str:
    n, seconds = resume
    share = rates.dispatched / rates.bare
    rows = [
        (f"bare Parsl, {rates.tasks:,} no-op tasks at once, tasks/s", f"{rates.bare:.0f}", "", ""),
        (
            "the engine, dispatch only, tasks/s",
            f"{rates.dispatched:.0f} ({frac(share)})",
            frac(RATE_BAR),
            _met(share >= RATE_BAR),
        ),
        (
            "with receipts, workers' logs and the question what others have done, tasks/s",
            f"{rates.whole:.0f} ({frac(rates.whole / rates.bare)})",
            "",
            "",
        ),
        (
            f"`run --dry-run` with {n:,} done batches, the whole process, s",
            f"{seconds:.2f}",
            f"{RESUME_BAR_S:g}",
            _met(seconds <= RESUME_BAR_S),
        ),
    ]
    return table(("", "measured", "bar", ""), rows)


def _projection(replayed: Replay, timed: Mapping[int, Timed], rates: Rates | None) -> str:
    most = timed[max(timed)]
    if most.streamed_s is None:
        return "None: no run was streamed."
    scale, n = replayed.time_scale, max(timed)
    times = PROJECTED_FRAMES / max(replayed.plan.n_frames.values())
    shared_s = most.bound.work_s / scale * times * n / PROJECTED_WORKERS
    ideal_s = max(shared_s, most.bound.critical_path_s / scale)
    likely_s = ideal_s * most.streamed_s / most.bound.seconds
    work_h = replayed.work_s(replayed.parts) / scale * times / 3600
    words = (
        f"A projection, not a measurement: {PROJECTED_FRAMES:,} frames at these costs are {work_h:.0f} h of "
        f"work. On {PROJECTED_WORKERS} workers an executor they take {ideal_s / 3600:.1f} h if nothing is "
        f"lost (work over workers, critical path as replayed), and {likely_s / 3600:.1f} h at the ratio to "
        f"the bound that was measured with {n}."
    )
    if rates is not None:
        need = len(replayed.parts) * times / ideal_s
        words += f" Its tasks come at {need:.1f} a second; the engine gives {rates.whole:.0f}."
    return words
