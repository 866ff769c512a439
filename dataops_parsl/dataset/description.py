"""``dataset.toml``: what a biologist says about a dataset, as validated models."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from dataops_parsl.dataset.names import SAFE
from dataops_parsl.errors import DatasetError, nearest

Projection = Literal["max", "mean"]
Micrometres = Annotated[float, Field(gt=0, allow_inf_nan=False)]

FILE_NAME = "dataset.toml"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ChannelDescription(_Model):
    """One channel: a stain, not a cell type."""

    stain: str = ""
    """What was stained with, in your words."""
    death_marker: bool = False
    """A cell that dies becomes bright here (propidium iodide, SYTOX, an Annexin V)."""
    lost_on_death: bool = False
    """A cell that dies becomes dark here (a live stain or a reporter that leaks out)."""
    every: int = Field(default=1, ge=1)
    """Acquired in every n-th frame only, from the first frame on."""
    labels: str = ""
    """The population whose masks this channel carries as integer label images; empty for pictures."""
    labels_frame: Literal["raw", "registered"] = "raw"
    """Whether those masks lie on the frames as acquired or on the registered ones."""
    found_as: str = ""
    """The name that the files give this channel, where it is another one."""


class PopulationConfig(_Model):
    """A kind of cell that is segmented, tracked and compared."""

    segment: tuple[str, ...] = Field(min_length=1)
    """Channels in which its cells are seen, together."""
    mask: Literal["cell", "nucleus"] = "cell"
    """What is outlined: whole cells or nuclei."""
    diameter_um: Micrometres
    """Typical diameter of what is outlined, in µm; right within a quarter is good enough."""
    exclude: tuple[str, ...] = ()
    """Channels that show other populations: what is bright there is not one of these cells."""


class DatasetDescription(_Model):
    """All of ``dataset.toml``."""

    axes: str = "TCYX"
    """Order of the pages in plain multi-page TIFF files; files that name their axes are believed."""
    pixel_size_um: tuple[Micrometres, Micrometres]
    """Size of a pixel in the sample, [y, x], in µm."""
    frame_interval_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Time from one frame to the next, in s."""
    times: str | None = None
    """Instead of the interval: a CSV file with columns frame, time_s and, where they differ, position;
    a further column with a channel's name says by 1 or 0 in which frames it was acquired."""
    pattern: str | None = None
    """How file names are made, such as "{position}/{channel}/im_{frame:05d}.tif"."""
    plate: str | None = None
    """A CSV file with columns position, well, condition, control, replicate, e_to_t."""
    z_projection: Projection | None = None
    """How a Z stack becomes one image; without it a stack is refused."""
    channels: dict[str, ChannelDescription] = Field(min_length=1)
    """The channels by name."""
    populations: dict[str, PopulationConfig] = Field(default_factory=dict)
    """The populations by name; they are a layer of the configuration."""

    @field_validator("axes")
    @classmethod
    def _known_axes(cls, axes: str) -> str:
        if len(set(axes)) != len(axes) or set(axes) - set("TCZYX") or not axes.endswith("YX"):
            raise ValueError(f"{axes!r} is no order of T, C, Z, Y, X that ends with YX")
        return axes

    @field_validator("channels", "populations")
    @classmethod
    def _safe_names(cls, named: dict[str, Any]) -> dict[str, Any]:
        for name in named:
            if not SAFE.fullmatch(name):
                raise ValueError(f"the name {name!r} may only hold letters, digits, '.', '_' and '-'")
        return named

    @model_validator(mode="after")
    def _consistent(self) -> DatasetDescription:
        if self.times is not None and self.frame_interval_s is not None:
            raise ValueError("frame_interval_s and times are both given: keep one")
        for name, population in self.populations.items():
            for channel in (*population.segment, *population.exclude):
                if channel not in self.channels:
                    hint = nearest(channel, self.channels)
                    raise ValueError(f"populations.{name}: there is no channel {channel!r}{hint}")
                if self.channels[channel].labels:
                    raise ValueError(f"populations.{name}: channel {channel!r} carries masks, not pictures")
        for name, channel_of in self.channels.items():
            if channel_of.labels and self.populations and channel_of.labels not in self.populations:
                hint = nearest(channel_of.labels, self.populations)
                raise ValueError(f"channels.{name}: there is no population {channel_of.labels!r}{hint}")
        files = [channel.found_as or name for name, channel in self.channels.items()]
        if len(set(files)) != len(files):
            raise ValueError("two channels are found_as the same name")
        return self


def load_description(path: Path) -> DatasetDescription:
    """Read and check a ``dataset.toml``.

    Raises
    ------
    DatasetError
        It cannot be read, is no TOML, or holds an unknown key or a value that cannot be; the message
        names the file, the key and the nearest known key.
    """
    try:
        return parse_description(path.read_text(encoding="utf-8-sig"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(
            f"{path} cannot be read: {error}", "give a dataset.toml, a UTF-8 text file"
        ) from error


def parse_description(text: str, where: str) -> DatasetDescription:
    """Check the text of a ``dataset.toml``; `where` names it in errors."""
    try:
        return DatasetDescription.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise DatasetError(f"{where} is no valid TOML: {error}", "mend that line") from error
    except ValidationError as error:
        lines = [f"{where}: {_explain(dict(problem))}" for problem in error.errors()]
        raise DatasetError("\n".join(lines), "mend the keys named above") from error


def _explain(problem: dict[str, Any]) -> str:
    place: list[str] = [str(part) for part in problem["loc"]]
    key = ".".join(place)
    if problem["type"] == "extra_forbidden":
        return f"unknown key {key!r}{nearest(place[-1], _known_keys(place))}"
    if problem["type"] == "missing":
        return f"the key {key!r} is missing"
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"{key}: {message}" if key else message


def _known_keys(place: list[str]) -> list[str]:
    models: dict[str, type[BaseModel]] = {"channels": ChannelDescription, "populations": PopulationConfig}
    model = models.get(place[0], DatasetDescription) if len(place) > 2 else DatasetDescription
    return list(model.model_fields)
