"""Stages `sample` and `score`: answers to every prompt, exact probabilities of its targets,
loss on held-out text; the base model at other temperatures; biographies, parsed."""


localrules:
    sample,
    score,
    sweep,
    biographies,


rule sample:
    input:
        whole_stage("sample", "sample_run", runs("results/samples/{model}/{tuning}.parquet")),


rule score:
    input:
        whole_stage("score", "sample_run", runs("results/exact/{model}/{tuning}.parquet")),


rule sample_run:
    input:
        model="results/models/{model}.json",
        adapter=adapter_of_run,
        tasks=measured_task_files,
        targets=measured_targets,
        text=held_out_text,
    output:
        samples="results/samples/{model}/{tuning}.parquet",
        run="results/samples/{model}/{tuning}.run.json",
        exact="results/exact/{model}/{tuning}.parquet",
        text="results/text/{model}/{tuning}.parquet",
    log:
        "results/logs/sample/{model}/{tuning}.log",
    benchmark:
        "results/benchmarks/sample/{model}/{tuning}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=120,
        gpu=1,
    params:
        flags=sample_flags,
        code=fingerprint("stages.sample"),
    shell:
        "diffuselm sample --model-record {input.model} --tuning {wildcards.tuning} {params.flags} "
        "--threads {threads} --samples {output.samples} --exact {output.exact} "
        "--text {output.text} > {log} 2>&1"


rule sweep:
    input:
        whole_stage(
            "sweep",
            "sweep_model",
            expand("results/sweep/{model}.parquet", model=CONFIG.models) if PLAN.swept else [],
        ),


rule sweep_model:
    input:
        model="results/models/{model}.json",
        tasks=swept_task_files,
        targets=swept_targets,
    output:
        answers="results/sweep/{model}.parquet",
        run="results/sweep/{model}.run.json",
    log:
        "results/logs/sweep/{model}.log",
    benchmark:
        "results/benchmarks/sweep/{model}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=120,
        gpu=1,
    params:
        flags=sweep_flags,
        code=fingerprint("stages.sweep"),
    shell:
        "diffuselm sweep --model-record {input.model} {params.flags} --threads {threads} "
        "--out {output.answers} > {log} 2>&1"


rule biographies:
    input:
        whole_stage("biographies", "biographies_of_run", biographies()),


rule biographies_of_run:
    input:
        "results/samples/{model}/{tuning}.parquet",
    output:
        table="results/biographies/{model}/{tuning}.parquet",
        lines="results/biographies/{model}/{tuning}.jsonl",
    log:
        "results/logs/biographies/{model}/{tuning}.log",
    conda:
        ENVIRONMENT
    params:
        code=fingerprint("stages.biographies"),
    shell:
        "diffuselm biographies --samples {input} --out {output.table} > {log} 2>&1"
