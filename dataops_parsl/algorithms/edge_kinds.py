"""What an edge of finished tracks is, where only its two objects are known."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

ObjectArray = npt.NDArray[np.object_]


def kinds(
    frame: npt.ArrayLike, source_row: npt.ArrayLike, target_row: npt.ArrayLike, cost: npt.ArrayLike
) -> ObjectArray:
    """Name each edge by where it leads.

    Parameters
    ----------
    frame : (N,) int
        Frame of each object.
    source_row, target_row : (E,) int
        Rows that each edge joins, the earlier one first.
    cost : (E,) float
        What each edge cost.

    Returns
    -------
    (E,) object
        "link" to the next frame, "gap" over missing frames. Of several edges from one object the one to the
        nearest frame is that, the cheapest if there are several (then the first target), and the others are
        "split".
    """
    frames = np.asarray(frame, np.int64).ravel()
    source, target = (np.asarray(rows, np.int64).ravel() for rows in (source_row, target_row))
    costs = np.asarray(cost, np.float64).ravel()
    steps = frames[target] - frames[source]
    made = np.where(steps == 1, "link", "gap").astype(object)
    order = np.lexsort((target, costs, steps, source))
    again = np.zeros(len(order), np.bool_)
    again[1:] = source[order][1:] == source[order][:-1]
    made[order[again]] = "split"
    return made
