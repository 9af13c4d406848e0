"""Stage `targets`: the target sets of each task."""


localrules:
    targets,
    targets_of_task,


rule targets:
    input:
        whole_stage("targets", "targets_of_task", targets_files()),


if "ranges" in PLAN.task_files:

    localrules:
        ranges,

    rule ranges:
        output:
            PLAN.task_files["ranges"],
        log:
            "results/logs/ranges.log",
        conda:
            ENVIRONMENT
        params:
            flags=ranges_flags,
            code=fingerprint("tasks/ranges"),
        shell:
            "diffuselm ranges {params.flags} --out {output} > {log} 2>&1"


rule targets_of_task:
    input:
        task=task_file,
        natural=rules.names.output.natural,
    output:
        "results/targets/{task}.parquet",
    log:
        "results/logs/targets/{task}.log",
    conda:
        ENVIRONMENT
    params:
        task=task_flag,
        seed=CONFIG.seed,
        code=fingerprint("tasks"),
    shell:
        "diffuselm targets --task {params.task:q} --natural {input.natural} --seed {params.seed} "
        "--out {output} > {log} 2>&1"
