"""Real microscopy as folders that `dataset add` takes in, each with a dataset.toml of its own."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import tifffile

from dataops_parsl.dataset import writers

STILLS_UM_PER_PX = 0.3112
CHANNELS = ("brightfield", "pi", "effector", "hoechst")

_FILM = """\
axes = "TYX"
pixel_size_um = [{size}, {size}]
frame_interval_s = {interval_s}
[channels]
nuclei = {{ stain = "{stain}" }}
[populations.cell]
segment = ["nuclei"]
mask = "nucleus"
diameter_um = {diameter_um}
"""
_STILLS = """\
axes = "TYX"
pixel_size_um = [{size}, {size}]
frame_interval_s = 60
pattern = "{pattern}"
[channels]
brightfield = {{ stain = "none, transmitted light" }}
pi = {{ stain = "PI", death_marker = true }}
effector = {{ stain = "CFSE" }}
hoechst = {{ stain = "Hoechst, of both populations" }}
[populations.effector]
segment = ["effector"]
mask = "cell"
diameter_um = 7
[populations.target]
segment = ["hoechst"]
exclude = ["effector"]
mask = "nucleus"
diameter_um = 13
"""


class CtcFilm(NamedTuple):
    """What is to be known of a film of the Cell Tracking Challenge.

    Attributes
    ----------
    folder : str
        Its folder in the test data.
    pixel_size_um, interval_s, stain :
        As the challenge's site states them.
    diameter_um : float
        Typical nucleus.
    reach_px : float
        Farthest step that is linked, closed over a gap or allowed to a daughter.
    """

    folder: str
    pixel_size_um: float
    interval_s: float
    stain: str
    diameter_um: float
    reach_px: float = 25.0

    @property
    def match_px(self) -> float:
        """A found cell is a true one when their centres are within half a diameter."""
        return self.diameter_um / self.pixel_size_um / 2

    def write(self, data: Path, source: Path) -> None:
        """Copy the film into a new folder and describe it."""
        source.mkdir(parents=True)
        shutil.copyfile(data / self.folder / "img.tif", source / "img.tif")
        text = _FILM.format(
            size=self.pixel_size_um,
            interval_s=self.interval_s,
            stain=self.stain,
            diameter_um=self.diameter_um,
        )
        (source / "dataset.toml").write_text(text)

    @property
    def settings(self) -> dict[str, str]:
        """Flags ``--set`` of its run."""
        reach = f"{self.reach_px * self.pixel_size_um:g}"
        return {
            "stages.trackmate.linking_max_distance_um": reach,
            "stages.trackmate.gap_closing_max_distance_um": reach,
            "stages.trackmate.splitting_max_distance_um": reach,
            "stages.trackmate.splitting": "true",
        }


SIM = CtcFilm("ctc_sim_01", 0.125, 29 * 60, "simulated HL60 nuclei", 6.0)
HELA = CtcFilm("ctc_hela_01", 0.645, 30 * 60, "H2B-GFP", 15.5)
STILLS = "adcc_nk_mcf7_dev"


def stills(data: Path) -> list[str]:
    """Names of the stills; each has a mask file of its targets."""
    return sorted(p.name.removesuffix("_targets.tif") for p in (data / STILLS).glob("*_targets.tif"))


def write_stills(data: Path, source: Path) -> None:
    """Write each still (C, Y, X) as a film of one frame, a position each."""
    images = {name: tifffile.imread(data / STILLS / f"{name}.tif") for name in stills(data)}
    writers.write(
        "tiff-frames",
        source,
        dict.fromkeys(images, 1),
        CHANNELS,
        lambda position, channel, _: images[position][CHANNELS.index(channel)],
        (STILLS_UM_PER_PX, STILLS_UM_PER_PX),
        60.0,
    )
    (source / "dataset.toml").write_text(_STILLS.format(size=STILLS_UM_PER_PX, pattern=writers.PATTERN))
