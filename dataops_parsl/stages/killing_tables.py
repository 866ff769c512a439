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
    "the dataset's death threshold",
    (
        Column("population", "string", "population that is judged: the targets"),
        Column("channel", "string", "death channel; null for none"),
        Column("threshold_count", "float64", "death score above which a cell is dead", "count"),
        Column("source", "string", "where it comes from, or what to do so that there is one"),
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
        Column("in_contact", "bool", "whether another population's cell is within the contact radius"),
        Column("n_contacts", "int64", "objects within the contact radius", low=0),
        Column(
            "death_score", "float64", "95th percentile of the death channel, background subtracted", "count"
        ),
        Column(
            "alive",
            "bool",
            "whether a target is alive; null where unknown: at the edge, or marked but not for long enough",
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
            "dead",
            "bool",
            "seen to die, or dead at entry; null where it could not be judged (always at the edge)",
        ),
        Column("dead_at_entry", "bool", "dead in its first usable observation: no event"),
        Column("death_time_s", "float64", "first positive observation; null for none", "s"),
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
        Column("n_candidates", "int64", "effectors in contact within the window before", low=0),
    ),
    (_OWN_TRACK,),
)
CANDIDATES = Schema(
    "death_candidates",
    "an effector that was in contact within the window before a death",
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
SUMMARY = Schema(
    "summary",
    "a position or a condition",
    (
        Column("level", "string", "position or condition", key=True),
        Column("name", "string", "which one", key=True),
        Column("condition", "string", "what was done to it"),
        Column("control", "string", "kind of control; null for none"),
        Column("n_positions", "int64", "positions in it", low=1),
        Column("n_targets", "int64", "target tracks", low=0),
        Column("n_effectors", "int64", "effector tracks", low=0),
        Column("n_contact_events", "int64", "contact events between effectors and targets", low=0),
        Column("n_dead_at_entry", "int64", "targets that were dead when first seen", low=0),
        Column("n_deaths", "int64", "targets that were seen to die; null where death is unknown", low=0),
        Column("n_with_candidates", "int64", "deaths with an effector in contact before", low=0),
        Column(
            "death_frac",
            "float64",
            "deaths over targets that could be judged and were not dead at entry",
            "frac",
            low=0,
            high=1,
        ),
        Column("death_threshold_count", "float64", "the dataset's threshold; null for none", "count"),
    ),
)
