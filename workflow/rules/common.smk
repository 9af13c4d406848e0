"""The config and its plan, and what all stages share; logic is in the package."""

import gc
import os
import re
import shlex
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

WORKFLOW = Path(workflow.basedir) / "workflow"
RESOURCES = os.path.relpath(WORKFLOW.parent / "resources")  # of the workflow, not of a config
if str(WORKFLOW) not in sys.path:
    sys.path.insert(0, str(WORKFLOW))

from diffuselm import warm
from diffuselm.config.config import PAPER_TASKS, read_config
from diffuselm.config.strict_files import check_keys
from diffuselm.errors import InputError
from diffuselm.files.runs import is_method
from diffuselm.plan.display import FROM_OUTSIDE, OF_TASKS, Display
from diffuselm.plan.fingerprint import fingerprint
from diffuselm.plan import jobs
from diffuselm.plan.lengths import check_lengths, may_not_fit
from diffuselm.plan.lost_files import restore_lost_targets
from diffuselm.plan.make_plan import make_plan
from diffuselm.plan.options import options
from diffuselm.plan.results_lock import hold
from diffuselm.plan.running_jobs import RunningJobs, tell
from diffuselm.tasks.prompts import STATED
from diffuselm.tasks.task_files import task_inputs

# A plan is a large graph that stays: Python's collector would go over it again and again, in vain.
gc.set_threshold(100_000)

# A config file given on the command line stands alone: merging it with the default would keep
# the default's models.
DEFAULT_CONFIG = "config.yaml"
ORIGIN = ", ".join(map(os.path.relpath, workflow.overwrite_configfiles)) or DEFAULT_CONFIG


@contextmanager
def in_one_line():
    """End with one line that says what is wrong with the input."""
    try:
        yield
    except InputError as error:
        sys.exit(f"error: {' '.join(str(error).splitlines())}")


with in_one_line():
    for file in workflow.overwrite_configfiles or [DEFAULT_CONFIG]:
        check_keys(Path(file))


if not workflow.overwrite_configfiles:

    configfile: DEFAULT_CONFIG


with in_one_line():
    PLAN = make_plan(read_config(config, ORIGIN), ORIGIN)
    if workflow.is_main_process:
        check_lengths(PLAN, ORIGIN)
        if restored := restore_lost_targets(PLAN):
            logger.warning(f"{restored[0]} was gone (of {len(restored)}) and is written again")
CONFIG, DISPLAY = PLAN.config, Display(PLAN)
MODELS = {model: jobs.of_model(PLAN, model) for model in CONFIG.models}
RUNS = {
    model: {run: jobs.of_run(PLAN, model, run) for run in PLAN.runs(model)}
    for model in CONFIG.models
}
TARGETS = jobs.target_files(PLAN.task_files)
LONG_TARGETS = options(longest=may_not_fit(PLAN))
SHOWN = expand("results/models/{model}.shown.json", model=CONFIG.models)
# The datasets of each task and model; a dataset of each run.
RECORDS = {
    (task, model): files for model, its in MODELS.items() for task, files in its["records"].items()
}
# Beside the folder `measure`: how records are read.
READING = ("tasks/records", "tasks/record_kinds")
# Tables 1 to 3 and figures 4 and 5 show single answers, of the first seed.
BIOGRAPHIES = [
    file
    for model in CONFIG.models
    for file in jobs.files_of_runs(
        "records/biographies",
        model,
        PLAN.runs_of(PLAN.recorded(model, "biographies"), [CONFIG.seed]),
    )
]
VERDICTS = [
    f"results/mt-bench/metrics/{model}/{run}.parquet"
    for model in CONFIG.models
    for run in ("base", "all")
    if CONFIG.mt_bench and run in RUNS[model]
]

# Shell lines call `diffuselm`, whatever environment is active; a conda environment comes first.
os.environ.update(
    PATH=os.pathsep.join(
        [str(WORKFLOW / "bin"), str(Path(sys.executable).parent), *os.get_exec_path()]
    )
)

ENVIRONMENT = "../../envs/diffuselm.yaml"


def one_of(names):
    """What a wildcard may be."""
    return "|".join(sorted(map(re.escape, names)))


wildcard_constraints:
    model=one_of(CONFIG.models),
    run=one_of({run for model in CONFIG.models for run in PLAN.runs(model)}),
    task=one_of(PLAN.task_files),
    family="gemma|llama|mistral",


def hold_results():
    """Before the first job: one invocation at a time, in place of Snakemake's own lock.

    That one outlives a killed Snakemake, and nobody but the user can take it away.
    """
    global RESULTS_LOCK
    with in_one_line():
        RESULTS_LOCK = hold(Path("results"))


def report_jobs():
    """From the first job on: every minute, how far the jobs are."""
    _, jobs = workflow.dag.stats()
    timed = [each.name for each in workflow.rules if "times" in each.params.keys()]
    counts = {name: count for name, count in jobs.items() if name != "total"}
    tell(RunningJobs(counts, timed, say=logger.info), logger)
    # Jobs on this machine and in this environment, of which more than one opens a model.
    here = workflow.local_exec and not workflow.deployment_settings.deployment_method
    os.environ.pop(warm.SOCKET, None)
    if here and sum(counts.get(name, 0) for name in timed) > 1:
        with suppress(OSError):  # then each job starts as usual
            warm.start()


def say_where_to_look():
    """At the end, where the whole is done."""
    first, then = "results/scorecard.md", ", results/tables and results/figures"
    if not DISPLAY.of_the_paper:
        first = next(iter(rules.tables.input), None)
        then = " and results/figures" if SHOWN_FIGURES else ""
    if first and Path(first).exists():
        given = shlex.join(map(os.path.relpath, workflow.overwrite_configfiles))
        with_config = f" --configfile {given}" if given else ""
        logger.info(
            f"Look at {first}{then}; all on one page: "
            f"snakemake{with_config} --report report.html"
        )


def of_model(key):
    """What the plan says of a job's model; memory and minutes grow with each attempt."""

    def found(wildcards):
        return MODELS[wildcards.model][key]

    def grown(wildcards, attempt):
        return found(wildcards) * attempt

    return grown if key in ("mem_mb", "tuning_minutes", "sampling_minutes") else found


def of_run(key):
    """What the plan says of a job's run."""

    def found(wildcards):
        return RUNS[wildcards.model][wildcards.run][key]

    return found


def of_records(key):
    """What the plan says of a task's records in a run."""

    def found(wildcards):
        return RUNS[wildcards.model][wildcards.run][key][wildcards.task]

    return found


def records_of_model(wildcards):
    """The datasets of a task and model."""
    return RECORDS[wildcards.task, wildcards.model]


def run_records_of_model(wildcards):
    """What drew the answers in them."""
    return [
        f"results/samples/{wildcards.model}/{Path(file).stem}.run.json"
        for file in records_of_model(wildcards)
    ]


def card_flags(wildcards):
    """What the plan says of the datasets of a task and model."""
    tuning = PLAN.tuning_on(wildcards.model, wildcards.task)
    start = PLAN.starts_from(wildcards.task)
    return options(tuning=tuning, start=start, license=CONFIG.license)


def in_all_adapters(name):
    """A file in every adapter's folder."""
    folders = [Path(run).parent for model in MODELS.values() for run in model["trained"]]
    return [f"{folder}/{name}" for folder in folders]


def model_threads(wildcards):
    """CPU cores of a job that opens a model; one beside a GPU."""
    model = MODELS[wildcards.model]
    return 1 if model["gpus"] and "gpu" in workflow.global_resources else model["threads"]


# These take `input` so that Snakemake does not compare them: no result depends on the seconds or on
# what is checked, and a GPU's not on threads; the last bits of a CPU's do, so they stay where cores
# are fewer.


def torch_threads(wildcards, input):
    return model_threads(wildcards)


def checkpoint_seconds(wildcards, input):
    return CONFIG.tune.checkpoint_seconds


def long_targets(wildcards, input):
    return LONG_TARGETS


def task_files(wildcards):
    """The files of a task: published prompts are a folder of them."""
    return [str(file) for file in task_inputs(PLAN.task_files[wildcards.task])]


def task(wildcards):
    return str(PLAN.task_files[wildcards.task])


def outside_flags(wildcards):
    return options(CONFIG.outside[wildcards.task])


def content_of_task(wildcards):
    return PLAN.content.get(wildcards.task)


def in_report(file):
    """A result with its place and caption in the report."""
    name = Path(file).stem
    return report(
        file,
        caption=f"../report/{name}.rst",
        category=SECTIONS[name],
        labels={"result": name.capitalize().replace("-", " ")},
    )


def given(wildcards, input):
    """Each named input as an option of the command."""
    return options(**dict(input.items()))


def stand_in_flags(wildcards):
    steps = CONFIG.stand_ins.collapse_steps.get(wildcards.family)
    return options(CONFIG.stand_ins, collapse_steps=steps)
