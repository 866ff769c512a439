"""What the process that is forked for each try imports beforehand."""

from dataops_parsl.commands import bench, check, config, dataset, preview, report, run, runs, validate  # noqa: F401
from dataops_parsl.commands import migrate as migrate
