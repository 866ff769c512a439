"""Live-cell cytotoxicity microscopy, from films to kill tables, on Parsl."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataops_parsl.bundle import open_run

__all__ = ["__version__", "open_run"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Late, so that importing the package for its version loads nothing heavy.
    if name == "open_run":
        from dataops_parsl.bundle import open_run

        return open_run
    raise AttributeError(name)
