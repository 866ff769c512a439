"""What a simulated co-culture is made of: knobs with units, and the files that hold sets of positions."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError, field_validator

from dataops_parsl.errors import ConfigError, nearest
from dataops_parsl.truth.hard import HardCases
from dataops_parsl.truth.optics import FROZEN, Optics

__all__ = ["Culture", "HardCases", "Optics", "Placed", "Scene", "demo_scenes", "load_scenes", "scene_files"]

_FOLDER = Path(__file__).parent / "scenes"
Model = TypeVar("Model", bound=BaseModel)


class Scene(BaseModel):
    """One field of view: its geometry, its cells and what they do to each other.

    The world is larger than the field by a margin, so that drift and migration bring cells in and out.
    Numbers of cells are those expected inside the field; the margin is filled at the same density.
    Everything that is random follows from the seed given to `simulate`.
    """

    model_config = FROZEN

    height_px: int = Field(default=384, ge=16)
    """Rows of the field."""
    width_px: int = Field(default=384, ge=16)
    """Columns of the field."""
    pixel_size_um: float = Field(default=0.65, gt=0)
    """Edge of a square pixel, µm."""
    n_frames: int = Field(default=60, ge=1)
    """Frames of the film."""
    frame_interval_s: float = Field(default=120.0, gt=0)
    """Time between frames, s."""
    drift_px: float = Field(default=0.8, ge=0)
    """Stage drift: standard deviation of its step per frame and axis, px."""
    drift_limit_px: float = Field(default=15.0, ge=0)
    """The drift is reflected at this distance from its start, px per axis."""

    jump_frame: int = Field(default=0, ge=0)
    """Frame at which the stage jumps once; 0: it never does."""
    jump_px: float = Field(default=0.0, ge=0)
    """Length of the jump, px; its direction is random."""

    n_targets: int = Field(default=40, ge=0)
    """Targets in the field."""
    target_diameter_um: float = Field(default=20.0, gt=0)
    """Mean diameter of a target, µm."""
    target_jitter_um: float = Field(default=0.6, ge=0)
    """How far a target wanders about its place: standard deviation per axis, µm."""
    target_gap_um: float = Field(default=1.5)
    """Smallest gap between two targets at the start, µm; negative lets them overlap."""

    n_effectors: int = Field(default=50, ge=0)
    """Effectors in the field; 0 is a control of targets alone."""
    effector_diameter_um: float = Field(default=10.0, gt=0)
    """Mean diameter of an effector, µm."""
    effector_speed_um_min: float = Field(default=2.2, gt=0)
    """Mean speed of a searching effector, µm/min."""
    responsive_frac: float = Field(default=1.0, ge=0, le=1)
    """Share of the effectors that turn towards targets and bind them; the others walk on."""
    persistence_min: float = Field(default=8.0, gt=0)
    """Time over which a searching effector keeps its direction, min."""
    size_cv: float = Field(default=0.08, ge=0, le=0.4)
    """Cell-to-cell spread of diameters, as sigma of a log-normal."""

    sense_um: float = Field(default=6.0, ge=0)
    """Gap at which a searching effector turns towards a live target, µm."""
    clearance_um: float = Field(default=3.0, ge=0)
    """Gap that an effector keeps from a target to which it is not bound, µm; 0 lets passers touch."""
    overlap_um: float = Field(default=1.0, ge=0)
    """How far the outlines of a bound pair overlap, µm."""
    max_bound: int = Field(default=3, ge=1)
    """Effectors that a target can hold at once."""
    dwell_min: tuple[float, float] = (10.0, 40.0)
    """Shortest and longest duration of a contact that does not kill, min."""
    kill_probability: float = Field(default=0.22, ge=0, le=1)
    """Chance that a contact with a target that is not yet hit kills it."""
    kill_delay_min: tuple[float, float] = (15.0, 45.0)
    """Shortest and longest time from the start of a lethal contact to death, min."""
    release_min: float = Field(default=4.0, ge=0)
    """Mean time for which effectors stay bound to a target that died, min."""
    refractory_min: float = Field(default=20.0, ge=0)
    """Time for which an effector that let go avoids the same target, min."""
    spontaneous_deaths_per_h: float = Field(default=0.01, ge=0)
    """Rate at which a target dies without an effector's help, per target and hour."""
    divisions_per_h: float = Field(default=0.0, ge=0)
    """Rate at which a live target that nobody holds divides, per target and hour; daughters do not divide."""

    hard: HardCases = HardCases()
    """Hard cases to plant."""
    optics: Optics = Optics()
    """Stains, blur, background and camera."""

    @field_validator("dwell_min", "kill_delay_min")
    @classmethod
    def _shortest_first(cls, span: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= span[0] <= span[1]:
            raise ValueError(f"write the shortest time, then the longest, not {span}")
        return span

    @property
    def margin_um(self) -> float:
        """Width of the world around the field, µm."""
        return (self.drift_limit_px + self.jump_px) * self.pixel_size_um + self.target_diameter_um

    @property
    def duration_min(self) -> float:
        """From the first frame to the last, min."""
        return self.frame_interval_s / 60 * (self.n_frames - 1)

    @property
    def field_um(self) -> tuple[float, float]:
        """Height and width of the field, µm."""
        return self.height_px * self.pixel_size_um, self.width_px * self.pixel_size_um


@dataclass(frozen=True)
class Placed:
    """A position: its scene, its seed and its row of the plate (well, condition, control, replicate)."""

    scene: Scene
    seed: int
    plate: Mapping[str, str]


@dataclass(frozen=True)
class Culture:
    """A set of positions with a title; `radius_um` is the contact radius that its truth is told with, µm."""

    title: str
    radius_um: float
    positions: Mapping[str, Placed]


class _Position(BaseModel):
    model_config = FROZEN

    name: str = Field(pattern=r"^[A-Za-z0-9_]+$")
    well: str
    condition: str
    control: Literal["", "negative"] = ""
    replicate: str = "1"
    seed: int = Field(ge=0)
    scene: dict[str, Any] = {}


class _File(BaseModel):
    model_config = FROZEN

    title: str
    radius_um: float = Field(default=2.0, gt=0)
    scene: dict[str, Any] = {}
    position: list[_Position] = Field(min_length=1)


def scene_files() -> dict[str, Path]:
    """The scenes that come with the package, by name."""
    return {path.stem: path for path in sorted(_FOLDER.glob("*.toml"))}


def load_scenes(name_or_path: str | Path) -> Culture:
    """Read a set of positions.

    Parameters
    ----------
    name_or_path : str or Path
        One of `scene_files`, or a TOML file: title, radius_um, a table [scene] with the knobs of `Scene`, and
        [[position]] with name, well, condition, control, replicate, seed and a table scene of what differs.

    Raises
    ------
    ConfigError
        Where there is no such file, or a key or value in it cannot be meant; all of them are named.
    """
    path = scene_files().get(str(name_or_path), Path(name_or_path))
    if not path.is_file():
        hint = nearest(str(name_or_path), scene_files())
        raise ConfigError(
            f"no scenes {str(name_or_path)!r}{hint}",
            f"Name one of {', '.join(scene_files())}, or a TOML file.",
        )
    try:
        data = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}", "Mend the line.") from None
    file = _valid(_File, data, path, "")
    _valid(Scene, file.scene, path, "scene.")
    positions: dict[str, Placed] = {}
    for index, position in enumerate(file.position):
        if position.name in positions:
            raise ConfigError(f"{path}: two positions are named {position.name!r}", "Rename one.")
        scene = _valid(Scene, _merged(file.scene, position.scene), path, f"position.{index}.scene.")
        plate = {key: getattr(position, key) for key in ("well", "condition", "control", "replicate")}
        positions[position.name] = Placed(scene, position.seed, plate)
    return Culture(file.title, file.radius_um, positions)


def demo_scenes() -> dict[str, tuple[Scene, int]]:
    """Scenes of the demo dataset with their seeds, by position: `coculture` and the control `targets_alone`.

    Both last two hours at a frame every two minutes. About half of the targets die in the co-culture.
    """
    return {name: (placed.scene, placed.seed) for name, placed in load_scenes("demo").positions.items()}


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes`, tables in tables included."""
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def _valid(model: type[Model], data: Mapping[str, Any], path: Path, prefix: str) -> Model:
    """The model of `data`; ConfigError with the file and each key that is wrong."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        lines = [_said(found, model, prefix) for found in error.errors(include_url=False)]
        raise ConfigError(f"{path}: " + "; ".join(lines), "Mend these keys.") from None


def _said(found: Mapping[str, Any], model: type[BaseModel], prefix: str) -> str:
    """One complaint in words, with the nearest known key."""
    loc = [str(part) for part in found["loc"]]
    key = prefix + ".".join(loc)
    if found["type"] != "extra_forbidden":
        return f"{key.rstrip('.')}: {found['msg']}"
    for part in loc[:-1]:
        inner = model.model_fields[part].annotation if part in model.model_fields else None
        if part == "position":
            model = _Position
        elif isinstance(inner, type) and issubclass(inner, BaseModel):
            model = inner
    return f"{key}: no such key{nearest(loc[-1], model.model_fields)}"
