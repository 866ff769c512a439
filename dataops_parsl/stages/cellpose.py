"""cellpose: label images per population, by one of several backends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from dataops_parsl.algorithms import cpsam, drift, exclusion, watershed
from dataops_parsl.errors import ConfigError, nearest
from dataops_parsl.film import Film
from dataops_parsl.stage import Pixels, Requirement, Stack, Stage, Together, readable, step
from dataops_parsl.stages import cpsam_backend
from dataops_parsl.stages.register_tables import shift_at
from dataops_parsl.tables import Column, Rows, Schema
from dataops_parsl.telling import tell

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

_CLASSICAL = ("backend", "labels_channel", "trim_frac", "min_area_frac")
_CPSAM = ("backend", "min_area_frac", "precision", "flow_threshold", "cellprob_threshold", "niter")
_UNKEYED = ("cpsam_model", "cpsam_sha256", "device", "tiles_at_once")
"""Where the weights lie is in no key: which bytes they are is, by `identity`."""


@dataclass(frozen=True, eq=False)
class Seen:
    """A frame before it is segmented.

    Parameters
    ----------
    image : (Y, X) float32
        What is segmented: the population's channels, normalized and added up.
    images : mapping of channel to (Y, X)
        Also those that mark other cells.
    marks_px : mapping of channel to float
        Expected diameter of the cells that a channel marks, px.
    shift
        How the frame was moved.
    """

    image: NDArray[np.float32]
    images: Mapping[str, NDArray[Any]]
    marks_px: Mapping[str, float]
    shift: Any
    tiled: cpsam.Tiled | None = None


@dataclass(frozen=True, eq=False)
class Answered:
    """What the net said of a frame, and the model that holds the net."""

    tiled: cpsam.Tiled
    model: cpsam.Model


class Cellpose(Stage):
    """Segment one population."""

    name: ClassVar[str] = "cellpose"
    version: ClassVar[int] = 3

    backend: Literal["watershed", "labels", "cpsam"] = "watershed"
    """watershed: classical, needs no weights and no GPU. labels: masks that a channel of the dataset
    carries, given or hand-corrected. cpsam: Cellpose-SAM on a GPU, see docs/cpsam.md."""

    labels_channel: str = ""
    """For backend labels: the channel that carries this population's masks. Empty: the one that says so
    in dataset.toml."""

    trim_frac: float | None = Field(None, ge=0, lt=1)
    """For backend watershed: rims below this fraction of an object's own brightness are cut off, which takes
    halos away; 0 keeps dim rims. Not set: 0.4 for nuclei; cells are cut where their image is steepest."""

    min_area_frac: float = Field(0.1, ge=0, lt=1)
    """For backends watershed and cpsam: smaller objects are dropped; fraction of a disc of the expected
    diameter."""

    low_percentile: float = Field(1.0, ge=0, lt=100)
    """Percentile of the sample frames that becomes 0 when channels are normalized."""

    high_percentile: float = Field(99.8, gt=0, le=100)
    """Percentile of the sample frames that becomes 1."""

    cpsam_model: str = "cpsam_v2"
    """For backend cpsam: weights by name ("cpsam_v2" and "cpsam" are published; others as you imported them),
    or the whole path of a file. Which bytes they are is part of every result; nothing is ever downloaded by a
    run: `weights fetch` and `weights import` bring them."""

    cpsam_sha256: str = Field("", pattern=r"^$|^[0-9a-fA-F]{64}$")
    """For backend cpsam: refuse weights that have another sha256. Empty: published and imported weights must
    have theirs, a file given by its path may have any."""

    precision: Literal["bf16", "fp32"] = "bf16"
    """For backend cpsam: numbers that the net computes with. fp32 takes twice the memory and longer."""

    flow_threshold: float = Field(0.4, ge=0)
    """For backend cpsam: objects whose shape fits its flows worse are dropped; 0 keeps all."""

    cellprob_threshold: float = 0.0
    """For backend cpsam: pixels above belong to cells; lower it to find more and larger ones."""

    niter: int = Field(0, ge=0)
    """For backend cpsam: steps along the flows; more for long, thin cells. 0: 200 at a diameter of 30 px."""

    device: Literal["gpu", "cpu"] = "gpu"
    """For backend cpsam: where it computes. Without a GPU it is refused, never done on the CPU instead, which
    is slow: that has to be asked for. In no key."""

    tiles_at_once: int | None = Field(None, ge=1)
    """For backend cpsam: tiles of 256 x 256 px, of several frames, that the device computes at once; halved
    when its memory is too small. Not set: 8 on a GPU, 1 on the CPU. In no key."""

    @property
    def on_gpu(self) -> bool:
        """cpsam alone computes on a GPU."""
        return self.backend == "cpsam" and self.device == "gpu"

    @property
    def needs_bf16(self) -> bool:
        """The net computes in fp32 too."""
        return self.on_gpu and self.precision == "bf16"

    def reads(self, name: str) -> tuple[str, ...] | None:
        """Parameters of another backend are in no key."""
        if name == "segment":
            return _CPSAM if self.backend == "cpsam" else _CLASSICAL
        return super().reads(name)

    def together(self, name: str) -> Together | None:
        """cpsam alone gains from several frames at once."""
        return super().together(name) if self.backend == "cpsam" else None

    def identity(self, step: str) -> Mapping[str, str]:
        """Which weights and which cellpose."""
        if self.backend != "cpsam" or step != "segment":
            return {}
        return cpsam_backend.identity(cpsam_backend.weights(self.cpsam_model, self.cpsam_sha256))

    def requirements(self) -> Sequence[Requirement]:
        """cellpose, its weights, and what it computes on."""
        if self.backend != "cpsam":
            return ()
        return cpsam_backend.requirements(self.cpsam_model, self.cpsam_sha256, self.device)

    def check_device(self) -> None:
        """Refuse this host when there is no GPU and it was not told to do without."""
        if self.backend == "cpsam":
            cpsam_backend.check_device(self.device)

    def check(self, film: Film) -> None:
        """Refuse a backend that is not here or lacks its weights, and masks that no channel carries."""
        if self.backend == "cpsam":
            cpsam_backend.check_installed()
            cpsam_backend.weights(self.cpsam_model, self.cpsam_sha256)
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
        parameters=dict.fromkeys((*_CLASSICAL, *_CPSAM)),
        unkeyed=_UNKEYED,
        together=Together(read="look", compute="answers", finish="outlined"),
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
        if self.backend == "labels":
            return self._given(film, frame, raw, shift_at(transforms, frame))
        seen = self.look(film, frame, denoised, raw, transforms, limits)
        if self.backend == "cpsam":
            (answered,) = self.answers([seen])
            return self.outlined(film, frame, seen, answered)
        labels = watershed.segment(
            seen.image,
            _diameter_px(film),
            min_area_frac=self.min_area_frac,
            trim_frac=TRIM_FRAC[film.population.mask] if self.trim_frac is None else self.trim_frac,
        )
        return _kept(film, seen, labels)

    def _given(self, film: Film, frame: int, raw: Mapping[str, Stack], shift: Any) -> NDArray[np.uint32]:
        """The masks that a channel carries, on the registered frame."""
        channel = self._labels_channel(film)
        given = raw[channel][frame]
        if given is None:
            raise ValueError(f"channel {channel!r} has no masks here")
        if film.channels[channel].labels_frame == "raw":
            given = drift.apply(given, shift, order=0)
        return given.astype(np.uint32)

    def look(
        self,
        film: Film,
        frame: int,
        denoised: Mapping[str, Stack],
        raw: Mapping[str, Stack],
        transforms: Rows,
        limits: Rows,
    ) -> Seen:
        """Read a frame: what is to be segmented, and what marks other cells."""
        population = film.population
        bounds = {
            str(c): (float(low), float(high))
            for c, low, high in zip(limits["channel"], limits["low"], limits["high"], strict=True)
        }
        images = {c: image for c in bounds if (image := denoised[c][frame]) is not None}
        if missing := [c for c in bounds if c not in images]:
            raise ValueError(f"channel {missing[0]!r} has no image here")
        marks_px = {
            c: film.marked_um[c] / _pixel_um(film)
            for c in population.exclude
            if c in film.marked_um and population.mask == "cell"
        }
        # Dead cells of another population shine in the death stain too.
        for channel in (c for c in population.segment if film.channels[c].death_marker):
            for other, diameter_px in marks_px.items():
                others = watershed.segment(images[other], diameter_px, trim_frac=None)
                images[channel] = exclusion.without_light_of(images[channel], others)
        image = watershed.normalized_sum(
            [images[c] for c in population.segment], [bounds[c] for c in population.segment]
        )
        seen = Seen(image, images, marks_px, shift_at(transforms, frame))
        if self.backend != "cpsam":
            return seen
        return replace(seen, tiled=cpsam.tiled(image, _diameter_px(film)))

    def answers(self, frames: Iterable[Seen]) -> Iterator[Answered]:
        """For backend cpsam: what the net says of frames, several at once."""
        found = cpsam_backend.weights(self.cpsam_model, self.cpsam_sha256)
        model = cpsam_backend.model(found, self.precision, self.device)
        model.begin()
        with cpsam_backend.place_errors():
            tiles = (seen.tiled for seen in frames if seen.tiled is not None)
            for tiled in model.flows(tiles, self.tiles_at_once or cpsam.TILES_AT_ONCE[self.device]):
                yield Answered(tiled, model)

    def outlined(self, film: Film, frame: int, seen: Seen, answered: Answered) -> NDArray[np.uint32]:
        """For backend cpsam: the labels that follow from what the net said."""
        diameter_px, model = _diameter_px(film), answered.model
        with cpsam_backend.place_errors():
            labels = model.labels(
                answered.tiled,
                flow_threshold=self.flow_threshold,
                cellprob_threshold=self.cellprob_threshold,
                niter=self.niter,
                min_area_px=self.min_area_frac * np.pi / 4 * diameter_px**2,
            )
        tell("used", **model.used())
        return _kept(film, seen, labels)


def _pixel_um(film: Film) -> float:
    return float(np.sqrt(np.prod(film.pixel_size_um)))


def _diameter_px(film: Film) -> float:
    return film.population.diameter_um / _pixel_um(film)


def _kept(film: Film, seen: Seen, labels: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The labels without cells of others, and without what the warp invented."""
    for channel in film.population.exclude:
        labels = exclusion.without_bright(
            labels, seen.images[channel], diameter_px=seen.marks_px.get(channel)
        )
    labels[~drift.valid_mask(labels.shape, seen.shift)] = 0
    return labels
