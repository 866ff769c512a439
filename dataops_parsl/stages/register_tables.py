"""Tables of register_denoise, and their rows."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, NamedTuple

from dataops_parsl.algorithms.anchors import Placed
from dataops_parsl.algorithms.drift import NAMES, Found, Shift
from dataops_parsl.tables import Column, Rows, Schema

_DRIFT = (
    Column("dy_px", "float64", "drift of the content since {since}, down", "px"),
    Column("dx_px", "float64", "drift of the content since {since}, to the right", "px"),
    Column("angle_deg", "float64", "rotation of the content since {since}", "deg"),
    Column("scale_y_frac", "float64", "stretch of the content since {since}, down, before it turns", "frac"),
    Column("scale_x_frac", "float64", "the same, to the right", "frac"),
    Column("shear_frac", "float64", "the same, across: y moves by this much of x, and x of y", "frac"),
)
_SURE = (
    Column(
        "confidence",
        "float64",
        "chance that the drift since the reference is right to a pixel",
        "frac",
        low=0,
        high=1,
    ),
    Column("detail_px", "float64", "size of the finest structure: grows when the focus is lost", "px", low=0),
)
_FRAME_KEY = (
    Column("position_id", "string", "field of view", key=True),
    Column("frame", "int64", "0-based frame", key=True, low=0),
)
_REFERENCE = Column("reference_frame", "int64", "frame that it was compared with; -1 for none")


def _since(what: str) -> tuple[Column, ...]:
    return tuple(replace(column, meaning=column.meaning.format(since=what)) for column in _DRIFT)


PLACED = (
    *_since("the first frame"),
    _REFERENCE,
    *_SURE,
    Column("error_px", "float64", "standard error of the drift, summed over its references", "px", low=0),
    Column(
        "step_px",
        "float64",
        "drift since the last frame that was registered, the largest over the field",
        "px",
        low=0,
    ),
    Column("jump", "bool", "whether the stage jumped: a step of more than `jump_px`"),
    Column("refocused", "bool", "whether the focus changed: `detail_px` did by more than `refocus_frac`"),
)
SHIFTS = Schema(
    "shifts",
    "a frame against its reference frame",
    (
        *_FRAME_KEY,
        _REFERENCE,
        *_since("the reference"),
        *_SURE,
        Column("error_px", "float64", "standard error of that drift", "px", low=0),
        Column("seen", "bool", "whether anything is seen in the frame beyond noise"),
    ),
)
TRANSFORMS = Schema(
    "transforms",
    "a frame's drift since the first frame",
    (
        *_FRAME_KEY,
        *PLACED,
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
        *PLACED,
        Column("valid", "bool", "whether the frame could be registered and used"),
        Column("reason", "string", "why not: excluded, failed, or not registered"),
    ),
)


def shift_at(transforms: Rows, frame: int) -> Shift:
    """The drift of a frame, from its row."""
    row = transforms.at(frame)
    if not len(row):
        raise ValueError("the frame was not registered")
    return Shift(*(float(row[name][0]) for name in NAMES))


class Compared(NamedTuple):
    """A row of `SHIFTS`.

    Attributes
    ----------
    reference : int
        Frame that it was compared with; -1 for none.
    found : Found
        Its drift since then.
    detail_px : float or None
        Size of the finest structure.
    seen : bool
        Whether anything is seen in the frame.
    """

    reference: int
    found: Found
    detail_px: float | None
    seen: bool


def compared_at(shifts: Rows, frame: int) -> Compared:
    """What a frame's comparison gave, from its row."""
    shift, row = shift_at(shifts, frame), shifts.at(frame)
    error_px = float(row["error_px"][0])
    found = Found(shift, float(row["confidence"][0]), error_px if math.isfinite(error_px) else math.inf)
    return Compared(
        int(row["reference_frame"][0]), found, or_null(float(row["detail_px"][0])), bool(row["seen"][0])
    )


def shift_row(reference: int, found: Found, detail_px: float | None, *, seen: bool = True) -> dict[str, Any]:
    """A row of `SHIFTS`."""
    return _row(
        reference_frame=reference,
        **vars(found.shift),
        confidence=found.confidence,
        error_px=or_null(found.error_px),
        detail_px=detail_px,
        seen=seen,
    )


def placed_row(
    here: Placed, reference: int, confidence: float, *, valid: bool, **others: Any
) -> dict[str, Any]:
    """A row of `TRANSFORMS`; what `others` leaves out is unknown or did not happen."""
    nothing = {"detail_px": None, "step_px": None, "jump": False, "refocused": False, "reason": None}
    return _row(
        **vars(here.shift),
        reference_frame=reference,
        confidence=confidence,
        error_px=or_null(here.error_px),
        valid=valid,
        **(nothing | others),
    )


def or_null(value: float) -> float | None:
    """Infinite and NaN are unknown."""
    return value if math.isfinite(value) else None


def parts(where: Placed) -> list[float | None]:
    """For a carry, which is JSON."""
    return [*vars(where.shift).values(), or_null(where.error_px)]


def placed(parts: list[float | None]) -> Placed:
    """What :func:`parts` took apart."""
    *shift, error_px = parts
    return Placed(Shift(*(float(part or 0) for part in shift)), math.inf if error_px is None else error_px)


def _row(**values: Any) -> dict[str, Any]:
    return {name: [value] for name, value in values.items()}
