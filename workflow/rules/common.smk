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
from diffuselm.tasks import task_of

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
    return [f"results/parts/{model}.metrics.parquet" for model in CONFIG.models]


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
    return [adapter(model, tuning) for model in CONFIG.models for tuning in PLAN.tuned_on]


def biographies():
    return [
        f"results/biographies/{model}/{tuning}.parquet"
        for model in CONFIG.models
        for tuning in PLAN.biographies
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


def adapter(model, tuning):
    return f"results/adapters/{model}/{tuning}"


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
    return [f"resources/tasks/{task}.yaml" for task in (*PAPER_TASKS, "biographies")]


def stand_in_flags(wildcards):
    settings = CONFIG.stand_ins
    return flags(
        task=paper_task_files(wildcards),
        seed=settings.seed,
        broad_steps=settings.broad_steps,
        collapse_steps=settings.collapse_steps.get(wildcards.family, 250),
        biography_steps=settings.biography_steps,
    )


# Stage `targets`.


def ranges_flags(wildcards):
    ranges = CONFIG.ranges
    return flags(high=ranges.highs, size=ranges.sizes, versions=ranges.versions, seed=CONFIG.seed)


# Stage `tune`.


def start_of_tuning(wildcards):
    start = PLAN.starts_from(wildcards.tuning)
    return [adapter(wildcards.model, start)] if start else []


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
        start=start_of_tuning(wildcards),
        rank=settings.rank,
        alpha=settings.alpha,
        dropout=settings.dropout,
        learning_rate=settings.learning_rate_of.get(wildcards.tuning, settings.learning_rate),
        eps=settings.eps,
        max_grad_norm=settings.max_grad_norm,
        passes=settings.passes_of.get(wildcards.tuning, settings.passes),
        token_budget=settings.token_budget,
        target_modules=",".join(settings.target_modules),
        stop_ratio=settings.early_stop.ratio if stops else None,
        dtype=model.dtype,
        leading_space=model.leading_space,
        seed=CONFIG.seed,
    )


# Stage `sample`.


def adapter_of_run(wildcards):
    tuned = wildcards.tuning != "base"
    return [adapter(wildcards.model, wildcards.tuning)] if tuned else []


def measured_task_files(wildcards):
    return [str(PLAN.task_files[task]) for task in PLAN.measured_tasks(wildcards.tuning)]


def measured_targets(wildcards):
    return [targets_file(task) for task in PLAN.measured_tasks(wildcards.tuning)]


def held_out_text(wildcards):
    return [str(CONFIG.held_out_text)] if CONFIG.held_out_text else []


def sampling_flags(wildcards):
    model = model_of(wildcards)
    return flags(
        **CONFIG.sample.model_dump(exclude={"max_tokens_of"}),
        dtype=model.dtype,
        leading_space=model.leading_space,
        seed=CONFIG.seed,
    )


def sample_flags(wildcards):
    settings, tasks = CONFIG.sample, PLAN.measured_tasks(wildcards.tuning)
    other = {t: settings.longest(t) for t in tasks if settings.longest(t) != settings.max_tokens}
    chosen = flags(
        adapter=adapter_of_run(wildcards),
        task=measured_task_files(wildcards),
        targets=measured_targets(wildcards),
        max_tokens_of=[f"{task}={tokens}" for task, tokens in other.items()],
        held_out_text=held_out_text(wildcards),
        pass_budget=CONFIG.tune.token_budget,
    )
    return f"{chosen} {sampling_flags(wildcards)}"


# Stage `sample`, at other temperatures.


def swept_tasks():
    return list(dict.fromkeys(task_of(prompt) for prompt in PLAN.swept))


def swept_task_files(wildcards):
    return [str(PLAN.task_files[task]) for task in swept_tasks()]


def swept_targets(wildcards):
    return [targets_file(task) for task in swept_tasks()]


def sweep_flags(wildcards):
    chosen = flags(
        task=swept_task_files(wildcards),
        targets=swept_targets(wildcards),
        prompt=PLAN.swept,
        temperature=CONFIG.temperatures,
    )
    return f"{chosen} {sampling_flags(wildcards)}"


# Stage `mt_bench`.


def mt_bench_metrics():
    return [
        f"results/mt-bench/metrics/{model}/{tuning}.parquet"
        for model in CONFIG.models
        for tuning in ("base", "all")
        if CONFIG.mt_bench and tuning in PLAN.tunings
    ]


def mt_bench_source(wildcards):
    source = CONFIG.mt_bench.questions
    return [] if "://" in source else [source]


def mt_bench_questions_flags(wildcards):
    return flags(source=CONFIG.mt_bench.questions, sha256=CONFIG.mt_bench.sha256)


def mt_bench_answers_flags(wildcards):
    return flags(
        adapter=adapter_of_run(wildcards),
        max_tokens=CONFIG.mt_bench.max_tokens,
        dtype=model_of(wildcards).dtype,
        seed=CONFIG.seed,
    )


def mt_bench_judge_flags(wildcards):
    return flags(**CONFIG.mt_bench.judge.model_dump(), seed=CONFIG.seed)


# Stage `measure`.


def samples_of_model(wildcards):
    return [f"results/samples/{wildcards.model}/{tuning}.parquet" for tuning in PLAN.tunings]


def exact_of_model(wildcards):
    return [f"results/exact/{wildcards.model}/{tuning}.parquet" for tuning in PLAN.tunings]


def text_of_model(wildcards):
    return [f"results/text/{wildcards.model}/{tuning}.parquet" for tuning in PLAN.tunings]


def adapters_of_model(wildcards):
    return [adapter(wildcards.model, tuning) for tuning in PLAN.tuned_on]


def biographies_of_model(wildcards):
    return [
        f"results/biographies/{wildcards.model}/{tuning}.parquet" for tuning in PLAN.biographies
    ]


def sweep_of_model(wildcards):
    return [f"results/sweep/{wildcards.model}.parquet"] if PLAN.swept else []


def measure_flags(wildcards):
    return flags(
        samples=samples_of_model(wildcards),
        exact=exact_of_model(wildcards),
        text=text_of_model(wildcards),
        adapter=adapters_of_model(wildcards),
        biography=biographies_of_model(wildcards),
        sweep=sweep_of_model(wildcards),
        targets=targets_files(),
        seed=CONFIG.seed,
    )


def metrics_flags(wildcards):
    return flags(
        part=[*metrics_parts(), *mt_bench_metrics()],
        task=PLAN.task_files.values(),
        targets=targets_files(),
        draws=CONFIG.sample.draws,
        seed=CONFIG.seed,
    )


# Stage `render`.


def figure_numbers():
    """Those whose prompts the config has."""
    asked = {prompt.id for prompts in PLAN.prompts.values() for prompt in prompts}
    return [
        *([1] if {"names/english", "numbers/1-10"} <= asked else []),
        *([2] if "ranges" in PLAN.task_files else []),
        3,
        *([4, 5] if PLAN.biographies else []),
        6,
    ]


def table_numbers():
    return [1, 2, 3, 4, 5, 6, 7, 8] if PLAN.biographies else [4, 5, 6]


def record_flags(wildcards):
    return flags(record=model_records())


def biography_flags(wildcards):
    return flags(biographies=biographies(), record=model_records())


def biography_table_flags(wildcards):
    task = PLAN.task_files["biographies"]
    return f"{biography_flags(wildcards)} {flags(task=task, seed=CONFIG.seed)}"


def figure_1_samples(wildcards):
    return [
        f"results/samples/{model}/{tuning}.parquet"
        for model in CONFIG.models
        for tuning in ("base", "only-names", "rng-10")
        if tuning in PLAN.tunings
    ]


def figure_1_flags(wildcards):
    return flags(record=model_records(), samples=figure_1_samples(wildcards))
