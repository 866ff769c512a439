"""What a simulated co-culture is made of: the knobs, with units, and the scenes of the demo dataset."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator

_FROZEN = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Optics(BaseModel):
    """How cells become counts: stains, blur, background, camera. Intensities are counts above background."""

    model_config = _FROZEN

    effector_counts: float = Field(default=520.0, ge=0)
    """Typical `ctdr` intensity of an effector."""
    target_counts: float = Field(default=420.0, ge=0)
    """Typical `gfp` intensity of a live target."""
    death_counts: float = Field(default=700.0, ge=0)
    """Typical plateau of `pi` in a dead target."""
    brightness_cv: float = Field(default=0.25, ge=0, le=1)
    """Cell-to-cell spread of staining, as sigma of a log-normal."""
    texture_frac: float = Field(default=0.25, ge=0, le=1)
    """Height of the grains of stain inside a cell, relative to its mean; registration sees them move."""
    target_dye_left_frac: float = Field(default=0.25, ge=0, le=1)
    """Share of the live stain that a dead target keeps for ever."""
    target_dye_loss_min: float = Field(default=30.0, gt=0)
    """Time constant with which a dead target loses the rest of its live stain, min."""
    death_rise_min: float = Field(default=3.0, gt=0)
    """Time constant with which the death marker rises to its plateau, min."""
    bleed_frac: float = Field(default=0.02, ge=0, le=1)
    """Share of the live stain that is seen in the death marker's channel."""
    psf_sigma_px: float = Field(default=0.9, ge=0)
    """Blur of the objective, standard deviation in px."""
    background_counts: float = Field(default=70.0, ge=0)
    """Medium and autofluorescence at the brightest place of the field."""
    vignetting_frac: float = Field(default=0.3, ge=0, le=0.9)
    """Loss of light from the centre of illumination to the farthest corner."""
    offset_counts: float = Field(default=100.0, ge=0)
    """Camera offset."""
    electrons_per_count: float = Field(default=0.8, gt=0)
    """Photo-electrons per count: shot noise has a variance of signal / electrons_per_count."""
    read_noise_counts: float = Field(default=2.5, ge=0)
    """Standard deviation of the camera's read noise."""


class Scene(BaseModel):
    """One field of view: its geometry, its cells and what they do to each other.

    The world is larger than the field by a margin, so that drift and migration bring cells in and out.
    Numbers of cells are those expected inside the field; the margin is filled at the same density.
    Everything that is random follows from the seed given to `simulate`.
    """

    model_config = _FROZEN

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
        return self.drift_limit_px * self.pixel_size_um + self.target_diameter_um

    @property
    def field_um(self) -> tuple[float, float]:
        """Height and width of the field, µm."""
        return self.height_px * self.pixel_size_um, self.width_px * self.pixel_size_um


def demo_scenes() -> dict[str, tuple[Scene, int]]:
    """Scenes of the demo dataset with their seeds, by position: `coculture` and the control `targets_alone`.

    Both last two hours at a frame every two minutes. About half of the targets die in the co-culture.
    """
    scene = Scene()
    return {"coculture": (scene, 33), "targets_alone": (scene.model_copy(update={"n_effectors": 0}), 12)}
