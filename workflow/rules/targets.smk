"""Stage `targets`: the target sets of each task."""


localrules:
    targets,


rule targets:
    input:
        whole_stage("targets", "targets_of_task", targets_files()),


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
        seed=CONFIG.seed,
        code=fingerprint("stages.targets"),
    shell:
        "diffuselm targets --task {input.task:q} --natural {input.natural} --seed {params.seed} "
        "--out {output} > {log} 2>&1"
