"""register_denoise: the drift of each frame is found, chained over the film, and undone; images for
segmentation are denoised."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from dataops_parsl.algorithms import drift
from dataops_parsl.algorithms.anchors import FIRST, Anchors, Known, Placed, Strategy
from dataops_parsl.algorithms.denoise import denoise
from dataops_parsl.algorithms.drift import IDENTITY, NOTHING, Found
from dataops_parsl.algorithms.shift import compose, farthest_px, invert
from dataops_parsl.errors import ConfigError, nearest
from dataops_parsl.film import Film
from dataops_parsl.stage import Pixels, Stack, Stage, step
from dataops_parsl.stages.register_compare import Comparison, is_sure
from dataops_parsl.stages.register_tables import (
    FRAMES,
    PLACED,
    SHIFTS,
    TRANSFORMS,
    Compared,
    compared_at,
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
    version: ClassVar[int] = 4

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
    first: the first frame that can be used, for short films that hardly change."""

    keyframe_every: int = Field(10, ge=1)
    """For the strategy keyframe: frames whose number is a multiple of this are keyframes."""

    min_confidence: float = Field(0.95, ge=0, le=1)
    """Chance that the drift is right to one pixel, below which a frame keeps the drift of the one before and
    is marked as not valid. 0.95 is a standard error of 0.5 px. It is low where few cells are seen and all of
    them walk: nothing then tells the stage from the cells."""

    jump_px: float = Field(10.0, gt=0)
    """A drift of more than this since the last registered frame, anywhere in the field, is reported as a jump
    of the stage."""

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
        """Frames that `frame` may be compared with, and itself."""
        if not self.register_frames:
            return [frame]
        anchors = self._anchors
        return [*anchors.references(frame), *anchors.stand_ins(frame), *anchors.last_resorts(frame), frame]

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
        comparison = Comparison(self._anchors, self.transform, self.min_confidence)
        best = comparison.best(stack, frame, moving)
        if best is None:
            return shift_row(-1, NOTHING, None, seen=False)
        return shift_row(*best, detail_px)

    def _is_sure(self, found: Found) -> bool:
        return is_sure(found, self.min_confidence)

    @step(
        scope="prefix",
        gives={"transforms": TRANSFORMS},
        facts=("shape_px",),
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
        compared = compared_at(shifts, frame)
        if not self.register_frames:
            return placed_row(FIRST, -1, 1.0, valid=True), None
        carry = carry or {"known": {}, "last": None, "detail_px": None}
        known: Known = {int(f): placed(p) for f, p in carry["known"].items()}
        last = placed(carry["last"]) if carry["last"] else None
        if last is None and compared.seen:
            (compared, known), last = self._begun(compared, known), FIRST
        here, reason = self._place(frame, compared, known)
        step_px = None
        if last is not None and reason is None:
            step_px = farthest_px(compose(invert(last.shift), here.shift), film.shape_px)
        detail_px, before_px = compared.detail_px, carry["detail_px"]
        refocused = bool(
            detail_px and before_px and abs(math.log(detail_px / before_px)) > math.log1p(self.refocus_frac)
        )
        columns = placed_row(
            here,
            compared.reference,
            compared.found.confidence,
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
            "last": carry["last"] if reason else parts(here),
            "detail_px": detail_px or before_px,
        }

    def _begun(self, compared: Compared, known: Known) -> tuple[Compared, Known]:
        """The first frame that shows anything is the film's origin, or tells where that was."""
        if self._is_sure(compared.found):
            # What others can be registered to is the origin, though it failed or seemed empty itself.
            return compared, {**known, compared.reference: FIRST}
        return compared._replace(reference=-1, found=Found(IDENTITY, 1.0, 0.0)), known

    def _place(self, frame: int, compared: Compared, known: Known) -> tuple[Placed, str | None]:
        """A frame's drift since the first one; and why it is that of the frame before, where it is."""
        reference, found = compared.reference, compared.found
        if reference < 0 and self._is_sure(found):
            return FIRST, None
        reason = None
        if not compared.seen:
            reason = "nothing is seen in it"
        elif reference < 0:
            reason = "no frame before it serves: those it may be compared with are out, unreadable or empty"
        elif not math.isfinite(found.error_px):
            reason = (
                f"compared with frame {reference} nothing tells its drift: too little is seen in one of them"
            )
        elif not self._is_sure(found):
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
        return Placed(known[max(known)].shift if known else IDENTITY, math.inf), reason

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
