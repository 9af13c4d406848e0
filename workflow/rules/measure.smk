"""Stage `measure`: every metric with its interval, and the natural references."""


localrules:
    measure,
    metrics,


rule measure:
    input:
        samples=of_model("samples"),
        asked=of_model("asked"),  # beside them
        exact=of_model("exact"),
        text=of_model("text"),
        adapters=of_model("trained"),
        sweep=of_model("sweep"),
        targets=TARGETS,
        natural=rules.names.output.natural,
    output:
        "results/metrics/{model}.parquet",
    log:
        "results/logs/measure/{model}.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
    params:
        times="results/benchmarks/measure/{model}.tsv",
        baseline=of_model("baseline"),
        seed=CONFIG.seed,
        code=fingerprint("measure", *READING),
    shell:
        "diffuselm measure --samples {input.samples} --exact {input.exact} --text {input.text} "
        "--adapters {input.adapters} --sweep {input.sweep} "
        "--baseline {params.baseline} --targets {input.targets} --natural {input.natural} "
        "--seed {params.seed} --out {output} --times {params.times} > {log} 2>&1"


rule metrics:
    input:
        measured=expand("results/metrics/{model}.parquet", model=CONFIG.models),
        verdicts=VERDICTS,
        targets=TARGETS,
        natural=rules.names.output.natural,
    output:
        "results/metrics.parquet",
    log:
        "results/logs/metrics.log",
    conda:
        ENVIRONMENT
    params:
        draws=CONFIG.sample.draws,
        seed=CONFIG.seed,
        code=fingerprint("measure"),
    shell:
        "diffuselm metrics --measured {input.measured} {input.verdicts} --targets {input.targets} "
        "--natural {input.natural} --draws {params.draws} --seed {params.seed} --out {output} "
        "> {log} 2>&1"
