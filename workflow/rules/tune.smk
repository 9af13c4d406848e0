"""Stage `tune`: one LoRA adapter per model and tuning."""


localrules:
    adapters,


rule adapters:
    input:
        in_all_adapters("adapter_model.safetensors"),


rule tune:
    input:
        unpack(of_run("trained_from")),
        model="results/models/{model}.json",
    output:
        jobs.adapter_files("{model}", "{run}"),
        "results/adapters/{model}/{run}/training.parquet",
    log:
        "results/logs/tune/{model}/{run}.log",
    conda:
        ENVIRONMENT
    threads: model_threads
    resources:
        mem_mb=of_model("mem_mb"),
        runtime=of_model("tuning_minutes"),
        gpu=of_model("gpus"),
    params:
        times="results/benchmarks/tune/{model}/{run}.tsv",
        flags=of_run("training"),
        threads=torch_threads,
        seconds=checkpoint_seconds,
        checkpoint="results/checkpoints/tune/{model}/{run}.safetensors",
        folder=subpath(output[0], parent=True),
        code=fingerprint("tree", "model", "tuning", "methods/training", "methods/ours"),
        method=of_run("training_code"),
    shell:
        "diffuselm tune --model {input.model} --targets {input.targets} {params.flags} "
        "--checkpoint {params.checkpoint} --checkpoint-seconds {params.seconds} "
        "--threads {params.threads} --out {params.folder} --times {params.times} > {log} 2>&1"
