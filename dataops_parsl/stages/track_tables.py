"""Tables of tracks: links and edges between objects, the objects' tracks, and their lineages."""

from __future__ import annotations

from dataops_parsl.tables import Column, Reference, Schema

_TRACK_KEY = (
    Column("position_id", "string", "field of view", key=True),
    Column("population", "string", "population", key=True),
)
_EDGE_COLUMNS = (
    Column("source_frame", "int64", "frame of the earlier object", key=True, low=0),
    Column("source_label", "int64", "label of the earlier object", key=True, low=1),
    Column("target_frame", "int64", "frame of the later object", key=True, low=0),
    Column("target_label", "int64", "label of the later object", key=True, low=1),
)
_COST = Column(
    "cost", "float64", "squared distance that the tracker paid; null where tracks were given", "µm²", low=0
)
LINKS = Schema("links", "a link between neighbouring frames", (*_TRACK_KEY, *_EDGE_COLUMNS, _COST))
EDGES = Schema(
    "edges",
    "a link",
    (
        *_TRACK_KEY,
        *_EDGE_COLUMNS,
        Column("kind", "string", "link (next frame), gap (over missing frames) or split (division)"),
        _COST,
    ),
    tuple(
        Reference(
            "cells",
            (
                ("position_id", "position_id"),
                ("population", "population"),
                (f"{end}_frame", "frame"),
                (f"{end}_label", "label"),
            ),
        )
        for end in ("source", "target")
    ),
)
MEMBERS = Schema(
    "members",
    "an object's track",
    (
        *_TRACK_KEY,
        Column("frame", "int64", "0-based frame", key=True, low=0),
        Column("label", "int64", "label of the object", key=True, low=1),
        Column("track_id", "int64", "its track", low=1),
    ),
)
LINEAGES = Schema(
    "lineages",
    "a track",
    (
        *_TRACK_KEY,
        Column("track_id", "int64", "unbranched track, numbered by first frame, then label", key=True, low=1),
        Column("first_frame", "int64", "frame of its first object", low=0),
        Column("last_frame", "int64", "frame of its last object", low=0),
        Column("lineage_id", "int64", "smallest track of the whole tree, TrackMate's track", low=1),
        Column("parent_track_id", "int64", "track that divided into this one; null for none", low=1),
        Column("generation", "int64", "divisions since the tree's first track", low=0),
        Column("divides", "bool", "whether it ends by dividing"),
    ),
)
