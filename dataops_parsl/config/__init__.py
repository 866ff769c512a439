"""TOML layers to frozen models; each value knows its origin. The stage classes are handed in.

Layers, the later wins, key by key: defaults of the models < ``configs/sites/<site>.toml`` < the
populations of the dataset's ``dataset.toml`` < ``configs/config.user.toml`` < flags < ``--set``. A benchmark
has two of its own, right after the first and after the user's.
"""

from dataops_parsl.config.benchmark import Bench, write_benchmark_default
from dataops_parsl.config.default import write_default
from dataops_parsl.config.differing import differing
from dataops_parsl.config.load import FLAGS, load
from dataops_parsl.config.loaded import Loaded, Roots
from dataops_parsl.config.models import (
    Config,
    DatasetChoice,
    Engine,
    Paths,
    PopulationConfig,
    Resources,
    Retention,
    Settings,
    Site,
    Slurm,
)
from dataops_parsl.config.project import find_project, site_files

__all__ = [
    "FLAGS",
    "Bench",
    "Config",
    "DatasetChoice",
    "Engine",
    "Loaded",
    "Paths",
    "PopulationConfig",
    "Resources",
    "Retention",
    "Roots",
    "Settings",
    "Site",
    "Slurm",
    "differing",
    "find_project",
    "load",
    "site_files",
    "write_benchmark_default",
    "write_default",
]
