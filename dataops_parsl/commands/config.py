"""``config``: what every key is set to and by whom; the file of defaults."""

from __future__ import annotations

import argparse
from typing import Any

from dataops_parsl.commands.setting import add_config_arguments, load_setting, open_dataset
from dataops_parsl.config import find_project, write_benchmark_default, write_default
from dataops_parsl.config.words import dotted
from dataops_parsl.stages import discover
from dataops_parsl.storage.atomic import write_bytes


def add_parser(commands: Any) -> None:
    """Add ``config`` to the command line."""
    parser = commands.add_parser("config", help="show the effective configuration, or write its defaults")
    parser.add_argument(
        "--write-default",
        action="store_true",
        help="write configs/*.def.toml from the models (make config)",
    )
    add_config_arguments(parser)
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    """Print every effective value with the file that it came from."""
    if args.write_default:
        folder = find_project(None, args.project) / "configs"
        for name, text in (
            ("config.def.toml", write_default(discover())),
            ("benchmark.def.toml", write_benchmark_default()),
        ):
            write_bytes(folder / name, text.encode())
            print(f"wrote {folder / name}")
        return 0
    setting = open_dataset(args)[1] if args.dataset else load_setting(args)
    origins = setting.config.origins
    for key, value in _leaves(setting.config.effective()):
        print(f"{key} = {value!r}  # {origins[key]}")
    return 0


def _leaves(value: Any, prefix: tuple[str, ...] = ()) -> Any:
    if not isinstance(value, dict):
        yield dotted(prefix), value
        return
    for name, inner in value.items():
        yield from _leaves(inner, (*prefix, name))
