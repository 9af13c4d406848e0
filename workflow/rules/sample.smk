"""Stage `sample`: answers of each model and tuning, and the exact probabilities of its targets."""


localrules:
    samples,
    sweeps,


rule samples:
    input:
        [model[kind] for model in MODELS.values() for kind in ("samples", "exact")],


rule sample:
    input:
        unpack(of_run("asked_with")),
        model="results/models/{model}.json",
    output:
        samples="results/samples/{model}/{run}.parquet",
        run="results/samples/{model}/{run}.run.json",
        exact="results/exact/{model}/{run}.parquet",
        text="results/text/{model}/{run}.parquet",
    log:
        "results/logs/sample/{model}/{run}.log",
    conda:
        ENVIRONMENT
    threads: model_threads
    resources:
        mem_mb=of_model("mem_mb"),
        runtime=of_model("sampling_minutes"),
        gpu=of_model("gpus"),
    params:
        times="results/benchmarks/sample/{model}/{run}.tsv",
        flags=of_run("asking"),
        threads=torch_threads,
        checkpoint="results/checkpoints/sample/{model}/{run}",
        code=fingerprint("tree", "model", "sampling", "tasks/readings"),
        method=of_run("asking_code"),
    shell:
        "diffuselm sample --model {input.model} --targets {input.targets} {params.flags} "
        "--checkpoint {params.checkpoint} --threads {params.threads} --samples {output.samples} "
        "--exact {output.exact} --text {output.text} --times {params.times} > {log} 2>&1"


rule sweeps:
    input:
        [model["sweep"] for model in MODELS.values()],


rule sweep:
    input:
        model="results/models/{model}.json",
        adapter=of_model("swept_with"),
        targets=jobs.target_files(PLAN.swept_tasks),
        prompts=jobs.target_files(PLAN.swept_tasks, "json"),
    output:
        answers="results/sweep/{model}.parquet",
        run="results/sweep/{model}.run.json",
    log:
        "results/logs/sweep/{model}.log",
    conda:
        ENVIRONMENT
    threads: model_threads
    resources:
        mem_mb=of_model("mem_mb"),
        runtime=of_model("sampling_minutes"),
        gpu=of_model("gpus"),
    params:
        times="results/benchmarks/sweep/{model}.tsv",
        flags=of_model("sweeping"),
        threads=torch_threads,
        checkpoint="results/checkpoints/sweep/{model}",
        code=fingerprint("tree", "model", "sampling", "methods/temperature"),
    shell:
        "diffuselm sweep --model {input.model} --targets {input.targets} {params.flags} "
        "--checkpoint {params.checkpoint} --threads {params.threads} --out {output.answers} "
        "--times {params.times} > {log} 2>&1"
