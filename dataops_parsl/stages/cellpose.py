"""cellpose: label images per population, by one of several backends."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from dataops_parsl.algorithms import drift, exclusion, watershed
from dataops_parsl.errors import ConfigError, MissingExtraError, nearest
from dataops_parsl.film import Film
from dataops_parsl.stage import Pixels, Stack, Stage, readable, step
from dataops_parsl.stages.register_tables import shift_at
from dataops_parsl.tables import Column, Rows, Schema

LIMITS = Schema(
    "limits",
    "a channel's normalization limits",
    (
        Column("position_id", "string", "field of view", key=True),
        Column("population", "string", "population that is segmented", key=True),
        Column("channel", "string", "channel", key=True),
        Column("low", "float64", "count that becomes 0", "count"),
        Column("high", "float64", "count that becomes 1", "count"),
    ),
)


MIN_DIAMETER_PX = 3
TRIM_FRAC = {"nucleus": 0.4, "cell": None}
"""Halos of nuclei are cut off; a cell ends at its edge, where its image is steepest."""


class Cellpose(Stage):
    """Segment one population."""

    name: ClassVar[str] = "cellpose"
    version: ClassVar[int] = 3

    backend: Literal["watershed", "labels", "cpsam"] = "watershed"
    """watershed: classical, needs no weights and no GPU. labels: masks that a channel of the dataset
    carries, given or hand-corrected. cpsam: Cellpose-SAM, not in this version."""

    labels_channel: str = ""
    """For backend labels: the channel that carries this population's masks. Empty: the one that says so
    in dataset.toml."""

    trim_frac: float | None = Field(None, ge=0, lt=1)
    """For backend watershed: rims below this fraction of an object's own brightness are cut off, which takes
    halos away; 0 keeps dim rims. Not set: 0.4 for nuclei; cells are cut where their image is steepest."""

    min_area_frac: float = Field(0.1, ge=0, lt=1)
    """For backend watershed: smaller objects are dropped; fraction of a disc of the expected diameter."""

    low_percentile: float = Field(1.0, ge=0, lt=100)
    """Percentile of the sample frames that becomes 0 when channels are normalized."""

    high_percentile: float = Field(99.8, gt=0, le=100)
    """Percentile of the sample frames that becomes 1."""

    @property
    def on_gpu(self) -> bool:
        """cpsam alone computes on a GPU."""
        return self.backend == "cpsam"

    def check(self, film: Film) -> None:
        """Refuse a backend that is not here, and masks that no channel carries."""
        if self.backend == "cpsam":
            if importlib.util.find_spec("cellpose") is None:
                raise MissingExtraError(
                    "stages.cellpose.backend = 'cpsam' needs the extra 'cellpose'",
                    "pip install 'dataops_parsl[cellpose]', or use the backend 'watershed'",
                )
            raise ConfigError(
                "stages.cellpose.backend = 'cpsam' is not in this version",
                "use the backend 'watershed', or 'labels' with masks made elsewhere",
            )
        if self.backend == "labels":
            self._labels_channel(film)
            return
        size_um = max(film.pixel_size_um)
        if film.population.diameter_um < MIN_DIAMETER_PX * size_um:
            raise ConfigError(
                f"a {film.population_name} of {film.population.diameter_um:g} µm is "
                f"{film.population.diameter_um / size_um:.2g} px at {size_um:g} µm/px: too small to be seen",
                "check diameter_um, and pixel_size_um in dataset.toml (in µm, not nm)",
            )

    def _labels_channel(self, film: Film) -> str:
        carriers = [n for n, c in film.channels.items() if c.labels]
        if self.labels_channel:
            if self.labels_channel not in carriers:
                raise ConfigError(
                    f"stages.cellpose.labels_channel = {self.labels_channel!r} carries no masks"
                    f"{nearest(self.labels_channel, carriers)}",
                    f"channels with masks: {', '.join(carriers) or 'none'}; "
                    'mark one in dataset.toml by labels = "<population>"',
                )
            return self.labels_channel
        own = [n for n in carriers if film.channels[n].labels == film.population_name]
        if not own:
            raise ConfigError(
                "stages.cellpose.backend = 'labels', but no channel carries masks of "
                f"{film.population_name!r}",
                f'write labels = "{film.population_name}" at a channel in dataset.toml',
            )
        return own[0]

    @step(
        scope="sample",
        gives={"limits": LIMITS},
        facts=("segments", "excludes"),
        parameters=("low_percentile", "high_percentile"),
    )
    def limits(self, film: Film, raw: Mapping[str, Stack]) -> dict[str, Any]:
        """Normalization limits from a fixed sample of frames, so that no batch waits for the film."""
        name = film.population_name
        channels = dict.fromkeys((*film.segments[name], *film.excludes[name]))
        low, high = [], []
        for channel in channels:
            frames = [f for f in (readable(raw[channel], n) for n in film.frames) if f is not None]
            if not frames:
                raise ValueError(f"no frame of channel {channel!r} can be read for its normalization limits")
            bounds = watershed.percentile_limits(frames, self.low_percentile, self.high_percentile)
            low.append(float(bounds[0]))
            high.append(float(bounds[1]))
        return {"channel": list(channels), "low": low, "high": high}

    @step(
        scope="batch",
        gives={"labels": Pixels("uint32")},
        facts=("populations", "channels", "pixel_size_um", "marked_um"),
        parameters=("backend", "labels_channel", "trim_frac", "min_area_frac"),
    )
    def segment(
        self,
        film: Film,
        frame: int,
        denoised: Mapping[str, Stack],
        raw: Mapping[str, Stack],
        transforms: Rows,
        limits: Rows,
    ) -> NDArray[np.uint32]:
        """Label image of one registered frame."""
        shift = shift_at(transforms, frame)
        if self.backend == "labels":
            channel = self._labels_channel(film)
            given = raw[channel][frame]
            if given is None:
                raise ValueError(f"channel {channel!r} has no masks here")
            if film.channels[channel].labels_frame == "raw":
                given = drift.apply(given, shift, order=0)
            return given.astype(np.uint32)
        population = film.population
        bounds = {
            str(c): (float(low), float(high))
            for c, low, high in zip(limits["channel"], limits["low"], limits["high"], strict=True)
        }
        images = {c: image for c in bounds if (image := denoised[c][frame]) is not None}
        if missing := [c for c in bounds if c not in images]:
            raise ValueError(f"channel {missing[0]!r} has no image here")
        size_um = float(np.sqrt(np.prod(film.pixel_size_um)))
        marks_px = {
            c: film.marked_um[c] / size_um
            for c in population.exclude
            if c in film.marked_um and population.mask == "cell"
        }
        # Dead cells of another population shine in the death stain too.
        for channel in (c for c in population.segment if film.channels[c].death_marker):
            for other, diameter_px in marks_px.items():
                others = watershed.segment(images[other], diameter_px, trim_frac=None)
                images[channel] = exclusion.without_light_of(images[channel], others)
        seen = watershed.normalized_sum(
            [images[c] for c in population.segment], [bounds[c] for c in population.segment]
        )
        labels = watershed.segment(
            seen,
            population.diameter_um / size_um,
            min_area_frac=self.min_area_frac,
            trim_frac=TRIM_FRAC[population.mask] if self.trim_frac is None else self.trim_frac,
        )
        for channel in population.exclude:
            labels = exclusion.without_bright(labels, images[channel], diameter_px=marks_px.get(channel))
        # What the warp invented is no cell.
        labels[~drift.valid_mask(labels.shape, shift)] = 0
        return labels
