"""Weights of Cellpose-SAM as files: which there are, where, and which bytes. No torch, and no network.

Cellpose itself takes a mistyped path for a wish to download its default model, and loads a file that is cut
short without a word, leaving random numbers where weights are missing. So a file is looked at here first.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataops_parsl.algorithms.tool_error import ToolError

LICENCE = "CC-BY-NC: for non-commercial use only"
"""Of the published weights; the code of cellpose is BSD-3."""
FOLDER_VARIABLE = "CELLPOSE_LOCAL_MODELS_PATH"
RECORD = ".weights.json"
_KEYS = (b"W2", b"encoder.pos_embed", b"encoder.blocks.23.attn.qkv.weight", b"out.weight")
"""Some names of tensors that each checkpoint of cpsam has."""


@dataclass(frozen=True)
class Published:
    """Weights that cellpose publishes under a name: these bytes, and no others."""

    sha256: str
    size: int


PUBLISHED: Mapping[str, Published] = {
    "cpsam_v2": Published("0f1cc3f7ecdd8a037a57c6c48d9d8921391be4cbce3fa9f13c3e3a2e1253c667", 1_233_586_851),
    "cpsam": Published("e1440429eb384f95afe32bcba6510f90d518eaedc917ede549bed6804004abe2", 1_233_587_898),
}


class WeightsError(ToolError):
    """Weights that are not there, or not what they should be."""


@dataclass(frozen=True)
class Weights:
    """A file of weights that was looked at.

    Parameters
    ----------
    name : str
        The published or imported name; of a file that was given by its path, the file's name.
    path : Path
    sha256 : str
    """

    name: str
    path: Path
    sha256: str


def folder() -> Path:
    """Where named weights lie: the folder that cellpose itself uses, so that what it fetched is found."""
    given = os.environ.get(FOLDER_VARIABLE, "")
    return Path(given).expanduser() if given else Path.home() / ".cellpose" / "models"


def is_path(model: str) -> bool:
    """Whether a model is given as a file's path rather than as a name."""
    return "/" in model or model.startswith("~")


def find(model: str, sha256: str = "") -> Weights:
    """Look for weights and say which they are.

    Parameters
    ----------
    model : str
        A name in `folder`, or the absolute path of a file (``~`` is the home folder).
    sha256 : str
        What the file's sha256 must be; empty: that of the published or imported name, else any.

    Raises
    ------
    WeightsError
        When they are not there, are cut short, are no weights of cpsam, or have another sha256.
    """
    path = _path(model)
    name = path.name
    look_at(path)
    recorded = record(path)
    if not is_path(model) and model not in PUBLISHED and "sha256" not in recorded:
        raise WeightsError(
            f"the weights {name!r} in {path.parent} were put there by hand: nothing says which they are",
            f"python -m dataops_parsl weights import {path} --name another_name; or give the whole path "
            "of the file",
        )
    found = sha256_of(path)
    wanted = {"it was imported with": recorded.get("sha256", "")} if not is_path(model) else {}
    if not is_path(model) and model in PUBLISHED:
        wanted = {f"{model} has": PUBLISHED[model].sha256}
    wanted["was asked for"] = sha256.lower()
    for words, expected in wanted.items():
        if expected and found != expected:
            raise WeightsError(
                f"the weights {path} have the sha256 {found}; {expected} {words}"
                if words == "was asked for"
                else f"the weights {path} have the sha256 {found}, but {words} {expected}",
                "they are other weights, or damaged: fetch or import them again "
                "(python -m dataops_parsl weights fetch | import FILE), or correct cpsam_sha256",
            )
    return Weights(name, path, found)


def _path(model: str) -> Path:
    if is_path(model):
        path = Path(model).expanduser()
        if not path.is_absolute():
            raise WeightsError(
                f"the weights {model!r} are given by a relative path, which a worker elsewhere cannot follow",
                f"give the whole path, such as {Path(model).resolve()}",
            )
        if not path.is_file():
            raise WeightsError(
                f"there are no weights at {path}" + (", which is a folder" if path.is_dir() else ""),
                "correct the path: nothing is downloaded in its place"
                + _there("; files beside it are", path.parent),
            )
        return path
    path = folder() / model
    if not path.is_file():
        published = model in PUBLISHED
        fetch = (
            f"with a network: python -m dataops_parsl weights fetch {model}; without one, bring the file "
            f"from a machine that has it: python -m dataops_parsl weights import FILE --name {model}"
        )
        if not published:
            fetch = (
                f"python -m dataops_parsl weights import FILE --name {model}; or take a published model "
                f"({', '.join(PUBLISHED)}): python -m dataops_parsl weights fetch {next(iter(PUBLISHED))}"
            )
        raise WeightsError(f"the weights {model!r} are not in {folder()}", fetch)
    return path


def _there(words: str, beside: Path) -> str:
    try:
        names = sorted(p.name for p in beside.iterdir() if p.is_file())[:5]
    except OSError:
        return ""
    return f"{words} {', '.join(names)}" if names else ""


def look_at(path: Path) -> None:
    """Refuse what cannot be a whole checkpoint of cpsam, in milliseconds; the rest is seen on loading.

    Raises
    ------
    WeightsError
    """
    try:
        with zipfile.ZipFile(path) as archive:
            pickled = next(n for n in archive.namelist() if n.endswith("/data.pkl"))
            names = archive.read(pickled)
    except (zipfile.BadZipFile, StopIteration, EOFError) as error:
        size_mb = path.stat().st_size / 1e6
        raise WeightsError(
            f"the weights {path} ({size_mb:.1f} MB) are cut short, or are no file of torch.save",
            "fetch or import them again: python -m dataops_parsl weights fetch | import FILE",
        ) from error
    except OSError as error:
        raise WeightsError(
            f"the weights {path} cannot be read: {error.strerror}", "make the file readable"
        ) from error
    if missing := [key.decode() for key in _KEYS if key not in names]:
        raise WeightsError(
            f"the weights {path} are none of cpsam: they have no {missing[0]!r}",
            "take weights of Cellpose-SAM (cellpose 4): older models, and those on DINOv3, have another net",
        )


def record_path(path: Path) -> Path:
    """Where is written what is known of weights in `folder`."""
    return path.with_name(path.name + RECORD)


def record(path: Path) -> dict[str, Any]:
    """What was written down when weights were fetched or imported; empty where nothing was."""
    try:
        found = json.loads(record_path(path).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def sha256_of(path: Path) -> str:
    """sha256 of a file, hex: the recorded one while size and time are as recorded, else computed."""
    stat = path.stat()
    known = record(path)
    if (known.get("size"), known.get("mtime_ns")) == (stat.st_size, stat.st_mtime_ns):
        return str(known["sha256"])
    return _computed(path, stat.st_size, stat.st_mtime_ns, stat.st_ino)


@functools.lru_cache(maxsize=16)
def _computed(path: Path, size: int, mtime_ns: int, inode: int) -> str:
    return hash_now(path)


def hash_now(path: Path) -> str:
    """sha256 of a file's bytes as they are now, hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def listed() -> list[Path]:
    """The files in `folder` that may be weights."""
    there = folder()
    if not there.is_dir():
        return []
    files = (p for p in there.iterdir() if p.is_file() and not p.name.startswith("."))
    return sorted(p for p in files if p.suffix not in (".json", ".txt", ".tmp"))
