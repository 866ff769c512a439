"""Single frames, one a position: segment, measure, and see who touches whom. Wiring only."""

from dataops_parsl.stages.cellpose import Cellpose
from dataops_parsl.stages.contact import Contact
from dataops_parsl.stages.measure import Measure
from dataops_parsl.stages.register_denoise import RegisterDenoise
from dataops_parsl.workflow import Workflow

workflow = Workflow("stills")
raw = workflow.raw

still = workflow.add(RegisterDenoise, raw=raw)
masks = workflow.add(
    Cellpose, raw=raw, denoised=still.denoised, transforms=still.transforms, each="population"
)
objects = workflow.add(Measure, raw=raw, transforms=still.transforms, labels=masks.labels)
touch = workflow.add(Contact, labels=masks.labels)

workflow.publish(frames=still.frames, cells=objects.objects, contacts=touch.contacts)
