"""Stages `sample` and `score`: answers to every prompt, exact probabilities of its targets,
loss on held-out text; the base model at other temperatures; biographies, parsed."""


localrules:
    sample,
    score,
    sweep,
    biographies,
    biographies_of_run,


rule sample:
    input:
        whole_stage("sample", "sample_run", runs("results/samples/{model}/{run}.parquet")),


rule score:
    input:
        whole_stage("score", "sample_run", runs("results/exact/{model}/{run}.parquet")),


rule sample_run:
    input:
        model="results/models/{model}.json",
        adapter=adapter_of_run,
        tasks=measured_task_files,
        targets=measured_targets,
        text=held_out_text,
    output:
        samples="results/samples/{model}/{run}.parquet",
        run="results/samples/{model}/{run}.run.json",
        exact="results/exact/{model}/{run}.parquet",
        text="results/text/{model}/{run}.parquet",
    log:
        "results/logs/sample/{model}/{run}.log",
    benchmark:
        "results/benchmarks/sample/{model}/{run}.tsv"
    conda:
        ENVIRONMENT
    threads: model_threads
    resources:
        mem_mb=mem_mb,
        runtime=sampling_minutes,
        gpu=gpus,
    params:
        flags=sample_flags,
        threads=torch_threads,
        checkpoint="results/checkpoints/sample/{model}/{run}",
        code=fingerprint("tree", "model"),
    shell:
        "diffuselm sample --model-record {input.model} {params.flags} "
        "--checkpoint {params.checkpoint} --threads {params.threads} --samples {output.samples} --exact {output.exact} "
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
        adapter=swept_adapter,
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
    threads: model_threads
    resources:
        mem_mb=mem_mb,
        runtime=sampling_minutes,
        gpu=gpus,
    params:
        flags=sweep_flags,
        threads=torch_threads,
        checkpoint="results/checkpoints/sweep/{model}",
        code=fingerprint("tree", "model"),
    shell:
        "diffuselm sweep --model-record {input.model} {params.flags} "
        "--checkpoint {params.checkpoint} --threads {params.threads} --out {output.answers} > {log} 2>&1"


rule biographies:
    input:
        whole_stage("biographies", "biographies_of_run", biographies()),


rule biographies_of_run:
    input:
        "results/samples/{model}/{run}.parquet",
    output:
        table="results/biographies/{model}/{run}.parquet",
        lines="results/biographies/{model}/{run}.jsonl",
    log:
        "results/logs/biographies/{model}/{run}.log",
    conda:
        ENVIRONMENT
    params:
        code=fingerprint("measure"),
    shell:
        "diffuselm biographies --samples {input} --out {output.table} > {log} 2>&1"
