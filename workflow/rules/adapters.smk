"""Adapters as others take them up: a model card in each folder; on request, merged models."""


localrules:
    cards_of_model,
    card_of_form,
    model_cards,


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


rule model_cards:
    input:
        whole_stage("model_cards", "cards_of_model", model_cards()),


rule cards_of_model:
    input:
        adapters=expand(
            "results/adapters/{{model}}/{run}/{file}",
            run=OTHER_RUNS,
            file=["run.json", "training.parquet"],
        ),
        metrics="results/parts/{model}.metrics.parquet",
        tasks=files_of_tasks(PLAN.task_files[task] for task in TRAINED),
        targets=[targets_file(task) for task in TRAINED],
    output:
        expand("results/adapters/{{model}}/{run}/README.md", run=OTHER_RUNS),
    log:
        "results/logs/model-cards/{model}.log",
    conda:
        ENVIRONMENT
    params:
        flags=card_flags(OTHER_RUNS),
        code=fingerprint("stages.model_cards"),
    shell:
        "diffuselm model-cards {params.flags} --metrics {input.metrics} > {log} 2>&1"


if FORM_RUNS:

    use rule cards_of_model as card_of_form with:
        input:
            adapters=expand(
                "results/adapters/{{model}}/{run}/{file}",
                run=FORM_RUNS,
                file=["run.json", "training.parquet"],
            ),
            metrics="results/parts/{model}.metrics.parquet",
            tasks=files_of_tasks(PLAN.task_files[task] for task in TRAINED),
            targets=[targets_file(task) for task in TRAINED],
        output:
            expand("results/adapters/{{model}}/{run}/README.md", run=FORM_RUNS),
        log:
            "results/logs/model-cards/{model}.form.log",
        params:
            flags=card_flags(FORM_RUNS),
            code=fingerprint("stages.model_cards"),


# `snakemake results/merged/MODEL/RUN`
rule merge:
    input:
        model="results/models/{model}.json",
        adapter=adapter("{model}", "{run}"),
    output:
        directory("results/merged/{model}/{run}"),
    log:
        "results/logs/merge/{model}/{run}.log",
    benchmark:
        "results/benchmarks/merge/{model}/{run}.tsv"
    wildcard_constraints:
        run="|".join(map(re.escape, FORM_RUNS + OTHER_RUNS)),
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=mem_mb,
        runtime=sampling_minutes,
    params:
        adapter=adapter_flag,
        code=fingerprint("stages.merge"),
    shell:
        "diffuselm merge --model-record {input.model} --adapter {params.adapter} "
        "--threads {threads} --out {output} > {log} 2>&1"
