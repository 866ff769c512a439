"""``preview``: a few frames of each position, seen as a run would see them, in less than half a minute."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataops_parsl.algorithms import suggest
from dataops_parsl.commands.findings import Findings
from dataops_parsl.commands.looking import Look, Looker, choose_frames, reason
from dataops_parsl.commands.setting import add_config_arguments, open_dataset
from dataops_parsl.dataset.manifest import Dataset
from dataops_parsl.errors import ConfigError, DatasetError
from dataops_parsl.figures import base
from dataops_parsl.figures.preview import Shot, position_page
from dataops_parsl.figures.preview_cells import Distribution, cells_page
from dataops_parsl.plan import check_populations
from dataops_parsl.stages.contact import Contact
from dataops_parsl.stages.death_rules import NEGATIVE
from dataops_parsl.storage.atomic import check_root, place_errors

BUDGET_S = 22.0
"""No frame is begun that would end, and be drawn, later than this: with the start, below half a minute."""
_DRAWING_S = 2.5  # a page


def add_parser(commands: Any) -> None:
    """Add ``preview`` to the command line."""
    parser = commands.add_parser(
        "preview", help="look at a few frames before a run: outlines, sizes, steps, deaths, suggestions"
    )
    parser.add_argument(
        "--positions",
        metavar="A,B",
        type=_names,
        help="only these positions (default: all, while time lasts)",
    )
    add_config_arguments(parser)
    parser.set_defaults(execute=execute)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def execute(args: argparse.Namespace) -> int:
    """Look, draw, and say what to set."""
    dataset, setting = open_dataset(args)
    check_populations(setting.config, dataset)
    positions = _positions(dataset, args.positions)
    looker = Looker(dataset, setting.config)
    output_root = setting.config.paths.output_root
    check_root(output_root, "paths.output_root")
    looks, notes = _look(looker, positions)
    for note in notes:
        print(note)
    if not looks:
        raise DatasetError(
            f"no frame of dataset {dataset.name!r} could be looked at",
            f"python -m dataops_parsl dataset verify {dataset.name} says which files are damaged",
        )
    findings = Findings(looker, looks)
    words = findings.words()
    print("\n".join(words))
    for path in _draw(output_root / "preview" / dataset.name, findings, [*notes, *words]):
        print(path)
    return 0


def _positions(dataset: Dataset, names: list[str] | None) -> list[str]:
    """The positions in turn: the first, a negative control for the death threshold, the others."""
    if names is not None:
        return list(dict.fromkeys(dataset.position(name).id for name in names))
    every = list(dataset.positions)
    controls = [p for p in every if dataset.positions[p].plate.control == NEGATIVE]
    return list(dict.fromkeys([*every[:1], *controls[:1], *every]))


def _look(looker: Looker, positions: list[str]) -> tuple[list[Look], list[str]]:
    """Look at positions in turn until the time is used up; also says at which, and at which not."""
    looks: list[Look] = []
    notes: list[str] = []
    started = time.monotonic()
    longest, late = 0.0, False
    config = looker.config.config
    limit = config.dataset.total_frames
    for position in positions:
        film = looker.dataset.positions[position]
        n_frames = film.n_frames
        if limit is not None:  # in whole batches, as a run does
            n_frames = min(n_frames, -(-limit // config.batch_frames) * config.batch_frames)
        seen, left = [], []
        for frames, shown in choose_frames(film, n_frames):
            begun = time.monotonic()
            pages = len({look.position for look in looks} | {position})
            ready = begun - started + longest + pages * _DRAWING_S
            late = late or (bool(looks) and ready > BUDGET_S)
            if late:
                left.append(shown)
                continue
            look = _look_at(looker, position, frames, shown, notes)
            if look is not None:
                looks.append(look)
                seen.append(shown)
            longest = max(longest, time.monotonic() - begun)
        if seen:
            part = f", the middle {_part(looker, position)} px" if looker.is_cut(position) else ""
            notes.append(f"looked at {position}, frames {_list(seen)} of {n_frames}{part}")
        if left:
            notes.append(
                f"not looked at {position}, frames {_list(left)}: the time is used up; --positions {position}"
            )
    return looks, notes


def _part(looker: Looker, position: str) -> str:
    """Size of what is looked at, in words."""
    rows, columns = looker.cut(position)
    height, width = looker.dataset.positions[position].shape_px
    return f"{rows.stop - rows.start} x {columns.stop - columns.start} of {height} x {width}"


def _look_at(
    looker: Looker, position: str, frames: tuple[int, ...], shown: int, notes: list[str]
) -> Look | None:
    """The frame with its neighbour, else alone, else nothing but a note."""
    for attempt in dict.fromkeys((frames, (shown,))):
        try:
            return looker.look(position, attempt, shown)
        except ConfigError:
            raise
        except (DatasetError, ValueError) as error:
            notes.append(f"left out {position}, frames {_list(attempt)}: {reason(error)}")
    return None


def _distribution(values: NDArray[np.float64], found: suggest.Suggestion, key: str) -> Distribution:
    return Distribution(
        values, found.current_um, key, found.evidence, float("nan") if found.fine else found.value_um
    )


def _draw(folder: Path, findings: Findings, words: list[str]) -> list[Path]:
    """Write a page a position and one about cells; what an earlier preview left there goes."""
    name = findings.looker.dataset.name
    with place_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".drawing-") as temporary:
            made = []
            for position in dict.fromkeys(look.position for look in findings.looks):
                made += base.save(_page(name, position, findings), Path(temporary) / f"frames_{position}")
            made += base.save(_cells(name, findings), Path(temporary) / "cells")
            text = Path(temporary) / "preview.txt"
            text.write_text("\n".join(words) + "\n")
            for old in [*folder.glob("*.png"), *folder.glob("*.svg")]:
                old.unlink()
            for path in [*made, text]:
                os.replace(path, folder / path.name)
    return [folder / path.name for path in [*made, text] if path.suffix != ".svg"]


def _page(name: str, position: str, findings: Findings) -> Any:
    film = findings.looker.dataset.positions[position]
    shots = [
        Shot(f"frame {look.shown}, {_clock(film.times[look.shown])}", look.images, look.labels, look.counts)
        for look in findings.looks
        if look.position == position
    ]
    bounds: dict[str, tuple[float, float]] = {}
    for population, stage in findings.looker.cellpose.items():
        if stage.backend != "labels":
            rows = findings.looker.limits(position, population)
            bounds |= {
                str(c): (float(low), float(high))
                for c, low, high in zip(rows["channel"], rows["low"], rows["high"], strict=True)
            }
    what = [film.plate.condition, film.plate.control and f"{film.plate.control} control"]
    title = ", ".join([f"{name}: {position}", *(w for w in what if w)])
    radius_um = findings.config.stage(Contact).radius_um
    size = findings.looker.dataset.pixel_size_um
    return position_page(title, shots, findings.diameter_um, radius_um, size, bounds, findings.targets)


def _cells(name: str, findings: Findings) -> Any:
    sizes, steps = {}, {}
    for p in findings.diameter_um:
        seen = suggest.diameters_um(findings.areas(p))
        sizes[p] = _distribution(seen, findings.sizes[p], "diameter_um")
        moved = [suggest.mutual_steps_um(a, b) for a, b in findings.pairs(p)]
        steps[p] = _distribution(
            np.concatenate([*moved, np.empty(0)]), findings.steps[p], "linking_max_distance_um"
        )
    deaths = Distribution(findings.death_scores, findings.threshold, "threshold_count", findings.death_words)
    n = len(dict.fromkeys(look.position for look in findings.looks))
    title = f"{name}: cells of {len(findings.looks)} frames of {n} position{'s' * (n != 1)}"
    return cells_page(title, sizes, steps, deaths)


def _clock(time_s: float) -> str:
    return f"{time_s / 3600:.1f} h" if time_s >= 2 * 3600 else f"{time_s / 60:.0f} min"


def _list(numbers: Any) -> str:
    return ", ".join(str(n) for n in numbers)
