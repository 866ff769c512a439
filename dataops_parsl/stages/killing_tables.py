"""Schemas of the closing tables."""

from __future__ import annotations

from dataops_parsl.stages.measure import OBJECT_COLUMNS, OBJECT_KEY
from dataops_parsl.tables import Column, Reference, Schema

_POSITION = Column("position_id", "string", "field of view", key=True)
_POPULATION = Column("population", "string", "population", key=True)
_TRACK = Column("track_id", "int64", "unbranched track, numbered by first frame, then label", key=True, low=1)
_PLATE = (
    Column("well", "string", "well of the plate"),
    Column("condition", "string", "what was done to it"),
    Column("control", "string", "negative (nothing should die: sets the death threshold) or another kind"),
    Column("replicate", "string", "replicate"),
)
_OWN_TRACK = Reference(
    "tracks", (("position_id", "position_id"), ("population", "population"), ("track_id", "track_id"))
)

POSITIONS = Schema(
    "positions",
    "a field of view",
    (_POSITION, *_PLATE, Column("n_frames", "int64", "frames that this run covers", low=1)),
)
THRESHOLDS = Schema(
    "thresholds",
    "how deaths are called and credited in the whole dataset",
    (
        Column("population", "string", "population that may be killed"),
        Column("effector_population", "string", "population that may kill"),
        Column(
            "window_min",
            "float64",
            "effectors in contact within so long before a death are candidates",
            "min",
        ),
        Column(
            "detach_min", "float64", "contact that ended so long before a death counts as held on to", "min"
        ),
        Column("rule", "string", "how the dead are told: marker, cdi or target_loss"),
        Column("channel", "string", "death stain; null for none"),
        Column("live_channel", "string", "live dye; null for none"),
        Column(
            "threshold",
            "float64",
            "death_score above which a cell is dead: counts for marker, else a fraction; null: unknown",
        ),
        Column("live_low_count", "float64", "for cdi: count of the live dye that is 0", "count"),
        Column("live_high_count", "float64", "for cdi: count of the live dye that is 1", "count"),
        Column("death_low_count", "float64", "for cdi: count of the death stain that is 0", "count"),
        Column("death_high_count", "float64", "for cdi: count of the death stain that is 1", "count"),
        Column("source", "string", "where it comes from, or what to do so that there is one"),
        Column("warning", "string", "what is odd about it; null for nothing"),
    ),
)
CELLS = Schema(
    "cells",
    "an object in a frame",
    (
        *OBJECT_KEY,
        Column("track_id", "int64", "its track", low=1),
        *OBJECT_COLUMNS,
        Column(
            "step_speed_um_min",
            "float64",
            "displacement over real time since the track's last object",
            "µm/min",
            low=0,
        ),
        Column(
            "step_frames",
            "int64",
            "frames since the track's last object; above 1 the step spans a gap",
            low=1,
        ),
        Column("in_contact", "bool", "whether another population's cell is within the contact radius"),
        Column("n_contacts", "int64", "objects within the contact radius", low=0),
        Column(
            "death_score",
            "float64",
            "what is compared with the threshold: for marker the 95th percentile of the death stain in a "
            "target and its median in an effector, in counts above background; else a fraction",
        ),
        Column(
            "alive",
            "bool",
            "whether the cell is alive; null where unknown: at the edge, or marked but not for long enough",
        ),
    ),
    (_OWN_TRACK, Reference("frames", (("position_id", "position_id"), ("frame", "frame")))),
)
TRACKS = Schema(
    "tracks",
    "a track",
    (
        _POSITION,
        _POPULATION,
        _TRACK,
        Column("n_objects", "int64", "objects on the track", low=1),
        Column("start_s", "float64", "time of its first object", "s"),
        Column("end_s", "float64", "time of its last object", "s"),
        Column("end_reason", "string", "why it is not seen further: film, division, edge or lost"),
        Column("lineage_id", "int64", "smallest track of the whole tree, TrackMate's track", low=1),
        Column("parent_track_id", "int64", "track that divided into this one; null for none", low=1),
        Column("generation", "int64", "divisions since the tree's first track", low=0),
        Column("path_um", "float64", "length of the path", "µm", low=0),
        Column("net_um", "float64", "distance from first to last object", "µm", low=0),
        Column("straightness_frac", "float64", "net over path", "frac", low=0, high=1.0001),
        Column("speed_um_min", "float64", "path over time", "µm/min", low=0),
        Column(
            "speed_contact_um_min", "float64", "the same over steps in contact at both ends", "µm/min", low=0
        ),
        Column("speed_free_um_min", "float64", "the same over steps free at both ends", "µm/min", low=0),
        Column(
            "first_contact_s",
            "float64",
            "start of its first contact, target with effector; null for none",
            "s",
        ),
        Column("judged_from_s", "float64", "first observation in which life or death could be told", "s"),
        Column("judged_until_s", "float64", "last such observation", "s"),
        Column(
            "dead",
            "bool",
            "seen to die, or dead at entry; null where it could not be judged (always at the edge)",
        ),
        Column("dead_at_entry", "bool", "dead in its first usable observation: no event"),
        Column("death_time_s", "float64", "first positive observation; null for none", "s"),
        Column("death_frame", "int64", "its frame", low=0),
        Column("last_alive_s", "float64", "time of the last negative observation before death", "s"),
    ),
)
DEATHS = Schema(
    "deaths",
    "a target that was seen to die",
    (
        _POSITION,
        _POPULATION,
        _TRACK,
        Column("death_frame", "int64", "frame of the first positive observation", low=0),
        Column("death_time_s", "float64", "its time", "s"),
        Column("last_alive_s", "float64", "time of the last negative observation before", "s"),
        Column("n_candidates", "int64", "live effectors in contact within the window before", low=0),
        Column("attribution", "string", "attributed, or unattributed: no live effector was in contact"),
        Column("top_effector_population", "string", "population of the effector of rank 1"),
        Column("top_effector_track_id", "int64", "its track", low=1),
        Column(
            "delay_s",
            "float64",
            "from the start of that effector's first contact that reaches into the window to death; null "
            "where that start was not seen",
            "s",
            low=0,
        ),
        Column(
            "since_previous_kill_s",
            "float64",
            "since the death before that ranks the same effector first",
            "s",
            low=0,
        ),
    ),
    (
        _OWN_TRACK,
        Reference(
            "tracks",
            (
                ("position_id", "position_id"),
                ("top_effector_population", "population"),
                ("top_effector_track_id", "track_id"),
            ),
        ),
    ),
)
CANDIDATES = Schema(
    "death_candidates",
    "an effector that was alive and in contact within the window before a death",
    (
        _POSITION,
        _POPULATION,
        _TRACK,
        Column("effector_population", "string", "population of the effector", key=True),
        Column("effector_track_id", "int64", "its track", key=True, low=1),
        Column("contact_s", "float64", "time in contact within the window", "s", low=0),
        Column("lag_s", "float64", "from the last contact to the death", "s", low=0),
        Column(
            "credit_frac", "float64", "contact_s over the sum of all candidates", "frac", low=0, high=1.0001
        ),
        Column(
            "rank",
            "int64",
            "1 for the most contact, those that held on until the death before those that left",
            low=1,
        ),
    ),
    (
        Reference("deaths", _OWN_TRACK.columns),
        Reference(
            "tracks",
            (
                ("position_id", "position_id"),
                ("effector_population", "population"),
                ("effector_track_id", "track_id"),
            ),
        ),
    ),
)
