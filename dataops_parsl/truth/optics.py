"""How simulated cells become counts."""

from __future__ import annotations

import math

from pydantic import BaseModel, ConfigDict, Field

FROZEN = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
_DOME_MEAN = (1 - 0.2**1.5) / 1.2  # of sqrt(1 - 0.8 r²) over the unit disc, the profile that is rendered
_NUCLEUS_MEAN = 0.55 * _DOME_MEAN + 0.6 * 0.36  # the dead cell's nucleus fills 0.6² of it


class Optics(BaseModel):
    """How cells become counts: stains, blur, background, camera. Intensities are counts above background."""

    model_config = FROZEN

    snr: float | None = Field(default=None, gt=0)
    """Signal to noise of a pixel in a typical cell; if set, it replaces the `*_counts`, see `counts`."""
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
    effector_dye_left_frac: float = Field(default=0.6, ge=0, le=1)
    """Share of its stain that a dead effector keeps for ever; it loses the rest as fast as a target does."""
    effector_bleach_min: float = Field(default=0.0, ge=0)
    """Time constant with which `ctdr` bleaches, min; 0: it does not."""
    target_bleach_min: float = Field(default=0.0, ge=0)
    """Time constant with which `gfp` bleaches, min; 0: it does not."""
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

    def counts(self) -> tuple[float, float, float]:
        """Typical intensities of effectors, live targets and the death marker, counts above background.

        With `snr`, the mean signal S of a typical cell is that for which
        ``S = snr * sqrt((S + background_counts) / electrons_per_count + read_noise_counts**2)``: the mean
        inside the cell's outline, without blur, bleaching and vignetting, over the standard deviation of the
        shot and read noise of one pixel there. The intensity is S over the mean of the cell's profile.
        """
        if self.snr is None:
            return self.effector_counts, self.target_counts, self.death_counts
        shot = self.snr**2 / self.electrons_per_count
        still = self.snr**2 * (self.background_counts / self.electrons_per_count + self.read_noise_counts**2)
        signal = shot / 2 + math.sqrt(shot**2 / 4 + still)
        return signal / _DOME_MEAN, signal / _DOME_MEAN, signal / _NUCLEUS_MEAN
