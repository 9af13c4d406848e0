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
        directory("results/adapters/{model}/{tuning}"),
    log:
        "results/logs/tune/{model}/{tuning}.log",
    benchmark:
        "results/benchmarks/tune/{model}/{tuning}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=240,
        gpu=1,
    params:
        flags=tune_flags,
        code=fingerprint("stages.tune"),
    shell:
        "diffuselm tune --model-record {input.model} --tuning {wildcards.tuning} {params.flags} "
        "--threads {threads} --out {output} > {log} 2>&1"
