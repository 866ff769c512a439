"""What the process that is forked for each try imports beforehand."""

from dataops_parsl.commands import (  # noqa: F401
    bench,
    check,
    config,
    dataset,
    migrate,
    preview,
    purge,
    report,
    run,
    runs,
    validate,
    weights,
)
