"""The demo dataset, written once; and how a run on a simulated dataset did against its truth."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv

from dataops_parsl.commands import simulate
from dataops_parsl.commands.text import columns
from dataops_parsl.dataset.manifest import Dataset
from dataops_parsl.errors import InputMissingError
from dataops_parsl.truth import comparison, kit

NAME = "demo"
MANY_POSITIONS = 3
"""Up to so many positions are shown one by one."""
CASE_COLUMNS = {
    "targets": "targets",
    "contact_event_f1": "contact F1",
    "death_precision": "precision",
    "death_recall": "recall",
    "death_time_error_frames": "error",
    "death_within_1_frame_frac": "in 1 frame",
    "top1_frac": "top 1",
    "top1_several_frac": "of several",
    "false_deaths": "false",
}


def ensure_demo(data_root: Path, name: str = NAME, format: str = "tiff-frames") -> Path:
    """Write the demo dataset and its truth, unless they are there; two runs at once write it once."""
    return simulate.ensure_simulated(data_root, name, NAME, format)


def has_truth(dataset: Dataset) -> bool:
    """Whether the dataset was simulated and its truth is there."""
    return kit.truth_folder(dataset.root.parent, dataset.name).is_dir()


def truth_scores(
    dataset: Dataset, tables: Mapping[str, pa.Table], masks: kit.Found | None = None
) -> pa.Table | None:
    """All scores of published tables, as `comparison.SCORES`; None for a dataset without truth.

    Parameters
    ----------
    tables : mapping
        The published tables; those that are not there are not scored, and nothing is without tracks.
    masks : callable
        Found label images, see `kit.Found`.

    Raises
    ------
    InputMissingError
        Where part of the truth is gone.
    """
    folder = kit.truth_folder(dataset.root.parent, dataset.name)
    needed = {"cells", "tracks", "frames"}
    if not folder.is_dir() or not needed <= set(tables) or "track_id" not in tables["cells"].column_names:
        return None
    return kit.score(
        folder,
        tables,
        {name: position.shape_px for name, position in dataset.positions.items()},
        {name: position.plate.condition for name, position in dataset.positions.items()},
        dataset.pixel_size_um,
        masks,
    )


def compare(
    dataset: Dataset, tables: Mapping[str, pa.Table], masks: kit.Found | None = None
) -> tuple[str, str]:
    """What was found against what is true, in words and as CSV; empty for a dataset without truth."""
    try:
        scores = truth_scores(dataset, tables, masks)
    except InputMissingError as error:
        return f"{error}\n", ""
    return ("", "") if scores is None else (describe(scores) + "\n", scores_csv(scores))


def scores_csv(scores: pa.Table) -> str:
    """The scores as CSV; null is empty."""
    text = io.BytesIO()
    pyarrow.csv.write_csv(scores, text)
    return text.getvalue().decode()


def describe(scores: pa.Table) -> str:
    """The scores as text: by position, or mean and worst by condition for many; then the hard cases."""
    rows = scores.to_pylist()
    own = [row for row in rows if row["position_id"] != comparison.ALL_POSITIONS]
    few = len({row["position_id"] for row in own}) <= MANY_POSITIONS
    parts = [_by_position(own) if few else _by_condition(scores)]
    if cases := [row for row in rows if row["position_id"] == comparison.ALL_POSITIONS]:
        parts.append("targets by hard case, all positions (score / number of cases)\n" + _by_case(cases))
    return "\n\n".join(parts)


def _by_position(rows: Iterable[Mapping[str, Any]]) -> str:
    lines: list[tuple[str, ...]] = [("", "score", "of", "bar", "")]
    position = None
    for row in rows:
        if row["position_id"] != position:
            position = row["position_id"]
            lines.append((position, "", "", "", ""))
        if row["value"] is not None:
            met = {True: "met", False: "missed", None: ""}[row["met"]]
            value = _number(row["value"])
            lines.append((f"  {_words(row['score'])}", value, str(row["n"]), row["bar"] or "", met))
    return columns(lines)


def _by_condition(scores: pa.Table) -> str:
    lines: list[tuple[str, ...]] = [("", "mean", "worst", "positions", "of", "bar", "")]
    condition = None
    for one in comparison.by_condition(scores):
        if one.condition != condition:
            condition = one.condition
            lines.append((condition or "no condition", "", "", "", "", "", ""))
        values = (_number(one.mean), _number(one.worst), str(one.n_positions), str(one.n))
        lines.append((f"  {_words(one.score)}", *values, one.bar, one.verdict))
    return columns(lines)


def _by_case(rows: Iterable[Mapping[str, Any]]) -> str:
    by_case: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        by_case.setdefault(row["case"], {})[row["score"]] = row
    shown = {s: w for s, w in CASE_COLUMNS.items() if any(s in found for found in by_case.values())}
    lines = [("", *shown.values())]
    for case, found in by_case.items():
        if not found["targets"]["value"]:
            continue
        lines.append((f"  {_words(case)}", *(_cell(score, found.get(score)) for score in shown)))
    return columns(lines)


def _cell(score: str, row: Mapping[str, Any] | None) -> str:
    if row is None or row["value"] is None:
        return "-"
    if score in ("targets", "false_deaths"):
        return f"{row['value']:.0f}"
    return f"{_number(row['value'])} / {row['n']}"


def _words(name: str) -> str:
    """A score's name as words: without unit where it is a share."""
    return name.replace("_frac", "").replace("_", " ")


def _number(value: float) -> str:
    return f"{value:.0f}" if value == round(value) and abs(value) > 1 else f"{value:.3f}"
