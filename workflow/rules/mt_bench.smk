"""Stage `mt_bench`: answers to MT-Bench, and a judge's verdicts on them; only where configured."""


# The judge is asked from where Snakemake runs: nodes of a cluster often see no network.
localrules:
    mt_bench,
    mt_bench_questions,
    mt_bench_judge,


rule mt_bench:
    input:
        whole_stage("mt_bench", "mt_bench_judge", mt_bench_metrics()),


rule mt_bench_questions:
    input:
        mt_bench_source,
    output:
        "results/mt-bench/questions.jsonl",
    log:
        "results/logs/mt-bench/questions.log",
    conda:
        ENVIRONMENT
    params:
        flags=mt_bench_questions_flags,
    shell:
        "diffuselm mt-bench-questions {params.flags} --out {output} > {log} 2>&1"


rule mt_bench_answers:
    input:
        model="results/models/{model}.json",
        adapter=adapter_of_run,
        questions=rules.mt_bench_questions.output,
    output:
        "results/mt-bench/answers/{model}/{run}.parquet",
        "results/mt-bench/answers/{model}/{run}.run.json",
    log:
        "results/logs/mt-bench/answers/{model}/{run}.log",
    benchmark:
        "results/benchmarks/mt-bench/answers/{model}/{run}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=mem_mb,
        runtime=sampling_minutes,
        gpu=gpus,
    params:
        flags=mt_bench_answers_flags,
        code=fingerprint("model", "measure/mt_bench"),
    shell:
        "diffuselm mt-bench-answers --model-record {input.model} "
        "--questions {input.questions} {params.flags} --threads {threads} --out {output[0]} "
        "> {log} 2>&1"


rule mt_bench_judge:
    input:
        questions=rules.mt_bench_questions.output,
        answers="results/mt-bench/answers/{model}/{run}.parquet",
    output:
        verdicts="results/mt-bench/verdicts/{model}/{run}.parquet",
        metrics="results/mt-bench/metrics/{model}/{run}.parquet",
    log:
        "results/logs/mt-bench/verdicts/{model}/{run}.log",
    conda:
        ENVIRONMENT
    params:
        flags=mt_bench_judge_flags,
        cache="results/mt-bench/cache",
        code=fingerprint("measure/judge"),
    shell:
        "diffuselm mt-bench-judge --questions {input.questions} --answers {input.answers} "
        "{params.flags} --cache {params.cache} --verdicts {output.verdicts} "
        "--metrics {output.metrics} > {log} 2>&1"
