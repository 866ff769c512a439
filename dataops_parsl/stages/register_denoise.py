"""register_denoise: the drift of each frame is found, chained over the film, and undone; images for
segmentation are denoised."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from dataops_parsl.algorithms import drift
from dataops_parsl.algorithms.denoise import denoise
from dataops_parsl.algorithms.drift import Shift
from dataops_parsl.errors import ConfigError, nearest
from dataops_parsl.film import Film
from dataops_parsl.stage import Pixels, Stack, Stage, readable, step
from dataops_parsl.tables import Column, Rows, Schema

FALLBACKS = 2
"""Frames before a keyframe that stand in for it when it cannot be used."""

_DRIFT = (
    Column("dy_px", "float64", "drift of the content since the first frame, down", "px"),
    Column("dx_px", "float64", "drift of the content since the first frame, to the right", "px"),
    Column("angle_deg", "float64", "rotation of the content since the first frame", "deg"),
    Column(
        "confidence", "float64", "correlation with the reference after alignment", "frac", low=0, high=1.0001
    ),
)
_FRAME_KEY = (
    Column("position_id", "string", "field of view", key=True),
    Column("frame", "int64", "0-based frame", key=True, low=0),
)
SHIFTS = Schema(
    "shifts",
    "a frame against its reference frame",
    (
        *_FRAME_KEY,
        Column("reference_frame", "int64", "frame that it was compared with; -1 for none"),
        *_DRIFT,
    ),
)
TRANSFORMS = Schema(
    "transforms",
    "a frame's drift since the first frame",
    (
        *_FRAME_KEY,
        *_DRIFT,
        Column("valid", "bool", "whether the frame could be registered"),
        Column("reason", "string", "why not"),
    ),
)
FRAMES = Schema(
    "frames",
    "a frame",
    (
        *_FRAME_KEY,
        Column("time_s", "float64", "acquisition time since the film's start", "s"),
        *_DRIFT,
        Column("valid", "bool", "whether the frame could be registered and used"),
        Column("reason", "string", "why not: excluded, failed, or not registered"),
    ),
)


class RegisterDenoise(Stage):
    """Undo the drift of the stage, and denoise what is segmented."""

    name: ClassVar[str] = "register_denoise"
    version: ClassVar[int] = 2

    register_frames: bool = True
    """Whether drift is looked for at all. Off for single frames and films that do not drift."""

    channel: str = ""
    """Channel that the drift is found on: a structural or target stain, never effectors, which move.
    Empty: the first channel that the population "target" is segmented from, else of the first population
    that is not "effector"."""

    transform: Literal["translation", "rigid"] = "translation"
    """What may have happened between frames: a shift, or a shift and a rotation."""

    keyframe_every: int = Field(10, ge=1)
    """Frames are compared with the last frame whose number is a multiple of this; these are chained.
    1 compares each frame with the one before."""

    min_confidence: float = Field(0.2, ge=0, le=1)
    """Below this correlation with every reference, a frame keeps the drift of the one before and is
    marked as not valid."""

    denoise: Literal["nlm", "ants", "off"] = "nlm"
    """Denoising of what is segmented (never of what is measured): nlm, non-local means for the noise of a
    camera; ants, ants.denoise_image, which takes some twelve times as long; or none."""

    def check(self, film: Film) -> None:
        """Refuse a registration channel that is not there, or that only effectors are seen in."""
        if self.register_frames:
            self._channel(film)

    def _channel(self, film: Film) -> str:
        channels = film.channels
        if self.channel:
            if self.channel not in channels or channels[self.channel].labels:
                raise ConfigError(
                    f"stages.register_denoise.channel = {self.channel!r} is no image channel of this dataset"
                    f"{nearest(self.channel, channels)}",
                    f"its channels are {', '.join(channels)}",
                )
            if channels[self.channel].every > 1:
                raise ConfigError(
                    f"stages.register_denoise.channel = {self.channel!r} was acquired only every "
                    f"{channels[self.channel].every} frames",
                    "choose a channel that every frame has",
                )
            return self.channel
        names = sorted(film.segments, key=lambda n: (n != "target", list(film.segments).index(n)))
        effectors = set(film.segments.get("effector", ()))
        if len(names) > 1 and not {"target", "effector"} & set(names):
            raise ConfigError(
                "no channel to find the drift on: it is not known which of "
                f"{', '.join(names)} stay and which move",
                "set stages.register_denoise.channel to a stain of cells that stay",
            )
        for name in names:
            for channel in film.segments[name]:
                known = channels[channel]
                if name != "effector" and channel not in effectors and known.every == 1:
                    return channel
        raise ConfigError(
            "no channel to find the drift on: effectors move, so their stain is never taken by itself",
            "set stages.register_denoise.channel to a structural channel, or "
            "stages.register_denoise.register_frames = false",
        )

    def reference_frames(self, frame: int) -> list[int]:
        """Frames that `frame` may be compared with, and itself: keyframe, stand-ins, in-betweens."""
        return [*self._candidates(frame), frame] if self.register_frames else [frame]

    def _candidates(self, frame: int) -> list[int]:
        anchor = (frame - 1) // self.keyframe_every * self.keyframe_every if frame else -1
        before = [f for f in range(anchor, anchor - FALLBACKS - 1, -1) if f >= 0]
        return before + list(range(max(anchor, 0) + 1, frame)) if frame else []

    @step(
        scope="batch",
        gives={"shifts": SHIFTS},
        facts=("channels", "segments"),
        window={"raw": "reference_frames"},
        parameters=("register_frames", "channel", "transform", "keyframe_every", "min_confidence"),
    )
    def estimate(self, film: Film, frame: int, raw: Mapping[str, Stack]) -> dict[str, Any]:
        """Find the drift of one frame against its keyframe, or the next usable frame before it."""
        if not self.register_frames:
            return _row(reference_frame=-1, dy_px=0.0, dx_px=0.0, angle_deg=0.0, confidence=1.0)
        stack = raw[self._channel(film)]
        moving = stack[frame]
        if moving is None:
            raise ValueError(f"channel {self._channel(film)!r} has no image here")
        best: tuple[float, int, Shift] = (-1.0, -1, drift.IDENTITY)
        tried = 0
        for candidate in self._candidates(frame):
            reference = readable(stack, candidate)
            if reference is None:
                continue
            shift, confidence = drift.estimate(reference, moving, transform=self.transform)
            best = max(best, (confidence, -candidate, shift), key=lambda b: b[0])
            tried += 1
            if confidence >= self.min_confidence or tried > FALLBACKS:
                break
        confidence, reference_frame, shift = best
        if not tried:
            return _row(reference_frame=-1, dy_px=0.0, dx_px=0.0, angle_deg=0.0, confidence=1.0)
        return _row(
            reference_frame=-reference_frame,
            dy_px=shift.dy_px,
            dx_px=shift.dx_px,
            angle_deg=shift.angle_deg,
            confidence=confidence,
        )

    @step(
        scope="prefix",
        gives={"transforms": TRANSFORMS},
        parameters=("register_frames", "keyframe_every", "min_confidence"),
    )
    def chain(self, film: Film, frame: int, carry: Any, shifts: Rows) -> tuple[dict[str, Any], Any]:
        """Chain a frame's shift to the drift of its reference; carries the drifts of recent frames."""
        row = shifts.at(frame)
        reference, confidence = int(row["reference_frame"][0]), float(row["confidence"][0])
        known: dict[str, list[float]] = dict(carry or {})
        here, reason = drift.IDENTITY, None
        if not self.register_frames:
            return _row(**vars(here), confidence=confidence, valid=True, reason=None), None
        if reference < 0 and known:
            reason = "no frame before it to compare with"
        elif reference >= 0 and confidence < self.min_confidence:
            reason = f"correlation {confidence:.2f} with frame {reference} is below {self.min_confidence}"
        elif reference >= 0 and str(reference) not in known:
            reason = f"its reference, frame {reference}, failed"
        elif reference >= 0:
            found = Shift(*(float(row[n][0]) for n in ("dy_px", "dx_px", "angle_deg")))
            here = drift.compose(Shift(*known[str(reference)]), found)
        if reason is not None and known:
            here = Shift(*known[max(known, key=int)])
        known[str(frame)] = [here.dy_px, here.dx_px, here.angle_deg]
        oldest = frame - self.keyframe_every - FALLBACKS - 1
        carry = {f: s for f, s in known.items() if int(f) >= oldest}
        return _row(**vars(here), confidence=confidence, valid=reason is None, reason=reason), carry

    @step(
        scope="batch",
        gives={"denoised": Pixels("raw", per_channel=True)},
        facts=("segments", "excludes"),
        parameters=("denoise",),
    )
    def apply(
        self, film: Film, frame: int, raw: Mapping[str, Stack], transforms: Rows
    ) -> dict[str, dict[str, NDArray[Any]]]:
        """Denoise, then move, the channels that are segmented; invented pixels get the median."""
        shift = shift_at(transforms, frame)
        out = {}
        used = [*film.segments.values(), *film.excludes.values()]
        for channel in dict.fromkeys(c for channels in used for c in channels):
            image = raw[channel][frame]
            if image is None:
                continue
            clean = np.asarray(image, np.float32) if self.denoise == "off" else denoise(image, self.denoise)
            out[channel] = drift.apply(clean, shift, fill=float(np.median(clean)))
        return {"denoised": out}

    @step(scope="film", gives={"frames": FRAMES}, facts=("time_s", "excluded", "n_frames"), parameters=())
    def report(self, film: Film, transforms: Rows) -> dict[str, Any]:
        """One row for every frame of the film, excluded and failed ones too."""
        have = {int(f): i for i, f in enumerate(transforms["frame"])}
        frames = list(range(film.n_frames))
        excluded, index = film.excluded, [have.get(f) for f in frames]
        columns: dict[str, Any] = {"frame": frames, "time_s": [film.time_s[f] for f in frames]}
        for name in ("dy_px", "dx_px", "angle_deg", "confidence"):
            columns[name] = [None if i is None else transforms[name][i] for i in index]
        columns["valid"] = [False if i is None else bool(transforms["valid"][i]) for i in index]
        columns["reason"] = [
            f"excluded: {excluded[f]}"
            if f in excluded
            else "failed"
            if i is None
            else transforms["reason"][i]
            for f, i in zip(frames, index, strict=True)
        ]
        return {**columns, "position_id": [film.position_id] * len(frames)}


def shift_at(transforms: Rows, frame: int) -> Shift:
    """The drift of a frame, from its row."""
    row = transforms.at(frame)
    if not len(row):
        raise ValueError("the frame was not registered")
    return Shift(float(row["dy_px"][0]), float(row["dx_px"][0]), float(row["angle_deg"][0]))


def _row(**values: Any) -> dict[str, Any]:
    return {name: [value] for name, value in values.items()}
