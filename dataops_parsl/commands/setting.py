"""What every command starts from: the project, its configuration, and the dataset that it names."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataops_parsl.commands.simulate import ensure_simulated
from dataops_parsl.config import Loaded, Roots, find_project, load
from dataops_parsl.dataset.listing import find
from dataops_parsl.dataset.manifest import Dataset
from dataops_parsl.stages import discover

SIMULATED = ("demo", "bench")
"""Datasets that are made of the scenes of their name."""

LEGACY_REMEDY = "python -m dataops_parsl migrate brings what is there into paths.data_root"


@dataclass(frozen=True)
class Setting:
    """A project and its effective configuration."""

    project: Path
    config: Loaded


def add_project_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--project``."""
    parser.add_argument(
        "--project",
        type=Path,
        metavar="DIR",
        help="project folder (default: the nearest parent with configs/)",
    )


def add_set_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--set``."""
    parser.add_argument(
        "--set",
        dest="sets",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override one key of the configuration",
    )


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what chooses and overrides the configuration."""
    add_project_argument(parser)
    parser.add_argument("--dataset", metavar="NAME", help="dataset (default: dataset.name, which is demo)")
    parser.add_argument(
        "--site", metavar="SITE", help="a file in configs/sites (default: site.name, which is laptop)"
    )
    parser.add_argument("--endpoint", metavar="UUID", help="Globus Compute endpoint of a site of kind globus")
    add_set_argument(parser)


def load_setting(
    args: argparse.Namespace, dataset_layer: tuple[Path, dict[str, Any]] | None = None
) -> Setting:
    """Load the configuration as the command line asks for it."""
    project = find_project(None, args.project)
    flags = {
        "--dataset": getattr(args, "dataset", None),
        "--frames": getattr(args, "frames", None),
        "--workers": getattr(args, "workers", None),
        "--endpoint": getattr(args, "endpoint", None),
    }
    config = load(
        project,
        stage_classes=discover(),
        site=getattr(args, "site", None),
        dataset_layer=dataset_layer,
        flags=flags,
        sets=getattr(args, "sets", []),
        benchmark=getattr(args, "benchmark", False),
    )
    return Setting(project, config)


def open_dataset(args: argparse.Namespace) -> tuple[Dataset, Setting]:
    """Open the dataset that the configuration names, and load the configuration with its populations.

    The demo and the benchmark's film are simulated when they are asked for and not there yet.
    """
    first = load_setting(args).config
    name, paths = first.config.dataset.name, first.paths
    if name in SIMULATED:
        ensure_simulated(paths.data_root, name, name, "tiff-frames")
    dataset = Dataset.open(find_dataset(name, paths))
    layer = dataset.description.model_dump(mode="json", include={"populations"}, exclude_unset=True)
    return dataset, load_setting(args, (dataset.root / "dataset.toml", layer.get("populations", {})))


def find_dataset(name: str, paths: Roots) -> Path:
    """The folder of a dataset; one that is only below the legacy root is read there, and it is said.

    Raises
    ------
    DatasetError
        There is none of that name.
    """
    root = find(name, paths.data_root, paths.legacy_root)
    if root.parent == paths.legacy_root:
        print(
            f"note: {name} is read from {root.parent}, which is deprecated, and nothing is written there; "
            f"{LEGACY_REMEDY}",
            file=sys.stderr,
        )
    return root
