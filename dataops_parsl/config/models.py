"""The tables of the configuration as frozen models: their docstrings are the docs of ``config.def.toml``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from dataops_parsl.stage import Stage

# Options of sbatch that have a key here: given twice, one of the two would lose without a word.
_OWNED = {
    "--partition": "site.slurm.partition",
    "-p": "site.slurm.partition",
    "--account": "site.slurm.account",
    "-A": "site.slurm.account",
    "--qos": "site.slurm.qos",
    "-q": "site.slurm.qos",
    "--constraint": "site.slurm.constraint",
    "-C": "site.slurm.constraint",
    "--nodes": "site.slurm.nodes_per_block",
    "-N": "site.slurm.nodes_per_block",
    "--ntasks": "site.slurm.workers_per_block",
    "--ntasks-per-node": "site.slurm.workers_per_block",
    "--cpus-per-task": "resources.default.cores",
    "-c": "resources.default.cores",
    "--mem": "resources.default.mem_gb",
    "--time": "resources.default.walltime_min",
    "-t": "resources.default.walltime_min",
    "-n": "site.slurm.workers_per_block",
    "--mem-per-cpu": "resources.default.mem_gb",
    "--gres": "resources.<stage>.gres",
    "--gpus": "resources.<stage>.gres",
    "-G": "resources.<stage>.gres",
    "--gpus-per-node": "resources.<stage>.gres",
    "--gpus-per-task": "resources.<stage>.gres",
}
# Those that the engine sets itself, with what it does.
_SET = {
    **dict.fromkeys(("--job-name", "-J"), "jobs are named after their run"),
    **dict.fromkeys(("--output", "-o", "--error", "-e"), "a block's output lies in its run's log folder"),
    **dict.fromkeys(("--requeue", "--no-requeue"), "a lost block is replaced by a new one"),
    **dict.fromkeys(("--exclusive", "-s", "--oversubscribe"), "a block asks for what its workers need"),
    **dict.fromkeys(("--array", "-a", "--wait", "-W", "--parsable", "--test-only"), "a block is one job"),
}


_UUID = r"^$|^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"


def _meant(word: str, options: Mapping[str, str]) -> str:
    """The option that a word of sbatch's command line stands for, or an empty text."""
    if word in options or not word.startswith("--"):
        return word if word in options else ""
    return next((option for option in options if option.startswith(word)), "")


class Table(BaseModel):
    """Base of all tables: frozen, unknown keys refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True, allow_inf_nan=False
    )


class Paths(Table):
    """Where things lie. Relative paths start at the project root, `~` is your home."""

    data_root: str = Field(default="data/datasets", min_length=1)
    """Input snapshots, one folder a dataset: reference data, never purged."""

    scratch_root: str = Field(default="data/scratch", min_length=1)
    """Heavy intermediates, shared by runs: safe to delete at any time. All nodes of a cluster must see it."""

    output_root: str = Field(default="output", min_length=1)
    """Run bundles: tables, figures, logs."""

    legacy_root: str = ""
    """Older archive of datasets, read and never written: one that is not under data_root is looked up here.
    Deprecated. Empty: `distributed/utse_cyto`, where there is one."""


class DatasetChoice(Table):
    """What to work on."""

    name: str = "demo"
    """Name of the dataset: its folder under paths.data_root."""

    total_frames: int | None = Field(default=None, ge=1)
    """At most so many frames of each position, rounded up to whole batches. Not set: all."""

    @field_validator("name")
    @classmethod
    def _is_folder_name(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            raise ValueError(f"must be a folder's name of letters, digits, '.', '_' and '-', is {name!r}")
        return name


class PopulationConfig(Table):
    """What is segmented, tracked and compared. The dataset's dataset.toml brings the populations; here
    single keys of them can be overridden."""

    segment: tuple[str, ...] = Field(min_length=1)
    """Channels that it is segmented from."""

    mask: Literal["cell", "nucleus"] = "cell"
    """What the stain fills."""

    diameter_um: float = Field(gt=0)
    """Typical diameter, µm."""

    exclude: tuple[str, ...] = ()
    """Channels that mark other cells: an object that is bright in one of them is left out."""


class Resources(Table):
    """What one worker needs: a block asks for cores, mem_gb and gres times its workers. Numerical
    threads stay 1 whatever the cores."""

    cores: int = Field(default=1, ge=1)
    """CPU cores."""

    mem_gb: float = Field(default=4, gt=0)
    """Memory, GB."""

    walltime_min: int = Field(default=240, ge=1)
    """Wall time that a block asks for, minutes; not multiplied."""

    gres: str = Field(
        default="", pattern=r"^$|^[A-Za-z]\w*(:[A-Za-z][\w.-]*)?(:[1-9]\d*)?$", examples=["gpu:a100:1"]
    )
    """Generic resources in SLURM's words, such as "gpu:1"; left out where the stage's backend computes on
    no GPU. Empty: none."""

    force_gres: bool = False
    """Ask for gres even when the stage's backend computes on no GPU: to try a cluster's GPU blocks."""

    partition: str = ""
    """Partition of the blocks. Empty: site.slurm.gpu_partition with a gres, else site.slurm.partition."""


class Slurm(Table):
    """The cluster; read only where site.kind is "slurm". An empty text leaves the choice to SLURM."""

    partition: str = ""
    """Partition of the blocks."""

    gpu_partition: str = ""
    """Partition of the blocks whose resources have a gres. Empty: the same partition."""

    account: str = ""
    """Account that is charged."""

    qos: str = ""
    """Quality of service."""

    constraint: str = ""
    """Features that the nodes of blocks without a gres must have: results are bit-equal on one CPU type."""

    gpu_constraint: str = ""
    """Features that the nodes of blocks with a gres must have."""

    workers_per_block: int = Field(default=1, ge=1)
    """Workers of one SLURM job, over all its nodes: the largest divisor of the number of workers that is
    not above it."""

    gpu_workers_per_block: int = Field(default=1, ge=1)
    """The same for blocks with a gres: 1 for one-GPU jobs, 8 for a node with eight GPUs at a time. Each
    worker sees one device."""

    nodes_per_block: int = Field(default=1, ge=1)
    """Nodes of one SLURM job: the largest divisor of its workers that is not above it."""

    launcher: Literal["simple", "srun"] = "srun"
    """How a job starts its workers. Only "srun" reaches more than one node."""

    interface: str = ""
    """Network interface of this host that the nodes can reach, such as "ib0". Empty: all are tried."""

    extra: tuple[str, ...] = ()
    """More options for sbatch, each as on its command line: ["--exclude=node17"]."""

    poll_s: float = Field(default=10, gt=0)
    """Interval at which squeue is asked, seconds."""

    connect_s: float = Field(default=90, gt=0)
    """A job that runs for so long without its workers connecting has failed, seconds. Waiting in the queue
    does not count."""

    idle_s: float = Field(default=60, gt=0)
    """A block that has had nothing to do for so long is given back, seconds; at once when nothing is left
    for it."""

    drain_min: float = Field(default=10, gt=0)
    """So long before its walltime ends a block takes no new task, minutes; at most half the walltime. It
    should exceed the longest task."""

    gpu_mem_gb: tuple[Annotated[str, Field(pattern=r"^[A-Za-z][\w.-]* \d+(\.\d+)?$")], ...] = ()
    """Memory of the cluster's cards, each by its type in gres and GB: ["a100-pcie-40gb 40"]."""

    def card_mem_gb(self, card: str) -> float | None:
        """Memory of a type of card, GB; None where the site does not say."""
        known = dict(entry.rsplit(" ", 1) for entry in self.gpu_mem_gb)
        return float(known[card]) if card in known else None

    @field_validator("extra")
    @classmethod
    def _not_owned(cls, extra: tuple[str, ...]) -> tuple[str, ...]:
        for option in extra:
            if not option.startswith("-"):
                raise ValueError(f"{option!r} is no option of sbatch: it must start with '-'")
            word = option.replace("=", " ").split()[0]
            word = word if word.startswith("--") else word[:2]
            # sbatch takes the beginning of a long option for the whole.
            if key := _meant(word, _OWNED):
                raise ValueError(f"{option!r} has a key of its own: set {_OWNED[key]}")
            if key := _meant(word, _SET):
                raise ValueError(f"{option!r} is the engine's: {_SET[key]}")
        return extra

    @model_validator(mode="after")
    def _reaches_all_nodes(self) -> Slurm:
        if self.nodes_per_block > 1 and self.launcher != "srun":
            raise ValueError(
                f"launcher {self.launcher!r} starts workers on one node only, but nodes_per_block is "
                f'{self.nodes_per_block}: take launcher "srun" or 1 node'
            )
        return self


class Globus(Table):
    """A Globus Compute endpoint (docs/globus.md); read only where site.kind is "globus"."""

    endpoint: str = Field(default="", pattern=_UUID)
    """Its UUID; `--endpoint` says it too."""

    gpu_endpoint: str = Field(default="", pattern=_UUID)
    """UUID of the endpoint for stages that compute on a GPU. Empty: the same endpoint."""

    endpoint_config: tuple[Annotated[str, Field(pattern=r"^[A-Za-z_]\w*=")], ...] = ()
    """What the endpoint's own template asks for, if it has one: ["partition=short", "walltime=04:00:00"].
    A value is read as TOML, or taken as text as it stands."""

    first_answer_min: float = Field(default=60, gt=0)
    """How long the endpoint's first worker may take, minutes: its blocks may have to queue."""

    offline_min: float = Field(default=5, gt=0)
    """An endpoint that is not online for so long ends the run, minutes; the same command then goes on."""


class Site(Table):
    """Where tasks run. Each site is a file, configs/sites/<name>.toml, and may set any other key too."""

    name: str = Field(default="laptop", min_length=1)
    """The site when no --site is given."""

    kind: Literal["local", "slurm", "globus"] = "local"
    """Workers on this machine, in SLURM jobs, or at a Globus Compute endpoint."""

    worker_init: str = ""
    """Shell lines before workers start, such as "module load python; source ~/venv/bin/activate". Empty: the
    environment of the driver, which the nodes must see."""

    worker_prefix: str = ""
    """Words before the workers' command, such as "apptainer exec --nv dataops.sif"."""

    min_gpu_mem_gb: float = Field(default=24, ge=0)
    """A card with less memory is refused, GB: cpsam runs out of memory on 16 GB."""

    allow_small_gpu: bool = False
    """Use such a card all the same: segmentation may run out of memory in mid-film."""

    slurm: Slurm = Slurm()
    globus: Globus = Globus()


class Engine(Table):
    """How tasks are driven; in no key, so results do not depend on it."""

    max_attempts: int = Field(default=3, ge=1)
    """Attempts at a task whose worker was lost, before the frame that it was at is skipped."""

    on_failure: Literal["finish", "stop"] = "finish"
    """After a failed frame: finish the rest, or stop and cancel."""

    heartbeat_s: int = Field(default=5, ge=1)
    """Interval of the workers' sign of life, seconds."""

    lost_after_s: int = Field(default=30, ge=2)
    """Silence after which a block counts as lost, seconds."""

    @model_validator(mode="after")
    def _patient(self) -> Engine:
        if self.lost_after_s < 2 * self.heartbeat_s:
            raise ValueError(
                f"lost_after_s is {self.lost_after_s}, less than twice heartbeat_s, {self.heartbeat_s}"
            )
        return self


class Retention(Table):
    """What `purge` lets go, and what it keeps. Runs that are going on keep what they use, whatever is set
    here; a purge by hand (--dataset, --stage, --older-than) goes by its own words alone."""

    scratch_days: float = Field(default=30, ge=0)
    """Step folders on scratch that no run has written or named for so many days go. 0: age is no reason."""

    max_scratch_gb: float = Field(default=0, ge=0)
    """Of what is left on scratch, the longest unused goes until it takes no more than this, GB (10^9 bytes).
    0: no limit."""

    keep_last_runs: int = Field(default=1, ge=0)
    """What the last runs of each workflow on each dataset are made of stays, however old and large: so many
    runs."""

    log_days: float = Field(default=90, ge=0)
    """Logs of runs that were never sealed go so many days after their last line; those of sealed runs are
    part of what is sealed. 0: never."""


class Settings(Table):
    """The part of the configuration whose keys are the same whatever the stages and the dataset."""

    batch_frames: int = Field(default=10, ge=1)
    """Frames of one position that one task computes. It is part of every key; results do not depend on it."""

    workers: int = Field(default=2, ge=1)
    """Workers at a time. Results do not depend on it."""

    paths: Paths = Paths()
    dataset: DatasetChoice = DatasetChoice()
    site: Site = Site()
    engine: Engine = Engine()
    retention: Retention = Retention()


class Config(Settings):
    """The whole configuration.

    ``stages`` holds each stage with its parameters for all populations, ``resources`` the whole
    resources of ``default`` and of each stage; see `Loaded.stage` and `Loaded.resources`.
    """

    populations: Annotated[Mapping[str, PopulationConfig], Field(default_factory=dict)]
    stages: Annotated[Mapping[str, Stage], Field(default_factory=dict)]
    resources: Annotated[Mapping[str, Resources], Field(default_factory=dict)]
