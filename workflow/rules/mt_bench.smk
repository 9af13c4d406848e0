"""Stage `mt_bench`: answers to MT-Bench, and a judge's verdicts on them; only where configured."""


# The judge is asked from where Snakemake runs: nodes of a cluster often see no network.
localrules:
    judge,
    mt_bench,
    questions,


rule mt_bench:
    input:
        VERDICTS,


rule questions:
    input:
        [source] if "://" not in (source := CONFIG.mt_bench.questions) else [],
    output:
        "results/mt-bench/questions.jsonl",
    log:
        "results/logs/mt-bench/questions.log",
    conda:
        ENVIRONMENT
    params:
        flags=options(source=CONFIG.mt_bench.questions, sha256=CONFIG.mt_bench.sha256),
    shell:
        "diffuselm mt-bench-questions {params.flags} --out {output} > {log} 2>&1"


rule answer_questions:
    input:
        model="results/models/{model}.json",
        adapter=of_run("answering"),
        questions=rules.questions.output,
    output:
        "results/mt-bench/answers/{model}/{run}.parquet",
        "results/mt-bench/answers/{model}/{run}.run.json",
    log:
        "results/logs/mt-bench/answers/{model}/{run}.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=of_model("mem_mb"),
        runtime=of_model("sampling_minutes"),
        gpu=of_model("gpus"),
    params:
        times="results/benchmarks/mt-bench/answers/{model}/{run}.tsv",
        flags=of_run("turns"),
        code=fingerprint("model", "measure/mt_bench", "measure/mt_bench_answers"),
    shell:
        "diffuselm mt-bench-answers --model {input.model} --questions {input.questions} "
        "{params.flags} --threads {threads} --out {output[0]} --times {params.times} > {log} 2>&1"


rule judge:
    input:
        questions=rules.questions.output,
        answers="results/mt-bench/answers/{model}/{run}.parquet",
    output:
        verdicts="results/mt-bench/verdicts/{model}/{run}.parquet",
        metrics="results/mt-bench/metrics/{model}/{run}.parquet",
    log:
        "results/logs/mt-bench/verdicts/{model}/{run}.log",
    conda:
        ENVIRONMENT
    params:
        flags=options(CONFIG.mt_bench.judge, seed=CONFIG.seed),
        cache="results/mt-bench/cache",
        code=fingerprint("measure/judge", "measure/verdicts"),
    shell:
        "diffuselm mt-bench-judge --questions {input.questions} --answers {input.answers} "
        "{params.flags} --cache {params.cache} --verdicts {output.verdicts} "
        "--metrics {output.metrics} > {log} 2>&1"
