"""Which pool of workers a site has."""

from __future__ import annotations

from dataops_parsl.config import Loaded
from dataops_parsl.engine.executors import Pool
from dataops_parsl.engine.globus import EndpointPool


def pool_class(config: Loaded) -> type[Pool]:
    """The pool of the configured site: blocks of this program's own, or a Globus Compute endpoint."""
    return EndpointPool if config.config.site.kind == "globus" else Pool
