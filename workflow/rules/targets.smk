"""Stage `targets`: the prompts and target sets of each task."""


localrules:
    targets,
    write_targets,


rule targets:
    input:
        TARGETS,


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
            flags=options(CONFIG.ranges, seed=CONFIG.seed),
            code=fingerprint("tasks/number_ranges"),
        shell:
            "diffuselm ranges {params.flags} --out {output} > {log} 2>&1"


rule write_targets:
    input:
        task=task_files,
        natural=rules.names.output.natural,
    output:
        targets="results/targets/{task}.parquet",
        prompts="results/targets/{task}.json",
    log:
        "results/logs/targets/{task}.log",
    wildcard_constraints:
        task=one_of(set(PLAN.task_files) - set(CONFIG.outside)),
    conda:
        ENVIRONMENT
    params:
        task=task,
        seed=CONFIG.seed,
        # Of the code, that which draws: reading alone makes the same content, or other.
        content=content_of_task,
        code=fingerprint(
            "tasks/natural_names",
            "tasks/persons",
            "tasks/shares",
            "tasks/target_sets",
            "tasks/tuples",
        ),
    shell:
        "diffuselm targets --task {params.task:q} --natural {input.natural} --seed {params.seed} "
        "--out {output.targets} > {log} 2>&1"


if CONFIG.outside:

    localrules:
        write_outside,

    rule write_outside:
        input:
            file=task,
        output:
            targets="results/targets/{task}.parquet",
            prompts="results/targets/{task}.json",
        log:
            "results/logs/targets/{task}.log",
        wildcard_constraints:
            task=one_of(CONFIG.outside),
        conda:
            ENVIRONMENT
        params:
            flags=outside_flags,
            content=content_of_task,
            code=fingerprint("tasks/target_sets"),
        shell:
            "diffuselm outside --task {wildcards.task} {params.flags} --out {output.targets} "
            "> {log} 2>&1"
