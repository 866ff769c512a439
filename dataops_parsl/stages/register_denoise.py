"""register_denoise: the drift of each frame is found, chained over the film, and undone; images for
segmentation are denoised."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from dataops_parsl.algorithms import drift
from dataops_parsl.algorithms.anchors import EXACT_PX, FIRST, Anchors, Placed, Strategy, shortest
from dataops_parsl.algorithms.denoise import denoise
from dataops_parsl.algorithms.drift import Found
from dataops_parsl.errors import ConfigError, nearest
from dataops_parsl.film import Film
from dataops_parsl.stage import Pixels, Stack, Stage, readable, step
from dataops_parsl.stages.register_tables import (
    FRAMES,
    PLACED,
    SHIFTS,
    TRANSFORMS,
    or_null,
    parts,
    placed,
    placed_row,
    shift_at,
    shift_row,
)
from dataops_parsl.tables import Rows


class RegisterDenoise(Stage):
    """Undo the drift of the stage, and denoise what is segmented."""

    name: ClassVar[str] = "register_denoise"
    version: ClassVar[int] = 3

    register_frames: bool = True
    """Whether drift is looked for at all. Off for single frames and films that do not drift."""

    channel: str = ""
    """Channel that the drift is found on: a structural or target stain, never effectors, which move.
    Empty: the first channel that the population "target" is segmented from, else of the first population
    that is not "effector"."""

    transform: drift.Transform = "translation"
    """What may have happened between frames: a shift; a rotation as well (rigid, up to about 3 degrees); or
    stretch and shear as well (affine, up to about 4 %)."""

    strategy: Strategy = "keyframe"
    """What a frame is compared with. keyframe: the last keyframe, these with each other over ever longer
    distances, so that errors hardly add up; previous: the frame before, for films that change fast;
    first: the first frame, for short films that hardly change."""

    keyframe_every: int = Field(10, ge=1)
    """For the strategy keyframe: frames whose number is a multiple of this are keyframes."""

    min_confidence: float = Field(0.95, ge=0, le=1)
    """Chance that the drift is right to one pixel, below which a frame keeps the drift of the one before and
    is marked as not valid. 0.95 is a standard error of 0.5 px. It is low where few cells are seen and all of
    them walk: nothing then tells the stage from the cells."""

    jump_px: float = Field(10.0, gt=0)
    """A drift of more than this since the last registered frame is reported as a jump of the stage."""

    refocus_frac: float = Field(0.3, gt=0)
    """A change of the finest structure's size by more than this part of it, from one frame to the next, is
    reported as a change of focus."""

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

    @property
    def _anchors(self) -> Anchors:
        return Anchors(self.strategy, self.keyframe_every)

    def reference_frames(self, frame: int) -> list[int]:
        """Frames that `frame` may be compared with, and itself: references, stand-ins, in-betweens."""
        if not self.register_frames:
            return [frame]
        anchors = self._anchors
        return [*anchors.references(frame), *anchors.stand_ins(frame), *anchors.between(frame), frame]

    @step(
        scope="batch",
        gives={"shifts": SHIFTS},
        facts=("channels", "segments"),
        window={"raw": "reference_frames"},
        parameters=(
            "register_frames",
            "channel",
            "transform",
            "strategy",
            "keyframe_every",
            "min_confidence",
        ),
    )
    def estimate(self, film: Film, frame: int, raw: Mapping[str, Stack]) -> dict[str, Any]:
        """Find the drift of one frame against the first of its references that it can be registered to."""
        if not self.register_frames:
            return shift_row(-1, Found(drift.IDENTITY, 1.0, 0.0), None)
        stack = raw[self._channel(film)]
        moving = stack[frame]
        if moving is None:
            raise ValueError(f"channel {self._channel(film)!r} has no image here")
        detail_px = or_null(drift.detail_px(moving))
        reference, found = self._best(stack, frame, moving)
        return shift_row(reference, found, detail_px)

    def _best(self, stack: Stack, frame: int, moving: NDArray[Any]) -> tuple[int, Found]:
        """The reference that `frame` was registered to, or came closest to being; -1 if none can be read."""
        anchors = self._anchors
        tried: list[tuple[int, Found]] = []
        for reference, found in self._compared(stack, anchors.references(frame), moving):
            tried.append((reference, found))
            if found.error_px <= EXACT_PX:
                break
        sure = [one for one in tried if one[1].confidence >= self.min_confidence]
        if sure:
            return sure[shortest([found.error_px for _, found in sure])]
        # A reference may be a bad frame itself: then its neighbours serve.
        for candidates, also_after_failure in (
            (anchors.stand_ins(frame), self.strategy != "first"),
            (anchors.between(frame), False),
        ):
            if tried and not also_after_failure:
                continue
            for reference, found in self._compared(stack, candidates, moving):
                tried.append((reference, found))
                if found.confidence >= self.min_confidence or not also_after_failure:
                    break
        return max(tried, key=lambda one: one[1].confidence, default=(-1, Found(drift.IDENTITY, 1.0, 0.0)))

    def _compared(
        self, stack: Stack, references: list[int], moving: NDArray[Any]
    ) -> Iterator[tuple[int, Found]]:
        """The drift against each reference that can be read, as it is asked for."""
        for reference in references:
            image = readable(stack, reference)
            if image is not None:
                yield reference, drift.estimate(image, moving, transform=self.transform)

    @step(
        scope="prefix",
        gives={"transforms": TRANSFORMS},
        parameters=(
            "register_frames",
            "strategy",
            "keyframe_every",
            "min_confidence",
            "jump_px",
            "refocus_frac",
        ),
    )
    def chain(self, film: Film, frame: int, carry: Any, shifts: Rows) -> tuple[dict[str, Any], Any]:
        """Chain a frame's shift to the drift of its reference; carries the drifts of frames still needed."""
        row = shifts.at(frame)
        reference, confidence = int(row["reference_frame"][0]), float(row["confidence"][0])
        if not self.register_frames:
            return placed_row(FIRST, reference, confidence, valid=True), None
        known = {int(f): placed(p) for f, p in (carry or {}).get("known", {}).items()}
        found = Placed(shift_at(shifts, frame), float(row["error_px"][0]))
        here, reason = self._place(frame, reference, confidence, found, known)
        last = placed(carry["last"]) if carry else here
        step_px = (
            None
            if reason
            else math.dist((last.shift.dy_px, last.shift.dx_px), (here.shift.dy_px, here.shift.dx_px))
        )
        detail_px, before_px = or_null(float(row["detail_px"][0])), (carry or {}).get("detail_px")
        refocused = bool(
            detail_px and before_px and abs(math.log(detail_px / before_px)) > math.log1p(self.refocus_frac)
        )
        columns = placed_row(
            here,
            reference,
            confidence,
            detail_px=detail_px,
            step_px=step_px,
            jump=step_px is not None and step_px > self.jump_px,
            refocused=refocused,
            valid=reason is None,
            reason=reason,
        )
        anchors = self._anchors
        kept = {f: p for f, p in {**known, frame: here}.items() if anchors.is_needed(f, frame) or f == frame}
        return columns, {
            "known": {str(f): parts(p) for f, p in kept.items()},
            "last": parts(last if reason else here),
            "detail_px": detail_px or before_px,
        }

    def _place(
        self, frame: int, reference: int, confidence: float, found: Placed, known: dict[int, Placed]
    ) -> tuple[Placed, str | None]:
        """A frame's drift since the first one; and why it is that of the frame before, where it is."""
        if not known:
            return FIRST, None
        reason = None
        if reference < 0:
            reason = "no frame before it to compare with"
        elif confidence < self.min_confidence:
            reason = (
                f"compared with frame {reference} its drift has a standard error of {found.error_px:.2g} px: "
                "too little is seen, or all of it moves by itself"
            )
        elif reference not in known:
            reason = f"its reference, frame {reference}, failed"
        elif not self._anchors.may_build_on(frame, reference, known[reference]):
            reason = f"its reference, frame {reference}, could not be registered itself"
        if reason is None:
            return self._anchors.chain(reference, found.shift, found.error_px, known), None
        return Placed(known[max(known)].shift, math.inf), reason

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
        for name in (column.name for column in PLACED):
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
