"""What is said of each kind of mistake: the file, the key, what is wrong, the nearest known key."""

from __future__ import annotations

import pytest

from tests.config.config_toys import POPULATIONS, Project, said

USER = "configs/config.user.toml"
DATASET = "data/datasets/demo/dataset.toml"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        # unknown keys, at every level
        ("batch_frame = 3", "batch_frame is not a known key (did you mean 'batch_frames'?)"),
        ("total_frames = 3", "total_frames is not a known key (did you mean 'dataset.total_frames'?)"),
        ("[path]\ndata_root = 'x'", "path is not a known key (did you mean 'paths'?)"),
        ("[paths]\nscratchroot = 'x'", "paths.scratchroot is not a known key (did you mean 'scratch_root'?)"),
        ("[dataset]\nqq = 1", "dataset.qq is not a known key; there are name, total_frames"),
        ("[stages.contacts]", "stages.contacts is not a known stage (did you mean 'contact'?)"),
        (
            "[stages.trackmate]\nmax_gap = 3",
            "stages.trackmate.max_gap is not a parameter of this stage or a population of the dataset "
            "(did you mean 'max_frame_gap'?)",
        ),
        (
            "[stages.trackmate.tagret]",
            "stages.trackmate.tagret is not a parameter of this stage or a population of the dataset "
            "(did you mean 'target'?)",
        ),
        (
            "[stages.trackmate.target]\nframe_gap = 1",
            "stages.trackmate.target.frame_gap is not a known key (did you mean 'max_frame_gap'?)",
        ),
        (
            "[populations.efector]\ndiameter_um = 9",
            "populations.efector is not a population that the dataset.toml of the dataset describes "
            "(did you mean 'effector'?)",
        ),
        (
            "[populations.effector]\ndiameter = 9",
            "populations.effector.diameter is not a known key (did you mean 'diameter_um'?)",
        ),
        (
            "[resources.cellpos]\ncores = 1",
            "resources.cellpos is not a known stage; there are default, trackmate, contact, overlays",
        ),
        (
            "[resources.contact]\ncpus = 1",
            "resources.contact.cpus is not a known key; there are cores, mem_gb, walltime_min, gres, "
            "force_gres, partition",
        ),
        (
            "[site.slurm]\npartitions = 'x'",
            "site.slurm.partitions is not a known key (did you mean 'partition'?)",
        ),
        # wrong types
        ("workers = '3'", 'workers must be a whole number of at least 1, is "3": take the quotes away'),
        ("workers = true", "workers must be a whole number of at least 1, is true"),
        ("workers = 3.0", "workers must be a whole number of at least 1, is 3.0"),
        ("workers = [3]", "workers must be a whole number of at least 1, is [3]"),
        (
            "[dataset]\ntotal_frames = '3'",
            'dataset.total_frames must be a whole number of at least 1, is "3": take the quotes away',
        ),
        ("[dataset]\nname = 3", "dataset.name must be text, is 3: put it in quotes"),
        ("[dataset]\nname = 2024-01-31", "dataset.name must not be a date or time: put it in quotes"),
        (
            "[stages.contact]\nchannels = [07:32:00]",
            "stages.contact.channels must not be a date or time: put it in quotes",
        ),
        ("[dataset.name]", "dataset.name must be text, is a table"),
        ("paths = 'x'", "paths must be a table, [paths]"),
        ("stages = 3", "stages must be a table, [stages]"),
        ("[stages]\ntrackmate = 3", "stages.trackmate must be a table, [stages.trackmate]"),
        (
            "[stages.trackmate]\ntarget = 3",
            "stages.trackmate.target must be a table, [stages.trackmate.target]",
        ),
        ("[[site]]\nkind = 'local'", "site must be a table, [site]"),
        (
            "[stages.trackmate]\nsplitting = 'yes'",
            'stages.trackmate.splitting must be true or false, is "yes"',
        ),
        ("[stages.trackmate]\nsplitting = 1", "stages.trackmate.splitting must be true or false, is 1"),
        ("[stages.contact]\nbins = [1]", "stages.contact.bins must be a list of 2 numbers, is [1]"),
        ("[stages.contact]\nbins = [1, 'a']", 'stages.contact.bins must be a list of 2 numbers, is [1, "a"]'),
        ("[stages.contact]\nchannels = 'a'", 'stages.contact.channels must be a list of texts, is "a"'),
        ("[stages.contact]\nthreshold = 'b'", 'stages.contact.threshold must be "auto" or a number, is "b"'),
        # impossible values
        ("workers = 0", "workers must be a whole number of at least 1, is 0"),
        ("workers = nan", "workers must be a whole number of at least 1, is nan"),
        (
            "[populations.effector]\ndiameter_um = -3",
            "populations.effector.diameter_um must be a number greater than 0, is -3",
        ),
        (
            "[populations.effector]\nsegment = []",
            "populations.effector.segment must be a list of texts, not empty, is []",
        ),
        (
            "[stages.contact]\nstore_um = 101",
            "stages.contact.store_um must be a number greater than 0 and at most 100, is 101",
        ),
        ("[stages.contact]\nradius_um = inf", "stages.contact.radius_um must be a finite number, is inf"),
        ("[stages.contact]\nradius_um = nan", "stages.contact.radius_um must be a finite number, is nan"),
        (
            "[stages.trackmate]\nbackend = 'fji'",
            'stages.trackmate.backend must be "lap" or "fiji", is "fji" (did you mean \'fiji\'?)',
        ),
        ("[stages.trackmate]\nbackend = 1", 'stages.trackmate.backend must be "lap" or "fiji", is 1'),
        (
            "[stages.contact]\nradius_um = 11",
            "stages.contact: store_um 10 must not be less than radius_um 11",
        ),
        ("[stages.contact]\nchannels = ['a', 'a']", "stages.contact.channels: a channel is named twice"),
        (
            "[stages.contact.target]\nradius_um = 11",
            "stages.contact.target: store_um 10 must not be less than radius_um 11",
        ),
        (
            "[stages.contact.target]\nradius_um = 0",
            "stages.contact.target.radius_um must be a number greater than 0, is 0",
        ),
        ("[resources.contact]\nmem_gb = 0", "resources.contact.mem_gb must be a number greater than 0, is 0"),
        ("[resources.default]\nmem_gb = 0", "resources.default.mem_gb must be a number greater than 0, is 0"),
        (
            "[resources.contact]\ngres = 'gpu:a100:one:2'",
            'resources.contact.gres must be text like "gpu:a100:1", is "gpu:a100:one:2"',
        ),
        (
            "[resources.contact]\ngres = 'gpu:a100:0'",
            'resources.contact.gres must be text like "gpu:a100:1", is "gpu:a100:0"',
        ),
        ("[resources.contact]\nforce_gres = 1", "resources.contact.force_gres must be true or false, is 1"),
        (
            "[site.slurm]\ngpu_workers_per_block = 0",
            "site.slurm.gpu_workers_per_block must be a whole number of at least 1, is 0",
        ),
        ("[site.slurm]\npoll_s = 0", "site.slurm.poll_s must be a number greater than 0, is 0"),
        ("[site]\nmin_gpu_mem_gb = -1", "site.min_gpu_mem_gb must be a number of at least 0, is -1"),
        (
            "[site.slurm]\nlauncher = 'mpi'",
            'site.slurm.launcher must be "simple" or "srun", is "mpi"',
        ),
        ("[paths]\ndata_root = ''", 'paths.data_root must be text, not empty, is ""'),
        (
            "[dataset]\nname = '../x'",
            "dataset.name must be a folder's name of letters, digits, '.', '_' and '-', is '../x'",
        ),
        ("[engine]\nheartbeat_s = 20", "engine: lost_after_s is 30, less than twice heartbeat_s, 20"),
        (
            "[site.slurm]\nlauncher = 'simple'\nnodes_per_block = 2",
            "site.slurm: launcher 'simple' starts workers on one node only, but nodes_per_block is 2: "
            'take launcher "srun" or 1 node',
        ),
        (
            "[site.slurm]\nextra = ['--time=3']",
            "site.slurm.extra: '--time=3' has a key of its own: set resources.default.walltime_min",
        ),
        (
            "[site.slurm]\nextra = ['-A lab']",
            "site.slurm.extra: '-A lab' has a key of its own: set site.slurm.account",
        ),
        (
            "[site.slurm]\nextra = ['-phigh']",
            "site.slurm.extra: '-phigh' has a key of its own: set site.slurm.partition",
        ),
        (
            "[site.slurm]\nextra = ['--gres=gpu:1']",
            "site.slurm.extra: '--gres=gpu:1' has a key of its own: set resources.<stage>.gres",
        ),
        (
            "[site.slurm]\nextra = ['--requeue']",
            "site.slurm.extra: '--requeue' is the engine's: a lost block is replaced by a new one",
        ),
        (
            "[site.slurm]\nextra = ['-J mine']",
            "site.slurm.extra: '-J mine' is the engine's: jobs are named after their run",
        ),
        (
            "[site.slurm]\nextra = ['exclusive']",
            "site.slurm.extra: 'exclusive' is no option of sbatch: it must start with '-'",
        ),
        # not TOML
        ("a = 3\nb = \n", ", line 2, column 5: this is not TOML: invalid value"),
        ("workers = 1\nworkers = 2", ", line 2: this is not TOML: cannot overwrite a value"),
        ("[paths", ", line 1: this is not TOML: expected ']' at the end of a table declaration"),
    ],
)
def test_one_mistake_in_the_user_file(project: Project, text: str, words: str) -> None:
    project.user(text)
    assert said(project) == [USER + (words if words.startswith(",") else f": {words}")]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("x", "--set 'x' is not key=value"),
        ("=3", "--set '=3' is not key=value"),
        ("a b=3", "--set 'a b=3' is not key=value"),
        ("[paths]\nx=3", "--set '[paths]\\nx=3' is not key=value"),
        (
            "stages.trackmate.max_gap=3",
            "--set: stages.trackmate.max_gap is not a parameter of this stage or a population of the dataset "
            "(did you mean 'max_frame_gap'?)",
        ),
        ("workers=many", '--set: workers must be a whole number of at least 1, is "many"'),
        (
            "workers=3\nbatch_frames=4",
            '--set: workers must be a whole number of at least 1, is "3\\nbatch_frames=4"',
        ),
        ("dataset.name=123", "--set: dataset.name must be text, is 123: put it in quotes"),
        ("paths=x", "--set: paths must be a table, [paths]"),
        ("dataset.name.x=1", "--set: dataset.name must be text, is a table"),
    ],
)
def test_one_mistake_in_a_set(project: Project, given: str, words: str) -> None:
    assert said(project, sets=[given]) == [words]


def test_a_wrong_flag_is_named(project: Project) -> None:
    assert said(project, flags={"--workers": 0, "--frames": -1}) == [
        "--workers: workers must be a whole number of at least 1, is 0",
        "--frames: dataset.total_frames must be a whole number of at least 1, is -1",
    ]


def test_mistakes_in_the_dataset_layer_name_its_file(project: Project) -> None:
    populations = {"effector": {"mask": "cel", "colour": "red"}, "target": 3, "other": {}}
    project.user("[populations.effector]\ndiameter_um = 9\n")
    assert said(project, populations=populations) == [
        f"{DATASET}: populations.effector.colour is not a known key; "
        "there are segment, mask, diameter_um, exclude",
        f"{DATASET}: populations.target must be a table, [populations.target]",
        f"{DATASET}: populations.effector.segment is missing: it must be a list of texts, not empty",
        f'{DATASET}: populations.effector.mask must be "cell" or "nucleus", is "cel" '
        "(did you mean 'cell'?)",
        f"{DATASET}: populations.other.segment is missing: it must be a list of texts, not empty",
        f"{DATASET}: populations.other.diameter_um is missing: it must be a number greater than 0",
    ]


def test_all_problems_of_all_layers_are_said_at_once(project: Project) -> None:
    project.write("configs/sites/hpc.toml", "[site]\nkind = 'grid'\n[sites]\n")
    project.user(
        "[stages.contact]\nradius_um = 0\n[stages.contact.target]\nstore_um = 0\n"
        "[resources.default]\ncores = 0\n[resources.contact]\ncores = 0\n"
    )
    assert said(project, site="hpc", sets=["workers=0", "paths.output_root=data/scratch/runs"]) == [
        "configs/sites/hpc.toml: sites is not a known key (did you mean 'site'?)",
        "--set: workers must be a whole number of at least 1, is 0",
        'configs/sites/hpc.toml: site.kind must be "local", "slurm" or "globus", is "grid"',
        f"{USER}: resources.default.cores must be a whole number of at least 1, is 0",
        f"{USER}: stages.contact.radius_um must be a number greater than 0, is 0",
        f"{USER}: stages.contact.target.store_um must be a number greater than 0 and at most 100, is 0",
        f"{USER}: resources.contact.cores must be a whole number of at least 1, is 0",
        f"--set: paths.output_root: output_root {project.root}/data/scratch/runs must not lie in "
        f"scratch_root {project.root}/data/scratch: purge would reach it",
    ]


def test_first_pass_checks_the_parameters_of_populations_it_does_not_know(project: Project) -> None:
    project.user("[stages.contact.anyone]\nradius = 3\n[populations.anyone]\ndiameter = 3\n")
    assert said(project, populations=None) == [
        f"{USER}: stages.contact.anyone.radius is not a known key (did you mean 'radius_um'?)",
        f"{USER}: populations.anyone.diameter is not a known key (did you mean 'diameter_um'?)",
    ]
    project.user("[stages.contact.anyone]\nradius_um = 0\n")
    assert said(project, populations=None) == [
        f"{USER}: stages.contact.anyone.radius_um must be a number greater than 0, is 0"
    ]


def test_the_fixture_s_populations_are_right(project: Project) -> None:
    assert list(project.load().config.populations) == list(POPULATIONS)
