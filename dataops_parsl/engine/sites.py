"""Where a run runs: a site file's words as a Parsl provider."""

from __future__ import annotations

from typing import Any

from parsl.launchers import SimpleLauncher
from parsl.providers import LocalProvider

from dataops_parsl.config import Loaded
from dataops_parsl.errors import ConfigError


def executor_label(config: Loaded) -> str:
    """Name of the executor: on a single machine one serves every stage."""
    return config.config.site.name


def check_site(config: Loaded) -> None:
    """Refuse a kind of site that this version does not drive, before anything starts.

    Raises
    ------
    ConfigError
    """
    site = config.config.site
    if site.kind != "local":
        raise ConfigError(
            f"site {site.name!r} is of kind {site.kind!r}, which this version cannot drive yet",
            "run with --site laptop, inside a job of your scheduler if need be",
        )


def provider(config: Loaded) -> Any:
    """The provider of a site's blocks."""
    return LocalProvider(
        init_blocks=1,
        min_blocks=0,
        max_blocks=1,
        launcher=SimpleLauncher(),
        worker_init=config.config.site.worker_init,
    )
