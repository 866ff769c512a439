"""Run a command beside a private SLURM cluster that lives as long as it does.

    python -m tests.slurm.private python -m dataops_parsl bench --replay pycyto --site slurm

Needs root on Debian and its packages slurmctld, slurmd, slurm-client and munge.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.slurm.cluster import Cluster


def main() -> int:
    """Start the cluster, run the command, stop the cluster; the command's exit code."""
    if why := Cluster.missing():
        print(why, file=sys.stderr)
        return 3
    with tempfile.TemporaryDirectory(prefix="dataops-slurm-") as folder:
        cluster = Cluster(Path(folder) / "root")
        cluster.start()
        try:
            return subprocess.run(
                sys.argv[1:], env={**os.environ, **cluster.environment}, check=False
            ).returncode
        finally:
            cluster.stop()


if __name__ == "__main__":
    sys.exit(main())
