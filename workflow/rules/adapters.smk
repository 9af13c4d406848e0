"""Adapters as others take them up: a model card in each folder; on request, merged models."""


localrules:
    model_cards,
    write_cards,


rule model_cards:
    input:
        [card for card in in_all_adapters("README.md") if not is_method(Path(card).parent.name)],


rule write_cards:
    input:
        runs=expand("results/adapters/{{model}}/{run}/run.json", run=PLAN.runs_tuned_on_tasks),
        metrics="results/metrics/{model}.parquet",
        targets=jobs.target_files(PLAN.trained_tasks),
    output:
        expand("results/adapters/{{model}}/{run}/README.md", run=PLAN.runs_tuned_on_tasks),
    log:
        "results/logs/model-cards/{model}.log",
    conda:
        ENVIRONMENT
    params:
        baseline=of_model("baseline"),
        code=fingerprint("paper"),
    shell:
        "diffuselm model-cards --runs {input.runs} --metrics {input.metrics} "
        "--targets {input.targets} --baseline {params.baseline} > {log} 2>&1"


# `form` is a tuning of those models alone whose baseline it is.
if PLAN.runs_of_form:

    localrules:
        write_card_of_form,

    use rule write_cards as write_card_of_form with:
        input:
            runs=expand("results/adapters/{{model}}/{run}/run.json", run=PLAN.runs_of_form),
            metrics="results/metrics/{model}.parquet",
            targets=jobs.target_files(PLAN.trained_tasks),
        output:
            expand("results/adapters/{{model}}/{run}/README.md", run=PLAN.runs_of_form),
        log:
            "results/logs/model-cards/{model}.form.log",


# `snakemake results/merged/MODEL/RUN`
rule merge:
    input:
        model="results/models/{model}.json",
        adapter="results/adapters/{model}/{run}/adapter_model.safetensors",
        run="results/adapters/{model}/{run}/run.json",
    output:
        directory("results/merged/{model}/{run}"),
    log:
        "results/logs/merge/{model}/{run}.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=of_model("mem_mb"),
        runtime=of_model("sampling_minutes"),
    params:
        times="results/benchmarks/merge/{model}/{run}.tsv",
        adapter=subpath(input.adapter, parent=True),
        code=fingerprint("model"),
    shell:
        "diffuselm merge --model {input.model} --adapter {params.adapter} --threads {threads} "
        "--out {output} --times {params.times} > {log} 2>&1"
