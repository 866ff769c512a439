"""``dataset``: take input in, list it, check its checksums, write simulated films."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, get_args

from dataops_parsl.commands import verifying
from dataops_parsl.commands.counting import Counting
from dataops_parsl.commands.demo import ensure_demo
from dataops_parsl.commands.setting import LEGACY_REMEDY, add_project_argument, load_setting
from dataops_parsl.commands.simulate import ensure_simulated
from dataops_parsl.commands.text import columns
from dataops_parsl.config import Roots
from dataops_parsl.dataset import ingest
from dataops_parsl.dataset.append import append, holds
from dataops_parsl.dataset.listing import DatasetRow, list_datasets
from dataops_parsl.dataset.manifest import Dataset
from dataops_parsl.dataset.names import check_name
from dataops_parsl.dataset.proposal import propose
from dataops_parsl.dataset.staging import remove_dead
from dataops_parsl.dataset.writers import Format
from dataops_parsl.errors import UsageError
from dataops_parsl.truth.kit import truth_folder
from dataops_parsl.truth.scene import scene_files


def add_parser(commands: Any) -> None:
    """Add ``dataset`` and its actions to the command line."""
    parser = commands.add_parser("dataset", help="input snapshots: take one in, list, check, simulate")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)

    add = actions.add_parser("add", help="take a folder or files in as a dataset")
    add.add_argument("source", type=Path, nargs="+", help="a folder, or files")
    add.add_argument("--name", required=True, help="name of the dataset")
    add.add_argument(
        "--link", action="store_true", help="leave the files where they are; they are never written"
    )
    add.add_argument(
        "--append", action="store_true", help="take in what was acquired since; nothing else changes"
    )
    add.add_argument(
        "--description", type=Path, metavar="FILE", help="a dataset.toml (default: the one in the source)"
    )
    add.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="POSITION:FRAME[:REASON]",
        help="leave a frame out, with a reason",
    )
    add.add_argument("--z-projection", choices=["max", "mean"], help="how a Z stack becomes one image")
    add.set_defaults(execute=_add)

    proposal = actions.add_parser("propose", help="print a dataset.toml from what is found in a folder")
    proposal.add_argument("source", type=Path, nargs="+")
    proposal.set_defaults(execute=_propose)

    listing = actions.add_parser("list", help="datasets that are here")
    listing.set_defaults(execute=_list)

    check = actions.add_parser("verify", help="compare every file with its checksum")
    check.add_argument("name", nargs="?", help="name of the dataset (default: all)")
    check.set_defaults(execute=verifying.execute)

    demo = actions.add_parser("demo", help="write the simulated demo, with its truth beside it")
    demo.add_argument("--name", default="demo")
    demo.set_defaults(execute=_demo)

    films = actions.add_parser("simulate", help="write simulated films, with their truth beside them")
    films.add_argument("scenes", metavar="SCENES", help=f"one of {', '.join(scene_files())}, or a TOML file")
    films.add_argument("--name", required=True, help="name of the dataset")
    films.set_defaults(execute=_simulate)
    for action in (demo, films):
        action.add_argument(
            "--format",
            choices=get_args(Format),
            default=get_args(Format)[0],
            help="file format (default: %(default)s)",
        )
    for action in (add, proposal, listing, check, demo, films):
        add_project_argument(action)


def _source(paths: list[Path]) -> Path | list[Path]:
    return paths[0] if len(paths) == 1 else paths


def _add(args: argparse.Namespace) -> int:
    paths = load_setting(args).config.paths
    root = paths.data_root
    exclude = dict(_excluded(text) for text in args.exclude)
    if args.append:
        return _append(args, paths, exclude)
    asked: dict[str, Any] = {
        "link": args.link,
        "description": args.description,
        "exclude": exclude,
        "z_projection": args.z_projection,
        "progress": Counting("files and frames"),
    }
    if holds(_source(args.source), args.name, root, **asked):
        remove_dead(root, args.name)
        print(f"{args.name} is there, as {', '.join(map(str, args.source))} holds it: nothing to do")
        return 0
    print(f"Taking in {', '.join(map(str, args.source))} as {root / args.name}", flush=True)
    made = ingest.add(_source(args.source), args.name, root, **asked)
    frames = sum(p.n_frames for p in made.positions.values())
    print(
        f"{made.name}: {len(made.positions)} positions, {frames} frames, channels {', '.join(made.channels)}"
    )
    for note in made.notes:
        print(f"  note: {note}")
    workflow = "" if len(made.description.populations) > 1 else " tracks"
    print(f"python -m dataops_parsl run{workflow} --dataset {made.name}")
    return 0


def _append(args: argparse.Namespace, paths: Roots, exclude: dict[tuple[str, int], str]) -> int:
    for flag, value in (
        ("--link", args.link),
        ("--description", args.description),
        ("--z-projection", args.z_projection),
    ):
        if value:
            raise UsageError(
                f"{flag} cannot be given with --append: that was settled when {args.name} was taken in",
                f"drop {flag}",
            )
    legacy = paths.legacy_root
    if legacy is not None and (legacy / args.name).is_dir() and not (paths.data_root / args.name).exists():
        raise UsageError(f"{args.name} lies in {legacy}, where nothing is written", LEGACY_REMEDY)
    print(f"Comparing {', '.join(map(str, args.source))} with {paths.data_root / args.name}", flush=True)
    made = append(
        _source(args.source),
        args.name,
        paths.data_root,
        exclude=exclude,
        progress=Counting("files and frames"),
    )
    if not made.frames and not made.replaced:
        print(f"{args.name}: nothing new")
        return 0
    for name, n in made.frames.items():
        print(f"  {name}: {n} frame{'s' * (n != 1)}{', a new position' if name in made.new else ''}")
    if made.replaced:
        files = "1 file" if made.replaced == 1 else f"{made.replaced} files"
        print(f"  {files} in the place of earlier ones, with all that was taken in of those")
    for note in made.notes:
        print(f"  note: {note}")
    films = made.dataset.positions
    print(f"{args.name}: {len(films)} positions, {sum(p.n_frames for p in films.values())} frames now")
    return 0


def _excluded(text: str) -> tuple[tuple[str, int], str]:
    position, _, rest = text.partition(":")
    frame, _, reason = rest.partition(":")
    if not position or not frame.isdigit():
        raise UsageError(
            f"--exclude {text!r} is not POSITION:FRAME or POSITION:FRAME:REASON",
            "as in --exclude P1:17:focus",
        )
    return (position, int(frame)), reason or "excluded by hand"


def _propose(args: argparse.Namespace) -> int:
    proposal = propose(_source(args.source))
    print(proposal.text)
    for word in (*proposal.questions, *proposal.warnings):
        print(f"# to settle: {word}")
    return 0


def _list(args: argparse.Namespace) -> int:
    paths = load_setting(args).config.paths
    rows = list_datasets(paths.data_root, paths.legacy_root)
    if not rows:
        print(f"no datasets in {paths.data_root}; `dataset demo` writes one, `dataset add` takes one in")
        return 0
    table = [("name", "positions", "frames", "channels", "size", "fingerprint", "")]
    print(columns([*table, *(_row(r) for r in rows)]))
    return 0


def _row(row: DatasetRow) -> tuple[str, ...]:
    if row.problem:
        return (row.name, "", "", "", "", "", "legacy: " * row.legacy + row.problem)
    size = f"{(row.size_bytes or 0) / 1e6:.1f} MB"
    words = ", ".join(word for word, so in (("linked", row.linked), ("legacy", row.legacy)) if so)
    return (
        row.name,
        str(row.positions),
        str(row.frames),
        ", ".join(row.channels),
        size,
        row.fingerprint or "",
        words,
    )


def _demo(args: argparse.Namespace) -> int:
    place = ensure_demo(load_setting(args).config.paths.data_root, args.name, args.format)
    print(f"{place}: {Dataset.open(place).fingerprint[:12]}")
    return 0


def _simulate(args: argparse.Namespace) -> int:
    root = load_setting(args).config.paths.data_root
    check_name(args.name, "dataset")
    if (root / args.name).exists():
        raise UsageError(
            f"there is a dataset {args.name!r} already: {root / args.name}",
            "give the simulated one another --name, or delete that folder first",
        )
    made = Dataset.open(ensure_simulated(root, args.name, args.scenes, args.format))
    frames = sum(p.n_frames for p in made.positions.values())
    print(f"{made.name}: {len(made.positions)} positions, {frames} frames, {made.fingerprint[:12]}")
    print(f"truth: {truth_folder(root, args.name)}")
    print(f"python -m dataops_parsl run --dataset {made.name}")
    return 0
