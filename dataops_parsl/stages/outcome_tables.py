"""Schemas of what the films say together: killing, chance level, survival, spread and summary."""

from __future__ import annotations

from dataops_parsl.tables import Column, Reference, Schema

_POSITION = Column("position_id", "string", "field of view", key=True)
_OF_POSITION = Reference("positions", (("position_id", "position_id"),))
_LEVEL = (
    Column("level", "string", "position or condition", key=True),
    Column("name", "string", "which one", key=True),
)

EFFECTORS = Schema(
    "effectors",
    "an effector",
    (
        _POSITION,
        Column("population", "string", "population", key=True),
        Column("track_id", "int64", "its track", key=True, low=1),
        Column("observed_s", "float64", "from its first to its last object", "s", low=0),
        Column("alive_s", "float64", "the same until it dies; all of it where it was not judged", "s", low=0),
        Column("n_targets", "int64", "targets that it touched while alive", low=0),
        Column("contact_s", "float64", "length of its contact events with targets while alive", "s", low=0),
        Column("n_kills", "int64", "deaths for which it ranks first; null where death is unknown", low=0),
        Column("credited_kills", "float64", "sum of its shares of the credit for deaths", low=0),
        Column(
            "chance_kills",
            "float64",
            "deaths for which it would rank first by chance, mean over the draws",
            low=0,
        ),
        Column(
            "kills_per_contact_h", "float64", "n_kills over contact_s; null without contact", "1/h", low=0
        ),
        Column(
            "control_deaths_per_h",
            "float64",
            "deaths over hours of targets at risk in the negative controls; null without",
            "1/h",
            low=0,
        ),
    ),
    (
        Reference(
            "tracks",
            (("position_id", "position_id"), ("population", "population"), ("track_id", "track_id")),
        ),
    ),
)
CHANCE = Schema(
    "chance",
    "a draw: each death time given to a random target that was at risk then",
    (
        _POSITION,
        Column("draw", "int64", "number of the draw", key=True, low=0),
        Column("n_attributed", "int64", "deaths that would have had an effector in contact before", low=0),
    ),
    (_OF_POSITION,),
)
CHANCE_KILLS = Schema(
    "chance_kills",
    "a number of kills",
    (
        _POSITION,
        Column("n_kills", "int64", "deaths for which an effector ranks first", key=True, low=0),
        Column("n_effectors", "int64", "effectors with so many kills", low=0),
        Column(
            "n_effectors_by_chance",
            "float64",
            "effectors that would have so many, mean over the draws",
            low=0,
        ),
        Column(
            "control_deaths_per_h",
            "float64",
            "death rate of targets in the negative controls; null without",
            "1/h",
            low=0,
        ),
    ),
    (_OF_POSITION,),
)
SURVIVAL = Schema(
    "survival",
    "a time at which targets enter or leave",
    (
        *_LEVEL,
        Column(
            "origin",
            "string",
            "where the clock starts: film_start, entry (first judged) or first_contact",
            key=True,
        ),
        Column("lost_as", "string", "what lost targets count as: censored or dead", key=True),
        Column("time_s", "float64", "time on this clock", "s", key=True, low=0),
        Column(
            "n_at_risk",
            "int64",
            "targets that entered before and have not left before; at the first time, those that enter",
            low=0,
        ),
        Column("n_entered", "int64", "targets that enter at this time", low=0),
        Column("n_dead", "int64", "targets that die at this time", low=0),
        Column("n_censored", "int64", "targets that are not followed beyond this time", low=0),
        Column("alive_frac", "float64", "survival by Kaplan and Meier", "frac", low=0, high=1),
        Column(
            "low_frac",
            "float64",
            "lower end of the pointwise 95 % interval (log-log, Greenwood), targets taken as independent; "
            "null where survival is 0 or 1",
            "frac",
            low=0,
            high=1,
        ),
        Column("high_frac", "float64", "its upper end", "frac", low=0, high=1),
    ),
)
MSD = Schema(
    "msd",
    "a lag",
    (
        _POSITION,
        Column("population", "string", "population", key=True),
        Column("lag_frames", "int64", "frames between the objects of a pair", key=True, low=1),
        Column("lag_s", "float64", "mean of the real time between them", "s", low=0),
        Column("msd_um2", "float64", "mean squared displacement over pairs of all tracks", "µm²", low=0),
        Column("n_steps", "int64", "pairs; they overlap", low=1),
    ),
    (_OF_POSITION,),
)
SUMMARY = Schema(
    "summary",
    "a position or a condition",
    (
        *_LEVEL,
        Column("condition", "string", "what was done to it"),
        Column("control", "string", "kind of control; null for none"),
        Column("unit", "string", "what a replicate is: well or position"),
        Column("n_positions", "int64", "positions in it", low=1),
        Column("n_replicates", "int64", "replicates in it", low=1),
        Column("n_targets", "int64", "target tracks", low=0),
        Column("n_effectors", "int64", "effector tracks", low=0),
        Column("n_contact_events", "int64", "contact events between effectors and targets", low=0),
        Column("n_dead_at_entry", "int64", "targets that were dead when first seen", low=0),
        Column("n_at_risk", "int64", "targets that could be judged and were not dead at entry", low=0),
        Column("n_lost", "int64", "targets that were lost before the film's end, not seen to die", low=0),
        Column("n_deaths", "int64", "targets that were seen to die; null where death is unknown", low=0),
        Column("n_attributed", "int64", "deaths with a live effector in contact before", low=0),
        Column("chance_attributed", "float64", "the same by chance, mean over the draws", low=0),
        Column("chance_low", "float64", "the same, 2.5 % of the draws are below", low=0),
        Column("chance_high", "float64", "the same, 2.5 % of the draws are above", low=0),
        Column(
            "chance_p",
            "float64",
            "(1 + draws with at least n_attributed) / (1 + draws); null without deaths",
            "frac",
            low=0,
            high=1,
        ),
        Column("target_h", "float64", "time of targets at risk", "h", low=0),
        Column("deaths_per_target_h", "float64", "deaths over target_h", "1/h", low=0),
        Column(
            "control_deaths_per_target_h",
            "float64",
            "the same, all negative controls together; null without",
            "1/h",
            low=0,
        ),
        Column(
            "contact_h", "float64", "contact of targets with live effectors, summed over pairs", "h", low=0
        ),
        Column("kills_per_contact_h", "float64", "n_attributed over contact_h", "1/h", low=0),
        Column("effector_h", "float64", "time of live effectors", "h", low=0),
        Column("kills_per_effector", "float64", "n_attributed over n_effectors", low=0),
        Column(
            "dead_frac",
            "float64",
            "n_deaths over n_at_risk; of a condition, the mean over its replicates",
            "frac",
            low=0,
            high=1,
        ),
        Column("dead_frac_sem", "float64", "its standard error; null with one replicate", "frac", low=0),
        Column(
            "dead_frac_minus_control",
            "float64",
            "dead_frac above the mean over the replicates of the negative controls",
            "frac",
            low=-1,
            high=1,
        ),
        Column(
            "dead_frac_minus_control_sem",
            "float64",
            "its standard error, of both means in quadrature; null where one has no replicates",
            "frac",
            low=0,
        ),
        Column("kills_per_contact_h_mean", "float64", "mean over the replicates", "1/h", low=0),
        Column("kills_per_contact_h_sem", "float64", "its standard error; null with one", "1/h", low=0),
        Column(
            "effector_speed_contact_um_min",
            "float64",
            "speed of effectors in contact, mean over tracks; of a condition, over its replicates",
            "µm/min",
            low=0,
        ),
        Column("effector_speed_free_um_min", "float64", "the same out of contact", "µm/min", low=0),
        Column("n_delays", "int64", "deaths with a known time since the contact began", low=0),
        Column("delay_median_s", "float64", "median from start of contact to death", "s", low=0),
        Column("delay_mean_s", "float64", "mean of the same", "s", low=0),
        Column(
            "death_threshold",
            "float64",
            "the dataset's threshold of the death score, in its unit; null: deaths are unknown",
        ),
    ),
)
