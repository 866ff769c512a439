"""Numbers as they are read: durations, times, shares, sizes. Unknown is a dash."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

UNKNOWN = "–"


def duration(seconds: float) -> str:
    """Such as ``48 s``, ``3 min 20 s`` or ``2 h 05 min``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def short_duration(seconds: float) -> str:
    """As `duration`, with a tenth of a second where that matters."""
    return f"{seconds:.1f} s" if seconds < 10 else duration(seconds)


def moment(text: str) -> str:
    """A time of ISO 8601 as ``26 Nov 2026, 10:44 UTC``."""
    try:
        return f"{datetime.fromisoformat(text).astimezone(UTC):%-d %b %Y, %H:%M} UTC"
    except ValueError:
        return text or UNKNOWN


def percent(share: float | None, digits: int = 0) -> str:
    """A share as ``45 %``."""
    return UNKNOWN if share is None else f"{100 * share:.{digits}f} %"


def number(value: Any, digits: int = 2) -> str:
    """A count with thousands apart, a measurement with so many significant digits at least."""
    if value is None:
        return UNKNOWN
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\u202f")
    if value == 0:
        return "0"
    return f"{value:.{digits}g}" if abs(value) < 10**digits else f"{value:.0f}"


def size(n_bytes: int) -> str:
    """Such as ``12.3 MB``; of 10^6 bytes."""
    value = float(n_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 99.5 else f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"


def many(n: int, word: str, plural: str = "") -> str:
    """Such as ``1 frame`` or ``12 frames``."""
    return f"{number(n)} {word if n == 1 else plural or word + 's'}"


def toml(value: Any) -> str:
    """A value as it is written in TOML."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)
