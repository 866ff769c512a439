"""How the killing stage scores life and death: one threshold a dataset, a score for each observation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataops_parsl.algorithms import deaths as fates
from dataops_parsl.tables import Rows

NEGATIVE = "negative"
"""What the column control says where nothing should die: these positions set the death threshold."""
_HIGH_PERCENTILE = 99.0
Limits = tuple[float, float]


@dataclass(frozen=True)
class Rule:
    """How life and death are told in one dataset: a row of the table `thresholds`.

    Attributes
    ----------
    name : str
        marker, cdi or target_loss.
    death_channel, live_channel : str
        Empty for none.
    threshold : float
        Death score above which a cell is dead; NaN: unknown.
    live_limits, death_limits : (low, high) or None
        Counts that become 0 and 1, for cdi.
    """

    name: str
    death_channel: str
    live_channel: str
    threshold: float
    live_limits: Limits | None = None
    death_limits: Limits | None = None

    @classmethod
    def of(cls, thresholds: Rows) -> Rule:
        """The rule that the table holds."""
        row = thresholds.table.to_pylist()[0]
        limits = {
            f"{stain}_limits": (row[f"{stain}_low_count"], row[f"{stain}_high_count"])
            for stain in ("live", "death")
            if row[f"{stain}_high_count"] is not None
        }
        threshold = float("nan") if row["threshold"] is None else float(row["threshold"])
        return cls(row["rule"], row["channel"] or "", row["live_channel"] or "", threshold, **limits)

    @property
    def known(self) -> bool:
        """Whether anything can be said of life and death."""
        return bool(np.isfinite(self.threshold))

    def target_scores(self, objects: Rows) -> NDArray[np.float64]:
        """Death score of each object as a target; dye loss needs whole tracks: see `along`."""
        if self.name == "target_loss" and self.live_channel:
            return np.asarray(objects[f"mean_bg_{self.live_channel}"], np.float64)
        if not self.death_channel:
            return np.full(len(objects), np.nan)
        if self.name == "marker":
            return np.asarray(objects[f"p95_bg_{self.death_channel}"], np.float64)
        if self.live_limits is None or self.death_limits is None:
            return np.full(len(objects), np.nan)
        return fates.death_index(
            objects[f"mean_bg_{self.live_channel}"],
            objects[f"mean_bg_{self.death_channel}"],
            self.live_limits,
            self.death_limits,
        )

    def effector_scores(self, objects: Rows) -> NDArray[np.float64]:
        """Death score of each object as an effector: the median of the marker in its own pixels.

        A dead cell is stained all through; a live one that lies on a dead target shows its glow at the rim,
        which a high percentile would take for its own.
        """
        if self.name != "marker" or not self.death_channel:
            return np.full(len(objects), np.nan)
        return np.asarray(objects[f"p50_bg_{self.death_channel}"], np.float64)

    def along(self, score: NDArray[np.float64], usable: NDArray[np.bool_]) -> NDArray[np.float64]:
        """The score along one track, in order of time."""
        if self.name != "target_loss":
            return score
        return fates.dye_loss(np.where(usable, score, np.nan))


def cdi_limits(
    live: NDArray[np.float64], death: NDArray[np.float64], control_death: NDArray[np.float64], n_mads: float
) -> tuple[Limits, Limits] | None:
    """Limits of the two stains, from all targets of the dataset and those of its negative controls.

    The upper limit of the death stain is at least twice what the controls never reach: where nothing dies,
    the brightest cell is not dead.
    """
    floor = fates.control_threshold(control_death, n_mads)
    if not np.isfinite(floor) or not np.isfinite(live).any():
        return None
    high_live = float(np.nanpercentile(live, _HIGH_PERCENTILE))
    high_death = max(float(np.nanpercentile(death, _HIGH_PERCENTILE)), 2 * floor)
    if high_live <= 0 or high_death <= 0:
        return None
    return (0.0, high_live), (0.0, high_death)


def warning(rule: Rule, scores: NDArray[np.float64], given: bool) -> str | None:
    """A word on a threshold that no score of any target lies on the other side of.

    One from controls that nothing exceeds is no oddity: nobody died.
    """
    known = scores[np.isfinite(scores)]
    if rule.name != "marker" or not rule.known or not known.size:
        return None
    low, high = float(known.min()), float(known.max())
    if low <= rule.threshold and (rule.threshold <= high or not given):
        return None
    where, so = ("below", "all targets count as dead") if rule.threshold < low else ("above", "none can die")
    return (
        f"the death threshold {rule.threshold:.6g} lies {where} every death score seen "
        f"({low:.0f} to {high:.0f}): {so}"
    )


def threshold_row(rule: Rule, source: str, warned: str | None, **roles: Any) -> dict[str, Any]:
    """The row of the table `thresholds`; `roles` are its first columns: who may kill whom."""
    live, death = rule.live_limits or (None, None), rule.death_limits or (None, None)
    values = {
        **roles,
        "rule": rule.name,
        "channel": rule.death_channel or None,
        "live_channel": rule.live_channel or None,
        "threshold": rule.threshold if rule.known else None,
        "live_low_count": live[0],
        "live_high_count": live[1],
        "death_low_count": death[0],
        "death_high_count": death[1],
        "source": source,
        "warning": warned,
    }
    return {name: [value] for name, value in values.items()}
