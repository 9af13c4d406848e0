"""Stage `measure`: every metric with its interval, and the natural references."""


localrules:
    measure_model,
    measure,


rule measure_model:
    input:
        samples=samples_of_model,
        exact=exact_of_model,
        text=text_of_model,
        adapters=adapters_of_model,
        biographies=biographies_of_model,
        sweep=sweep_of_model,
        targets=targets_files(),
        natural=rules.names.output.natural,
    output:
        "results/parts/{model}.metrics.parquet",
    log:
        "results/logs/measure/{model}.log",
    benchmark:
        "results/benchmarks/measure/{model}.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
    params:
        flags=measure_flags,
        code=fingerprint("measure"),
    shell:
        "diffuselm measure {params.flags} --natural {input.natural} --out {output} > {log} 2>&1"


rule measure:
    input:
        parts=whole_stage(
            "measure",
            "measure_model",
            metrics_parts(),
        ),
        verdicts=mt_bench_metrics(),
        tasks=files_of_tasks(PLAN.task_files.values()),
        targets=targets_files(),
        natural=rules.names.output.natural,
    output:
        "results/metrics.parquet",
    log:
        "results/logs/measure.log",
    conda:
        ENVIRONMENT
    params:
        flags=metrics_flags,
        code=fingerprint("measure"),
    shell:
        "diffuselm metrics {params.flags} --natural {input.natural} --out {output} > {log} 2>&1"
