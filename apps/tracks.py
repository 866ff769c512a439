"""One population: segment it, measure it, and follow every cell and its daughters. Wiring only."""

from dataops_parsl.stages.cellpose import Cellpose
from dataops_parsl.stages.measure import Measure
from dataops_parsl.stages.register_denoise import RegisterDenoise
from dataops_parsl.stages.trackmate import Trackmate
from dataops_parsl.workflow import Workflow

workflow = Workflow("tracks")
raw = workflow.raw

film = workflow.add(RegisterDenoise, raw=raw)
masks = workflow.add(Cellpose, raw=raw, denoised=film.denoised, transforms=film.transforms, each="population")
objects = workflow.add(Measure, raw=raw, transforms=film.transforms, labels=masks.labels)
tracks = workflow.add(Trackmate, objects=objects.objects, each="population")

workflow.publish(
    frames=film.frames,
    cells=objects.objects,
    edges=tracks.edges,
    members=tracks.members,
    tracks=tracks.lineages,
)
