"""Adapters as others take them up: a model card in each folder; on request, merged models."""


localrules:
    cards_of_model,
    model_cards,


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
        code=fingerprint("paper"),
    shell:
        "diffuselm model-cards {params.flags} --metrics {input.metrics} > {log} 2>&1"


if FORM_RUNS:

    localrules:
        card_of_form,

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
            code=fingerprint("paper"),


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
        code=fingerprint("model"),
    shell:
        "diffuselm merge --model-record {input.model} --adapter {params.adapter} "
        "--threads {threads} --out {output} > {log} 2>&1"
