"""The main workflow: films of effectors and targets to tables of who died, when, and beside whom."""

from dataops_parsl.stages.cellpose import Cellpose
from dataops_parsl.stages.charts import Charts
from dataops_parsl.stages.contact import Contact
from dataops_parsl.stages.killing import Killing
from dataops_parsl.stages.measure import Measure
from dataops_parsl.stages.outcome import Outcome
from dataops_parsl.stages.overlays import Overlays
from dataops_parsl.stages.register_denoise import RegisterDenoise
from dataops_parsl.stages.trackmate import Trackmate
from dataops_parsl.workflow import Workflow

workflow = Workflow("cytotoxicity")
raw = workflow.raw

film = workflow.add(RegisterDenoise, raw=raw)
masks = workflow.add(Cellpose, raw=raw, denoised=film.denoised, transforms=film.transforms, each="population")
objects = workflow.add(Measure, raw=raw, transforms=film.transforms, labels=masks.labels)
tracks = workflow.add(Trackmate, objects=objects.objects, each="population")
touch = workflow.add(
    Contact,
    labels=masks.labels,
    objects=objects.objects,
    members=tracks.members,
    lineages=tracks.lineages,
)
killing = workflow.add(
    Killing,
    objects=objects.objects,
    members=tracks.members,
    lineages=tracks.lineages,
    touches=touch.touches,
    contact_events=touch.contact_events,
)
outcome = workflow.add(
    Outcome,
    cells=killing.cells,
    tracks=killing.tracks,
    deaths=killing.deaths,
    death_candidates=killing.death_candidates,
    contact_events=touch.contact_events,
    thresholds=killing.thresholds,
)
pictures = workflow.add(
    Overlays,
    denoised=film.denoised,
    labels=masks.labels,
    cells=killing.cells,
    contact_events=touch.contact_events,
)
charts = workflow.add(
    Charts,
    frames=film.frames,
    cells=killing.cells,
    tracks=killing.tracks,
    deaths=killing.deaths,
    death_candidates=killing.death_candidates,
    survival=outcome.survival,
    effectors=outcome.effectors,
    chance=outcome.chance,
    chance_kills=outcome.chance_kills,
    summary=outcome.summary,
    thresholds=killing.thresholds,
    denoised=film.denoised,
    labels=masks.labels,
)

workflow.publish(
    positions=killing.positions,
    frames=film.frames,
    cells=killing.cells,
    edges=tracks.edges,
    tracks=killing.tracks,
    contacts=touch.contacts,
    contact_events=touch.contact_events,
    deaths=killing.deaths,
    death_candidates=killing.death_candidates,
    effectors=outcome.effectors,
    chance=outcome.chance,
    chance_kills=outcome.chance_kills,
    survival=outcome.survival,
    msd=outcome.msd,
    summary=outcome.summary,
    thresholds=killing.thresholds,
)
workflow.illustrate(pictures.outlines, charts.curves, charts.kill_strips)
