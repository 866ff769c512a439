"""What the scaling benchmark says on top of a run's configuration, and the file that lists it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import Field

from dataops_parsl.config.default import comment, lines, toml_line
from dataops_parsl.config.models import DatasetChoice, Resources, Settings, Table
from dataops_parsl.config.words import dotted

BENCH_DEFAULTS = "configs/benchmark.def.toml"
BENCH_USER = "configs/benchmark.user.toml"
STAGES = ("register_denoise", "cellpose", "trackmate", "contact")
"""The stages that are measured, those of pyCyto's published table."""
_HEAD = """
What a benchmark (`python -m dataops_parsl bench`) sets other than a run, written from the code by
`make config`. Do not edit it: your values go into benchmark.user.toml beside it, which git ignores.

Layers, the later wins, key by key: config.def.toml, this file, sites/<site>.toml, the populations of the
dataset's dataset.toml, config.user.toml, benchmark.user.toml, flags, --set key=value.
"""


class Bench(Table):
    """What is measured."""

    workers: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(1, 2, 4, 8), min_length=1)
    """Numbers of workers. Efficiency is against the smallest of them."""

    repeats: int = Field(default=1, ge=1)
    """How often each stage is measured at each number of workers; the median counts."""

    stages: tuple[str, ...] = Field(default=STAGES, min_length=1)
    """Stages that are measured, each with all its steps."""


_DIFFERS: Mapping[tuple[str, ...], tuple[Any, str]] = {
    ("batch_frames",): (4, "Small batches, so that eight workers have several each."),
    ("dataset", "name"): (
        "bench",
        'What is measured on; "bench" is simulated when it is not there: 80 frames of 384², for any machine.',
    ),
    ("dataset", "total_frames"): (
        80,
        "As many as pyCyto's published table: they fit into a slot of 4 h at 115 s a frame.",
    ),
    ("resources", "cellpose", "gres"): (
        "gpu:a100-pcie-40gb:1",
        "Used by backends that compute on a GPU, on a cluster; elsewhere the benchmark says that it is not.",
    ),
}
_OF: Mapping[tuple[str, ...], type[Table]] = {
    (): Settings,  # first: behind the head of a table they would be its keys
    ("dataset",): DatasetChoice,
    ("resources", "cellpose"): Resources,
}


def bench_tables(stage_names: Iterable[str]) -> dict[str, Any]:
    """The values of ``benchmark.def.toml`` as nested tables, for the stages that there are."""
    names = set(stage_names)
    tables: dict[str, Any] = {"bench": Bench().model_dump(mode="json")}
    for key, (value, _) in _DIFFERS.items():
        if key[0] == "resources" and key[1] not in names:
            continue
        inner = tables
        for part in key[:-1]:
            inner = inner.setdefault(part, {})
        inner[key[-1]] = value
    return tables


def write_benchmark_default() -> str:
    """Return the text of ``benchmark.def.toml``."""
    blocks = [comment(_HEAD)]
    for at, model in _OF.items():
        keys = [key for key in _DIFFERS if key[:-1] == at]
        if at:
            blocks.append(f"[{dotted(at)}]")
        for key in keys:
            value, why = _DIFFERS[key]
            meaning = model.model_fields[key[-1]].description or ""
            blocks.append(f"{comment(f'{meaning} {why}')}\n{toml_line(key[-1], value)}")
    blocks.append(f"{comment(Bench.__doc__ or '')}\n[bench]")
    return "\n\n".join([*blocks, *lines(Bench, Bench().model_dump(mode="json"))]) + "\n"
