"""Stages `sample` and `score`: answers to every prompt, and exact probabilities of its targets."""


localrules:
    sample,
    score,


rule sample:
    input:
        whole_stage("sample", "sample_task", runs("results/samples/{model}/{tuning}.parquet")),


rule score:
    input:
        whole_stage("score", "sample_task", runs("results/exact/{model}/{tuning}.parquet")),


rule sample_task:
    input:
        model="results/models/{model}.json",
        adapter=adapter_of_run,
        task=task_file,
        targets="results/targets/{task}.parquet",
    output:
        directory("results/parts/{model}/{tuning}/{task}"),
    log:
        "results/logs/sample/{model}/{tuning}/{task}.log",
    benchmark:
        "results/benchmarks/sample/{model}/{tuning}/{task}.tsv"
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
        "diffuselm sample --model-record {input.model} --tuning {wildcards.tuning} "
        "--task {input.task:q} --targets {input.targets} {params.flags} "
        "--threads {threads} --out {output} > {log} 2>&1"


rule gather_run:
    input:
        parts_of_run,
    output:
        samples="results/samples/{model}/{tuning}.parquet",
        exact="results/exact/{model}/{tuning}.parquet",
        run="results/samples/{model}/{tuning}.run.json",
    log:
        "results/logs/gather/{model}/{tuning}.log",
    conda:
        ENVIRONMENT
    params:
        flags=part_flags,
        code=fingerprint("stages.gather"),
    shell:
        "diffuselm gather {params.flags} --samples {output.samples} --exact {output.exact} "
        "> {log} 2>&1"
