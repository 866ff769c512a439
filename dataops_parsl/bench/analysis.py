"""The words of a benchmark: what was measured, how it scales, where time goes, what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dataops_parsl.bench.pycyto import published
from dataops_parsl.bench.results import Amdahl
from dataops_parsl.figures.scaling import PARTS

Row = dict[str, Any]
IDLE_FRAC = 0.25
TASKS_A_WORKER = 3
START_FRAC = 0.2
SERIAL_FRAC = 0.1
SLOWER = 1.25
MEANINGS = """\
- *run*: from the first submission to the last result, with all workers connected and warm; the clock starts
  after a meeting of all workers. *efficiency* = T(n₀) n₀ / (N T(N)), n₀ the fewest workers.
- *start-up*: from the first request for a block until all workers had met; *queue*: the longest wait of a
  block in it.
- *load*: what a worker's first batch takes longer than the same batch once more: libraries, models, virtual
  machines.
- *busy*: share of the workers' time in which they computed. What is missing waited for a task that it depends
  on, for the last tasks of the others, or for the engine.
- pyCyto's figures are its authors' own, for its own code on its own machines, 80 frames, start-up and loading
  included: they are set beside ours to compare how both scale, not how fast they are.
"""


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def frac(value: float | None) -> str:
    """A share as a percentage; a dash where there is none."""
    return "–" if value is None else f"{100 * value:.0f} %"


def results_table(rows: Sequence[Row]) -> str:
    """The measurements, a line a stage and number of workers."""
    theirs = {row["stage"]: published().efficiency(row["stage"]) for row in rows}
    head = (
        "stage",
        "N",
        "run, s",
        "speed-up",
        "efficiency",
        "pyCyto's",
        "busy",
        "load, s",
        "start-up, s",
        "queue, s",
    )
    lines = []
    for row in rows:
        n = row["workers"]
        few = " (more workers than cores)" if row["exceeds_cores"] else ""
        efficiency = "one task a film" if row["film_as_one_task"] else frac(row["efficiency_frac"])
        lines.append(
            (
                row["stage"],
                f"{n}{few}",
                f"{row['wall_s']:.2f}",
                "–" if row["speedup"] is None else f"{row['speedup']:.2f}",
                efficiency,
                frac(theirs[row["stage"]].get(n)),
                frac(row["busy_frac"]),
                f"{row['load_s']:.2f}",
                f"{row['startup_s']:.1f}",
                f"{row['queue_s']:.1f}",
            )
        )
    return table(head, lines)


def laws_table(laws: Mapping[str, Amdahl], starting: Mapping[str, float]) -> str:
    """Amdahl's law, fitted: ours and pyCyto's."""
    head = (
        "stage",
        "fixed by start-up and loading, s",
        "fixed within the run, s",
        "shared out, s",
        "serial fraction",
        "largest error",
        "pyCyto's serial fraction",
    )
    lines = []
    for stage, law in laws.items():
        theirs = [published().law(line) for line in published().lines.get(stage, ())]
        lines.append(
            (
                stage,
                f"{starting[stage]:.1f}",
                f"{law.fixed_s:.2f}",
                f"{law.work_s:.2f}",
                frac(law.serial_frac),
                frac(law.error_frac),
                ", ".join(frac(other.serial_frac) for other in theirs) or "–",
            )
        )
    return table(head, lines)


def steps_table(tasks: Mapping[str, Sequence[Row]]) -> str:
    """Where time goes, by step: tasks of the fewest workers of each stage."""
    lines = []
    for stage, some in tasks.items():
        total = sum(t["ended"] - t["started"] for t in some) or 1.0
        by_step: dict[str, list[float]] = {}
        for task in some:
            by_step.setdefault(task["task"].partition("/")[0], []).append(task["ended"] - task["started"])
        for step, times in sorted(by_step.items(), key=lambda item: -sum(item[1])):
            lines.append(
                (
                    stage,
                    step,
                    str(len(times)),
                    f"{sum(times):.2f}",
                    frac(sum(times) / total),
                    f"{max(times):.3f}",
                )
            )
    return table(("stage", "step", "tasks", "busy, s", "share", "longest, s"), lines)


def advice(rows: Sequence[Row], laws: Mapping[str, Amdahl]) -> list[str]:
    """What would make it faster, or the figures truer; most telling first."""
    out = []
    if crowded := sorted({row["workers"] for row in rows if row["exceeds_cores"]}):
        names = ", ".join(map(str, crowded))
        out.append(
            f"With {names} workers there are more than cores: these lines show that results stay equal, not "
            "how the stages scale. Measure on a cluster: `python -m dataops_parsl bench --site slurm`."
        )
    told = set()
    for stage in dict.fromkeys(row["stage"] for row in rows):
        mine = [row for row in rows if row["stage"] == stage and not row["exceeds_cores"]]
        if slower := _slower(mine):
            told.add(stage)
            out.append(f"{stage}: {slower}. Its speed-up says more of the host than of the stage.")
        out += [
            f"{stage} with {row['workers']} workers: {row['lost']} attempts were lost; measure it again."
            for row in mine
            if row["lost"]
        ]
        if mine and not mine[0]["film_as_one_task"]:
            out += [f"{stage} with {mine[-1]['workers']} workers: {words}" for words in _stage(mine[-1])]
    out += [
        f"{stage}: {frac(law.serial_frac)} of the time of one worker is shared out by nobody; see which step "
        "takes the film as a whole or goes frame after frame."
        for stage, law in laws.items()
        if law.serial_frac > SERIAL_FRAC and stage not in told
    ]
    if stages := sorted({row["stage"] for row in rows if row["film_as_one_task"]}):
        out.append(
            f"{', '.join(stages)}: the backend takes a film as one task; positions share it out, frames "
            "do not."
        )
    return out or ["Nothing stands out."]


def _slower(mine: Sequence[Row]) -> str:
    """Whether the tasks themselves took longer with more workers, in words: then cores were not free."""
    if len(mine) < 2:
        return ""
    times = mine[-1]["busy_s"] / mine[0]["busy_s"]
    if times < SLOWER:
        return ""
    return (
        f"its tasks took {times:.1f} times as long with {mine[-1]['workers']} workers as with "
        f"{mine[0]['workers']}, so something else used the cores (or memory, or disk) meanwhile"
    )


def _stage(row: Row) -> Iterator[str]:
    """What there is to say of a stage at its most workers that had cores of their own."""
    if row["tasks"] < TASKS_A_WORKER * row["workers"]:
        yield f"{row['tasks']} tasks are few; a smaller `batch_frames` shares them out better."
    start_s = row["startup_s"] + row["load_s"]
    if start_s > START_FRAC * row["wall_s"]:
        yield (
            f"start-up and loading take {start_s:.0f} s beside a run of {row['wall_s']:.1f} s; with more "
            "frames, or more workers in one block, they matter less."
        )
    if row["busy_frac"] < 1 - IDLE_FRAC:
        yield (
            f"they computed {frac(row['busy_frac'])} of the time. In a whole run other stages fill the "
            "gaps, since stages are streamed."
        )


def parts(rows: Sequence[Row]) -> dict[str, dict[str, dict[int, float]]]:
    """What the times are made of, for the figure of results."""
    columns = dict(zip(PARTS, ("wall_s", "load_s", "startup_s"), strict=True))
    return {
        stage: {
            part: {r["workers"]: r[key] for r in rows if r["stage"] == stage} for part, key in columns.items()
        }
        for stage in dict.fromkeys(row["stage"] for row in rows)
    }


def text(
    run_id: str,
    where: str,
    rows: Sequence[Row],
    laws: Mapping[str, Amdahl],
    tasks: Mapping[str, Sequence[Row]],
    notes: Sequence[str],
) -> str:
    """``scaling_analysis.md``.

    Parameters
    ----------
    where : str
        Dataset, host and site in a line.
    rows : sequence of mapping
        As `results.AGGREGATED`.
    tasks : mapping of stage to its tasks at the fewest workers
    notes : sequence of str
        What else a reader has to know.
    """
    starting = {
        stage: max(r["startup_s"] + r["load_s"] for r in rows if r["stage"] == stage) for stage in laws
    }
    fitted = (
        laws_table(laws, starting)
        if laws
        else "No stage was measured at two numbers of workers that had cores of their own: nothing to fit."
    )
    same = all(row["same_result"] for row in rows)
    said = [
        *notes,
        "Results are "
        + ("equal for every number of workers." if same else "NOT equal for all numbers of workers."),
    ]
    return "\n".join(
        [
            f"# Scaling of run {run_id}\n",
            f"{where}\n",
            *(f"- {note}" for note in said),
            "\n## Measured\n",
            results_table(rows),
            f"\n{MEANINGS}",
            "## Amdahl's law\n",
            "T(N) = fixed + shared / N, least squares of the relative error, over numbers of workers with "
            "cores of their own.\n",
            fitted,
            "\n## Where time goes\n",
            steps_table(tasks),
            "\n## Advice\n",
            *(f"- {line}" for line in advice(rows, laws)),
            "",
        ]
    )
