"""Stage `records`: a dataset for each task of records and each model, and its card."""


localrules:
    dataset_card,
    records,
    write_records,


rule records:
    input:
        [file for files in RECORDS.values() for file in files],
        [f"results/records/{task}/{model}/README.md" for task, model in RECORDS],


# Only of a run that is asked for more records than `sample` draws answers.
rule draw_records:
    input:
        unpack(of_run("drawn_from")),
        model="results/models/{model}.json",
    output:
        answers="results/drawn/{model}/{run}.parquet",
        run="results/drawn/{model}/{run}.run.json",
    log:
        "results/logs/drawn/{model}/{run}.log",
    conda:
        ENVIRONMENT
    threads: model_threads
    resources:
        mem_mb=of_model("mem_mb"),
        runtime=of_model("sampling_minutes"),
        gpu=of_model("gpus"),
    params:
        times="results/benchmarks/drawn/{model}/{run}.tsv",
        flags=of_run("drawing"),
        threads=torch_threads,
        checkpoint="results/checkpoints/drawn/{model}/{run}",
        code=fingerprint("tree", "model", "sampling", "stages/records", "tasks/shares"),
    shell:
        "diffuselm draw-records --model {input.model} --targets {input.targets} {params.flags} "
        "--checkpoint {params.checkpoint} --threads {params.threads} --out {output.answers} "
        "--times {params.times} > {log} 2>&1"


rule write_records:
    input:
        samples="results/samples/{model}/{run}.parquet",
        drawn=of_records("drawn"),
        targets="results/targets/{task}.parquet",
        prompts="results/targets/{task}.json",
    output:
        table="results/records/{task}/{model}/{run}.parquet",
        lines="results/records/{task}/{model}/{run}.jsonl",
    log:
        "results/logs/records/{task}/{model}/{run}.log",
    conda:
        ENVIRONMENT
    params:
        flags=of_records("records"),
        code=fingerprint("measure", "tasks/shares", *READING),
    shell:
        "diffuselm write-records --samples {input.samples} --drawn {input.drawn} "
        "--targets {input.targets} {params.flags} --out {output.table} > {log} 2>&1"


rule dataset_card:
    input:
        tables=records_of_model,
        runs=run_records_of_model,
        metrics="results/metrics/{model}.parquet",
        targets="results/targets/{task}.parquet",
        prompts="results/targets/{task}.json",
    output:
        "results/records/{task}/{model}/README.md",
    log:
        "results/logs/records/{task}/{model}/README.log",
    conda:
        ENVIRONMENT
    params:
        flags=card_flags,
        code=fingerprint("paper"),
    shell:
        "diffuselm dataset-card --tables {input.tables} --runs {input.runs} "
        "--metrics {input.metrics} --targets {input.targets} {params.flags} "
        "--out {output} > {log} 2>&1"
