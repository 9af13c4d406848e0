"""Stage `tune`: one LoRA adapter per model and tuning."""


localrules:
    tune,


rule tune:
    input:
        whole_stage("tune", "tune_adapter", adapters()),


rule tune_adapter:
    input:
        model="results/models/{model}.json",
        start=start_of_tuning,
        tasks=training_task_files,
        targets=training_targets,
    output:
        adapter("{model}", "{run}"),
        "results/adapters/{model}/{run}/training.parquet",
    log:
        "results/logs/tune/{model}/{run}.log",
    benchmark:
        "results/benchmarks/tune/{model}/{run}.tsv"
    conda:
        ENVIRONMENT
    threads: model_threads
    resources:
        mem_mb=mem_mb,
        runtime=tuning_minutes,
        gpu=gpus,
    params:
        flags=tune_flags,
        threads=torch_threads,
        seconds=checkpoint_seconds,
        checkpoint="results/checkpoints/tune/{model}/{run}.safetensors",
        folder=subpath(output[0], parent=True),
        code=fingerprint("tree", "model", "tuning"),
    shell:
        "diffuselm tune --model-record {input.model} {params.flags} "
        "--checkpoint {params.checkpoint} --checkpoint-seconds {params.seconds} "
        "--threads {params.threads} --out {params.folder} > {log} 2>&1"
