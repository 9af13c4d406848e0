"""The run matrix, path helpers and shared settings; logic is in the package."""

import os
import re
import shlex
import sys
from pathlib import Path

WORKFLOW = Path(workflow.basedir) / "workflow"
if str(WORKFLOW) not in sys.path:
    sys.path.insert(0, str(WORKFLOW))

from diffuselm.config import PAPER_TASKS, read_config
from diffuselm.errors import InputError
from diffuselm.fingerprint import fingerprint
from diffuselm.plan import make_plan

ORIGIN = ", ".join(map(os.path.relpath, workflow.overwrite_configfiles)) or "config.yaml"
try:
    PLAN = make_plan(read_config(config, ORIGIN), ORIGIN)
except InputError as error:
    sys.exit(f"error: {error}")
CONFIG = PLAN.config

# Shell lines call `diffuselm`, whatever environment is active; a conda environment comes first.
os.environ.update(
    PATH=os.pathsep.join(
        [str(WORKFLOW / "bin"), str(Path(sys.executable).parent), *os.get_exec_path()]
    )
)

ENVIRONMENT = "../../envs/diffuselm.yaml"


wildcard_constraints:
    model="|".join(map(re.escape, CONFIG.models)),
    tuning="|".join(map(re.escape, PLAN.tunings)),
    task="|".join(map(re.escape, PLAN.task_files)),
    family="gemma|llama|mistral",


def whole_stage(stage, jobs, files):
    """Input of the target that stands for a stage; `-R STAGE` forces the stage's own jobs too.

    A target has no wildcards and the jobs of a stage have, so that two names are needed where
    Snakemake forces by name. The target, when forced, passes that on.
    """

    def input_files(wildcards):
        forced = workflow.dag.forcerules
        if workflow.get_rule(stage) in forced:
            forced.add(workflow.get_rule(jobs))
        return files

    return input_files


def task_file(wildcards):
    return str(PLAN.task_files[wildcards.task])


def model_of(wildcards):
    return CONFIG.models[wildcards.model]


def targets_file(task):
    return f"results/targets/{task}.parquet"


def targets_files():
    return [targets_file(task) for task in PLAN.task_files]


def metrics_parts():
    return [f"results/parts/{model}/metrics.parquet" for model in CONFIG.models]


def model_records():
    return [f"results/models/{model}.json" for model in CONFIG.models]


def runs(pattern):
    """The pattern for every model and tuning."""
    return [
        pattern.format(model=model, tuning=tuning)
        for model in CONFIG.models
        for tuning in PLAN.tunings
    ]


def adapters():
    return [
        f"results/adapters/{model}/{tuning}" for model in CONFIG.models for tuning in PLAN.tuned_on
    ]


def parts_of_run(wildcards):
    return [
        f"results/parts/{wildcards.model}/{wildcards.tuning}/{task}"
        for task in PLAN.measured_tasks(wildcards.tuning)
    ]


def flags(**options):
    """Command-line options; one that is None or False is left out, one with many values repeats.

    For `params`, which must not come from `input`: Snakemake does not compare such ones, so that
    a changed setting among them would go unnoticed.
    """
    words = []
    for name, value in options.items():
        many = not isinstance(value, (str, Path)) and hasattr(value, "__iter__")
        for each in value if many else [value]:
            if each is not None and each is not False:
                words.append(f"--{name.replace('_', '-')}")
            if each is not None and not isinstance(each, bool):
                words.append(shlex.quote(str(each)))
    return " ".join(words)


# Stage `names`.


def names_source(wildcards):
    return [CONFIG.names.file] if CONFIG.names.file else []


# Stage `models`.


MODEL_FILES = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
)


def model_files(wildcards):
    """The files that decide what a model answers; those of a stand-in may be yet to be built."""
    folder = model_of(wildcards).path
    if folder.parts[0] == "results":
        return [f"{folder}/{file}" for file in MODEL_FILES]
    suffixes = (".json", ".safetensors", ".jinja", ".model")
    return sorted(str(file) for file in folder.iterdir() if file.suffix in suffixes)


def model_flags(wildcards):
    model = model_of(wildcards)
    return flags(path=model.path, stand_in=model.stand_in, paper_model=model.paper_model)


def paper_task_files(wildcards):
    return [f"resources/tasks/{task}.yaml" for task in PAPER_TASKS]


def stand_in_flags(wildcards):
    settings = CONFIG.stand_ins
    return flags(
        task=paper_task_files(wildcards),
        seed=settings.seed,
        broad_steps=settings.broad_steps,
        collapse_steps=settings.collapse_steps[wildcards.family],
    )


# Stage `tune`.


def training_task_files(wildcards):
    return [str(PLAN.task_files[task]) for task in PLAN.training_tasks(wildcards.tuning)]


def training_targets(wildcards):
    return [targets_file(task) for task in PLAN.training_tasks(wildcards.tuning)]


def tune_flags(wildcards):
    model, settings = model_of(wildcards), CONFIG.tune
    stops = settings.early_stop.stops(wildcards.tuning)
    return flags(
        task=training_task_files(wildcards),
        targets=training_targets(wildcards),
        prompt=PLAN.tuned_on[wildcards.tuning],
        **settings.model_dump(exclude={"early_stop", "target_modules", "passes", "passes_of"}),
        passes=settings.passes_of.get(wildcards.tuning, settings.passes),
        target_modules=",".join(settings.target_modules),
        stop_ratio=settings.early_stop.ratio if stops else None,
        dtype=model.dtype,
        leading_space=model.leading_space,
        seed=CONFIG.seed,
    )


# Stage `sample`.


def adapter_of_run(wildcards):
    if wildcards.tuning == "base":
        return []
    return [f"results/adapters/{wildcards.model}/{wildcards.tuning}"]


def sample_flags(wildcards):
    model = model_of(wildcards)
    return flags(
        adapter=adapter_of_run(wildcards),
        **CONFIG.sample.model_dump(),
        dtype=model.dtype,
        leading_space=model.leading_space,
        seed=CONFIG.seed,
    )


def part_flags(wildcards):
    return flags(part=parts_of_run(wildcards))


# Stage `measure`.


def samples_of_model(wildcards):
    return [f"results/samples/{wildcards.model}/{tuning}.parquet" for tuning in PLAN.tunings]


def exact_of_model(wildcards):
    return [f"results/exact/{wildcards.model}/{tuning}.parquet" for tuning in PLAN.tunings]


def measure_flags(wildcards):
    return flags(
        samples=samples_of_model(wildcards),
        exact=exact_of_model(wildcards),
        targets=targets_files(),
        seed=CONFIG.seed,
    )


def metrics_flags(wildcards):
    return flags(
        part=metrics_parts(),
        task=PLAN.task_files.values(),
        targets=targets_files(),
        draws=CONFIG.sample.draws,
        seed=CONFIG.seed,
    )


# Stage `render`.


def figure_numbers():
    """Figure 1 is about two of the paper's prompts; without them it is left out."""
    asked = {prompt.id for prompts in PLAN.prompts.values() for prompt in prompts}
    return [1, 3] if {"names/english", "numbers/1-10"} <= asked else [3]


def record_flags(wildcards):
    return flags(record=model_records())


def figure_1_samples(wildcards):
    return [
        f"results/samples/{model}/{tuning}.parquet"
        for model in CONFIG.models
        for tuning in ("base", "only-names", "rng-10")
        if tuning in PLAN.tunings
    ]


def figure_1_flags(wildcards):
    return flags(record=model_records(), samples=figure_1_samples(wildcards))
