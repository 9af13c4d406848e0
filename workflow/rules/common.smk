"""The run matrix, path helpers and shared settings; logic is in the package."""

import json
import os
import re
import shlex
import sys
from pathlib import Path

WORKFLOW = Path(workflow.basedir) / "workflow"
if str(WORKFLOW) not in sys.path:
    sys.path.insert(0, str(WORKFLOW))

from diffuselm.config.settings import PAPER_TASKS, read_config
from diffuselm.errors import InputError
from diffuselm.plan.fingerprint import fingerprint
from diffuselm.plan.plan import make_plan
from diffuselm.plan.results_lock import hold
from diffuselm.files.runs import is_held
from diffuselm.plan.running_jobs import RunningJobs, tell
from diffuselm.config.strict_yaml import check_keys
from diffuselm.tasks.prompt_files import task_inputs
from diffuselm.tasks.tasks import task_of

ORIGIN = ", ".join(map(os.path.relpath, workflow.overwrite_configfiles)) or "config.yaml"
try:
    for file in workflow.overwrite_configfiles or ["config.yaml"]:
        check_keys(Path(file))
    PLAN = make_plan(read_config(config, ORIGIN), ORIGIN)
except InputError as error:
    sys.exit(f"error: {' '.join(str(error).splitlines())}")
CONFIG = PLAN.config

# Shell lines call `diffuselm`, whatever environment is active; a conda environment comes first.
os.environ.update(
    PATH=os.pathsep.join(
        [str(WORKFLOW / "bin"), str(Path(sys.executable).parent), *os.get_exec_path()]
    )
)

ENVIRONMENT = "../../envs/diffuselm.yaml"


def hold_results():
    """Before the first job: one invocation at a time, in place of Snakemake's own lock.

    That one outlives a killed Snakemake, and nobody but the user can take it away.
    """
    global RESULTS_LOCK
    try:
        RESULTS_LOCK = hold(Path("results"))
    except InputError as error:
        sys.exit(f"error: {error}")


def report_jobs():
    """From the first job on: every minute, how far the jobs are."""
    _, jobs = workflow.dag.stats()
    timed = [each.name for each in workflow.rules if each.benchmark]
    counts = {name: count for name, count in jobs.items() if name != "total"}
    tell(RunningJobs(counts, timed), logger)


def tell_where_to_look():
    """At the end, where the whole is done."""
    if Path("results/scorecard.md").exists():
        given = shlex.join(map(os.path.relpath, workflow.overwrite_configfiles))
        with_config = f" --configfile {given}" if given else ""
        logger.info(
            "Look at results/scorecard.md, results/tables and results/figures; all on one page: "
            f"snakemake{with_config} --report report.html"
        )


wildcard_constraints:
    model="|".join(map(re.escape, CONFIG.models)),
    run="|".join({re.escape(run) for model in CONFIG.models for run in PLAN.runs(model)}),
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


def files_of_tasks(tasks):
    """The files that tasks are read from: published ones are a folder each."""
    return [str(file) for task in tasks for file in task_inputs(task)]


def task_file(wildcards):
    return files_of_tasks([PLAN.task_files[wildcards.task]])


def task_flag(wildcards):
    return PLAN.task_files[wildcards.task]


def model_of(wildcards):
    return CONFIG.models[wildcards.model]


def targets_file(task):
    return f"results/targets/{task}.parquet"


def targets_files():
    return [targets_file(task) for task in PLAN.task_files]


def metrics_parts():
    return [f"results/parts/{model}.metrics.parquet" for model in CONFIG.models]


def shown_models():
    """How tables and figures show each model; what they depend on is in its record."""
    return [f"results/models/{model}.shown.json" for model in CONFIG.models]


def model_records():
    return [f"results/models/{model}.json" for model in CONFIG.models]


def runs(pattern):
    """The pattern for every model and run."""
    return [
        pattern.format(model=model, run=run) for model in CONFIG.models for run in PLAN.runs(model)
    ]


def tuning_of(wildcards):
    return PLAN.split(wildcards.run)[0]


def seed_of(wildcards):
    return PLAN.split(wildcards.run)[1]


def tuned_runs(model):
    return [run for run in PLAN.runs(model) if PLAN.split(run)[0] in PLAN.tuned_on]


def adapters():
    return [
        file for model in CONFIG.models for run in tuned_runs(model) for file in adapter(model, run)
    ]


def biographies():
    """Those of the first seed: tables 1 to 3 and figures 4 and 5 show single answers."""
    return [
        f"results/biographies/{model}/{run}.parquet"
        for model in CONFIG.models
        for run in PLAN.runs_of(CONFIG.seed, PLAN.biographies(model))
    ]


def biography_runs(model):
    return [run for seed in PLAN.seeds for run in PLAN.runs_of(seed, PLAN.biographies(model))]


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


def adapter_folder(model, run):
    return f"results/adapters/{model}/{run}"


def adapter(model, run):
    """The files of an adapter; its run.json says which hashes the others have."""
    names = ("adapter_model.safetensors", "adapter_config.json", "run.json")
    return [f"{adapter_folder(model, run)}/{name}" for name in names]


# What a job that opens a model asks for: by the model's size, and more at each attempt.


def mem_mb(wildcards, attempt):
    return int(2000 + 5000 * PLAN.billions(wildcards.model)) * attempt


def model_threads(wildcards):
    """CPU cores that a model's products fill; one beside a GPU."""
    if gpus(wildcards) and "gpu" in workflow.global_resources:
        return 1
    billions = PLAN.billions(wildcards.model)
    return 1 if billions < 0.3 else 2 if billions < 1 else 4 if billions < 4 else 8


def torch_threads(wildcards, input):
    """As many, also where Snakemake has fewer cores: the last bits of results depend on it.

    Takes `input` so that Snakemake does not compare it: a GPU's results do not depend on it.
    """
    return model_threads(wildcards)


def tuning_minutes(wildcards, attempt):
    return int(60 + 60 * PLAN.billions(wildcards.model)) * attempt


def sampling_minutes(wildcards, attempt):
    return int(60 + 20 * PLAN.billions(wildcards.model)) * attempt


def gpus(wildcards):
    model = model_of(wildcards)
    return 0 if model.stand_in else model.gpus  # a stand-in is quicker on the CPU


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


# Beside the weights; where a GGUF file has no chat template, the config has one.
CONVERTED_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
)


def model_files(wildcards):
    """The files that decide what a model answers; those of a stand-in may be yet to be built."""
    model = model_of(wildcards)
    template = [str(model.chat_template)] if model.chat_template else []
    if model.hub:
        return [f"results/downloads/{wildcards.model}.json", *template]
    if model.gguf:
        folder = f"results/converted/{wildcards.model}"
        made = [f"{folder}/{file}" for file in ("model.safetensors", *CONVERTED_FILES)]
        return [f"{folder}.json", *made, *template]
    if model.path.parts[0] == "results":
        return [f"{model.path}/{file}" for file in MODEL_FILES]
    suffixes = (".json", ".safetensors", ".jinja", ".model", ".txt")
    return sorted(str(f) for f in model.path.iterdir() if f.suffix in suffixes) + template


def downloads():
    return [f"results/downloads/{name}.json" for name, model in CONFIG.models.items() if model.hub]


def download_flags(wildcards):
    model = model_of(wildcards)
    return flags(hub=model.hub, revision=model.revision)


def conversions():
    return [f"results/converted/{name}.json" for name, model in CONFIG.models.items() if model.gguf]


def gguf_file(wildcards):
    return str(PLAN.gguf(wildcards.model))


def model_flags(wildcards):
    model = model_of(wildcards)
    return flags(
        path=model.path,
        download=f"results/downloads/{wildcards.model}.json" if model.hub else None,
        converted=f"results/converted/{wildcards.model}.json" if model.gguf else None,
        end_token=model.end_tokens,
        template_arg=[f"{key}={json.dumps(value)}" for key, value in model.template_args.items()],
        dtype=model.dtype,
        four_bit=model.four_bit,
        attention=model.attention,
        gpus=model.gpus,
        device_map=model.device_map,
        chat_template=model.chat_template,
        leading_space=model.leading_space,
        no_leading_space=model.leading_space is False,
        stand_in=model.stand_in,
        paper_model=model.paper_model,
    )


def shown_flags(wildcards):
    model = model_of(wildcards)
    return flags(
        baseline=PLAN.baseline(wildcards.model),
        stand_in=model.stand_in,
        paper_model=model.paper_model,
    )


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
    tuning, seed = PLAN.split(wildcards.run)
    start = PLAN.starts_from(tuning)
    return adapter(wildcards.model, *PLAN.runs_of(seed, [start])) if start else []


def training_tasks(wildcards):
    return [PLAN.task_files[task] for task in PLAN.training_tasks(tuning_of(wildcards))]


def training_task_files(wildcards):
    return files_of_tasks(training_tasks(wildcards))


def training_targets(wildcards):
    return [targets_file(task) for task in PLAN.training_tasks(tuning_of(wildcards))]


def tune_flags(wildcards):
    tuning, seed = PLAN.split(wildcards.run)
    settings, start = CONFIG.tune, PLAN.starts_from(tuning)
    stops = settings.early_stop.stops(tuning)
    return flags(
        tuning=tuning,
        task=training_tasks(wildcards),
        targets=training_targets(wildcards),
        prompt=PLAN.tuned_on[tuning],
        start=start and adapter_folder(wildcards.model, *PLAN.runs_of(seed, [start])),
        rank=settings.rank,
        alpha=settings.alpha,
        dropout=settings.dropout,
        learning_rate=settings.learning_rate_of.get(tuning, settings.learning_rate),
        eps=settings.eps,
        max_grad_norm=settings.max_grad_norm,
        passes=settings.passes_of.get(tuning, settings.passes),
        token_budget=settings.token_budget,
        target_modules=",".join(settings.target_modules),
        stop_ratio=settings.early_stop.ratio if stops else None,
        seed=seed,
    )


def checkpoint_seconds(wildcards, input):
    """Takes `input` so that Snakemake does not compare it: no result depends on it."""
    return CONFIG.tune.checkpoint_seconds


# Stage `sample`.


def answering_run(wildcards):
    """The run whose adapter a run answers with, or None."""
    tuning, seed = PLAN.split(wildcards.run)
    answering = PLAN.adapter_of(tuning)
    return answering and PLAN.runs_of(seed, [answering])[0]


def adapter_of_run(wildcards):
    run = answering_run(wildcards)
    return adapter(wildcards.model, run) if run else []


def adapter_flag(wildcards):
    run = answering_run(wildcards)
    return run and adapter_folder(wildcards.model, run)


def measured(wildcards):
    return PLAN.measured(wildcards.model, tuning_of(wildcards))


def measured_tasks(wildcards):
    return [PLAN.task_files[task] for task in measured(wildcards)]


def measured_task_files(wildcards):
    return files_of_tasks(measured_tasks(wildcards))


def measured_targets(wildcards):
    return [targets_file(task) for task in measured(wildcards)]


def each(numbers):
    """Options of the form TASK=N."""
    return [f"{task}={number}" for task, number in numbers.items()]


def longest(tasks):
    return each({task: PLAN.longest[task] for task in tasks})


def held_out_text(wildcards):
    """None where answers are held: that changes nothing in how a text is read."""
    read = CONFIG.held_out_text and not is_held(tuning_of(wildcards))
    return [str(CONFIG.held_out_text)] if read else []


def sample_flags(wildcards):
    (tuning, seed), draws = PLAN.split(wildcards.run), measured(wildcards)
    return flags(
        tuning=tuning,
        adapter=adapter_flag(wildcards),
        task=measured_tasks(wildcards),
        targets=measured_targets(wildcards),
        draws=each(draws),
        max_tokens=longest(draws),
        held=is_held(tuning),
        token_budget=CONFIG.sample.token_budget,
        held_out_text=held_out_text(wildcards),
        pass_budget=CONFIG.tune.token_budget,
        seed=seed,
    )


# Stage `sample`, at other temperatures.


def swept_run(wildcards):
    return PLAN.baseline(wildcards.model)


def swept_adapter(wildcards):
    run = swept_run(wildcards)
    return adapter(wildcards.model, run) if PLAN.adapter_of(run) else []


def swept_tasks():
    return list(dict.fromkeys(task_of(prompt) for prompt in PLAN.swept))


def swept_task_files(wildcards):
    return files_of_tasks(PLAN.task_files[task] for task in swept_tasks())


def swept_targets(wildcards):
    return [targets_file(task) for task in swept_tasks()]


def sweep_flags(wildcards):
    run = swept_run(wildcards)
    return flags(
        tuning=run,
        adapter=adapter_folder(wildcards.model, run) if PLAN.adapter_of(run) else None,
        task=[PLAN.task_files[task] for task in swept_tasks()],
        targets=swept_targets(wildcards),
        prompt=PLAN.swept,
        temperature=CONFIG.temperatures,
        draws=CONFIG.sample.draws,
        max_tokens=longest(swept_tasks()),
        token_budget=CONFIG.sample.token_budget,
        seed=CONFIG.seed,
    )


# Stage `mt_bench`.


def mt_bench_metrics():
    return [
        f"results/mt-bench/metrics/{model}/{run}.parquet"
        for model in CONFIG.models
        for run in ("base", "all")
        if CONFIG.mt_bench and run in PLAN.runs(model)
    ]


def mt_bench_source(wildcards):
    source = CONFIG.mt_bench.questions
    return [] if "://" in source else [source]


def mt_bench_questions_flags(wildcards):
    return flags(source=CONFIG.mt_bench.questions, sha256=CONFIG.mt_bench.sha256)


def mt_bench_answers_flags(wildcards):
    return flags(
        tuning=tuning_of(wildcards),
        adapter=adapter_flag(wildcards),
        max_tokens=CONFIG.mt_bench.max_tokens,
        seed=CONFIG.seed,
    )


def mt_bench_judge_flags(wildcards):
    return flags(**CONFIG.mt_bench.judge.model_dump(), seed=CONFIG.seed)


# Stage `measure`.


def of_model(kind, wildcards, chosen):
    return [f"results/{kind}/{wildcards.model}/{run}.parquet" for run in chosen]


def samples_of_model(wildcards):
    return of_model("samples", wildcards, PLAN.runs(wildcards.model))


def exact_of_model(wildcards):
    return of_model("exact", wildcards, PLAN.runs(wildcards.model))


def text_of_model(wildcards):
    return of_model("text", wildcards, PLAN.runs(wildcards.model))


def adapters_of_model(wildcards):
    return [
        f"{adapter_folder(wildcards.model, run)}/run.json" for run in tuned_runs(wildcards.model)
    ]


def biographies_of_model(wildcards):
    return of_model("biographies", wildcards, biography_runs(wildcards.model))


def sweep_of_model(wildcards):
    return [f"results/sweep/{wildcards.model}.parquet"] if PLAN.swept else []


def measure_flags(wildcards):
    return flags(
        samples=samples_of_model(wildcards),
        exact=exact_of_model(wildcards),
        text=text_of_model(wildcards),
        adapter=[adapter_folder(wildcards.model, run) for run in tuned_runs(wildcards.model)],
        biography=biographies_of_model(wildcards),
        sweep=sweep_of_model(wildcards),
        baseline=PLAN.baseline(wildcards.model),
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


# Stage `adapters`.


def runs_tuned_on(tunings):
    return [run for seed in PLAN.seeds for run in PLAN.runs_of(seed, tunings)]


# `form` is a tuning of those models alone whose baseline it is.
FORM_RUNS = runs_tuned_on([tuning for tuning in PLAN.tuned_on if tuning == "form"])
OTHER_RUNS = runs_tuned_on([tuning for tuning in PLAN.tuned_on if tuning != "form"])


def card_flags(runs):
    """Options for the cards of these runs."""

    def of_model(wildcards):
        return flags(
            adapter=[adapter_folder(wildcards.model, run) for run in runs],
            baseline=PLAN.baseline(wildcards.model),
            task=[PLAN.task_files[task] for task in TRAINED],
            targets=[targets_file(task) for task in TRAINED],
        )

    return of_model


def model_cards():
    return [
        f"{adapter_folder(model, run)}/README.md"
        for model in CONFIG.models
        for run in tuned_runs(model)
    ]


TRAINED = [*PLAN.prompts, *(["form"] if FORM_RUNS else [])]


# Stage `render`.


def figure_numbers():
    """Those whose prompts the config has."""
    asked = {prompt.id for prompts in PLAN.prompts.values() for prompt in prompts}
    return [
        *([1] if {"names/english", "numbers/1-10"} <= asked else []),
        *([2] if "ranges" in PLAN.task_files else []),
        3,
        *([4, 5] if "biographies" in PLAN.prompts else []),
        6,
    ]


def table_numbers():
    return [1, 2, 3, 4, 5, 6, 7, 8] if "biographies" in PLAN.prompts else [4, 5, 6]


def record_flags(wildcards):
    return flags(record=shown_models())


def biography_flags(wildcards):
    return flags(biographies=biographies(), record=shown_models())


def biography_table_flags(wildcards):
    task = PLAN.task_files["biographies"]
    return f"{biography_flags(wildcards)} {flags(task=task, seed=CONFIG.seed)}"


def figure_1_samples(wildcards):
    return [
        f"results/samples/{model}/{run}.parquet"
        for model in CONFIG.models
        for run in (PLAN.baseline(model), "only-names", "rng-10")
        if run in PLAN.runs(model)
    ]


def figure_1_flags(wildcards):
    return flags(record=shown_models(), samples=figure_1_samples(wildcards))
