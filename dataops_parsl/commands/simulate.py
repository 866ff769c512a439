"""Writing a simulated dataset, with its truth beside it."""

from __future__ import annotations

import csv
import fcntl
import io
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dataops_parsl.dataset import ingest, writers
from dataops_parsl.dataset.staging import remove_tree
from dataops_parsl.errors import ConfigError
from dataops_parsl.storage.atomic import place_errors, write_bytes
from dataops_parsl.truth import kit
from dataops_parsl.truth.film import Film
from dataops_parsl.truth.render import CHANNELS, render
from dataops_parsl.truth.scene import Culture, Scene, load_scenes, scene_files
from dataops_parsl.truth.simulate import simulate

PLATE_COLUMNS = ("position", "well", "condition", "control", "replicate")
DESCRIPTION = """\
# {title}. Its truth lies beside it, in .truth/{name}.
axes = "TCYX"
pixel_size_um = [{size}, {size}]                   # y, x
frame_interval_s = {interval}
{pattern}plate = "plate.csv"

[channels]
ctdr = {{ stain = "CTDR" }}                          # effectors
gfp = {{ stain = "GFP", lost_on_death = true }}      # live targets
pi = {{ stain = "PI", death_marker = true }}         # dead cells

[populations.effector]
segment = ["ctdr"]
mask = "cell"
diameter_um = {effector_um:g}

[populations.target]
segment = ["gfp", "pi"]                            # live and dead
exclude = ["ctdr"]                                 # a dead effector shines in pi too
mask = "cell"
diameter_um = {target_um:g}
"""


def ensure_simulated(data_root: Path, name: str, scenes: str | Path, format: str) -> Path:
    """Write a simulated dataset and its truth, unless it is there; two commands at once write it once.

    Parameters
    ----------
    scenes : str or Path
        As `load_scenes` takes it.
    format : str
        One of `writers.Format`.

    Returns
    -------
    Path
        Folder of the dataset.

    Raises
    ------
    ConfigError
        The scenes cannot be meant, or their positions differ where a dataset has one value.
    PlaceError
        The disk is full or cannot be written.
    """
    place = data_root / name
    if (place / "manifest.json").exists():
        return place
    culture = load_scenes(scenes)
    common_scene(culture)
    with place_errors(data_root):
        data_root.mkdir(parents=True, exist_ok=True)
        lock = open(data_root / f".{name}.lock", "w")  # noqa: SIM115 - held to the end
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "manifest.json").exists():
            print(f"Writing the dataset {name!r} into {place} (simulated, with known truth)", flush=True)
            for left in data_root.glob(
                f".{name}.rendering-*"
            ):  # of a command that was killed: the lock is ours
                remove_tree(left)
            source = scene_files().get(str(scenes), Path(scenes))
            write_bytes(kit.truth_folder(data_root, name) / kit.SCENES, source.read_bytes())
            _write(data_root, name, culture, format)
    return place


def common_scene(culture: Culture) -> Scene:
    """The first scene, which stands for all of them where a dataset has one value.

    Raises
    ------
    ConfigError
        Where they differ in pixel size, frame interval or cell diameters.
    """
    (first_name, first), *others = culture.positions.items()
    for name, placed in others:
        for knob in ("pixel_size_um", "frame_interval_s", "effector_diameter_um", "target_diameter_um"):
            one, other = getattr(first.scene, knob), getattr(placed.scene, knob)
            if one != other:
                raise ConfigError(
                    f"positions {first_name!r} and {name!r} have {knob} {one:g} and {other:g}",
                    f"give all positions of a dataset one {knob}: set it in [scene]",
                )
    return first.scene


def description(culture: Culture, name: str, format: str) -> str:
    """The ``dataset.toml`` of a simulated dataset."""
    scene = common_scene(culture)
    return DESCRIPTION.format(
        title=" ".join(culture.title.split()).rstrip("."),
        name=name,
        size=scene.pixel_size_um,
        interval=scene.frame_interval_s,
        pattern=f'pattern = "{writers.PATTERN}"\n' if format == "tiff-frames" else "",
        effector_um=scene.effector_diameter_um,
        target_um=scene.target_diameter_um,
    )


def plate(culture: Culture) -> str:
    """The ``plate.csv`` of a simulated dataset."""
    text = io.StringIO()
    rows = csv.DictWriter(text, PLATE_COLUMNS, lineterminator="\n")
    rows.writeheader()
    rows.writerows({"position": name, **placed.plate} for name, placed in culture.positions.items())
    return text.getvalue()


def _write(data_root: Path, name: str, culture: Culture, format: str) -> None:
    films = {p: simulate(placed.scene, placed.seed) for p, placed in culture.positions.items()}
    scene = common_scene(culture)
    with (
        tempfile.TemporaryDirectory(dir=data_root, prefix=f".{name}.rendering-") as temporary,
        place_errors(data_root),
    ):
        source = Path(temporary) / "films"
        positions = {p: film.scene.n_frames for p, film in films.items()}
        size = (scene.pixel_size_um, scene.pixel_size_um)
        writers.write(format, source, positions, CHANNELS, _Frames(films), size, scene.frame_interval_s)
        (source / "dataset.toml").write_text(description(culture, name, format))
        (source / "plate.csv").write_text(plate(culture))
        for position, film in films.items():
            kit.write_truth(kit.truth_folder(data_root, name), position, film)
        ingest.add(source, name, data_root)


class _Frames:
    """Rendered frames; the last few are kept, since a frame gives all its channels at once."""

    def __init__(self, films: Mapping[str, Film]) -> None:
        self._films = films
        self._kept: dict[tuple[str, int], Any] = {}

    def __call__(self, position: str, channel: str, index: int) -> Any:
        if (position, index) not in self._kept:
            while len(self._kept) >= 2 * len(CHANNELS):
                self._kept.pop(next(iter(self._kept)))
            self._kept[position, index] = render(self._films[position], index)
        return self._kept[position, index][channel]
