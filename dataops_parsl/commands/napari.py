"""``runs napari``: film, label images and tracks of a position in napari, or the command that shows them."""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
from typing import Any

from dataops_parsl.commands.export import add_own_project_argument, tables_of
from dataops_parsl.commands.setting import load_setting
from dataops_parsl.commands.which import RUN_HELP, find_run
from dataops_parsl.errors import PlaceError
from dataops_parsl.exports.napari_layers import film_of, write_view

PROGRAM = "napari"


def add_parser(actions: Any) -> None:
    """Add ``napari`` to the actions of ``runs``."""
    parser = actions.add_parser("napari", help="show a position in napari, or print the command that does")
    parser.add_argument("run", metavar="RUN", help=RUN_HELP)
    parser.add_argument("--position", metavar="P", help="field of view (default: the first)")
    parser.add_argument("--print", action="store_true", help="only print the command")
    add_own_project_argument(parser)
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    """Write the layers beside the exports, and open them where napari is installed.

    Raises
    ------
    PlaceError
        napari ended with an error.
    """
    paths = load_setting(args).config.paths
    bundle = find_run(paths.output_root, args.run)
    tables = tables_of(bundle)
    film = film_of(bundle, tables, args.position)
    folder = paths.output_root / "exports" / f"{bundle.id}_napari" / film.position
    view = write_view(folder, bundle, tables, film, paths.scratch_root)
    for note in view.notes:
        print(f"note: {note}")
    print(f"{film.position}: {', '.join(view.found) or 'nothing to show'}")
    print(view.command, flush=True)
    if args.print:
        return 0
    if shutil.which(PROGRAM) is None:
        print("napari is not installed here: python -m pip install 'napari[all]' zarr, then that command")
        return 0
    code = subprocess.run(shlex.split(view.command), check=False).returncode
    if code:
        raise PlaceError(
            f"napari ended with exit code {code}",
            "its own words above say why; it needs a display, and zarr in its environment",
        )
    return 0
