"""What resources/models was made by: `snakemake stand_ins`, then copy the folders."""

PAPER_TASK_FILES = [f"{RESOURCES}/tasks/{task}.yaml" for task in (*PAPER_TASKS, "biographies")]


localrules:
    stand_ins,


rule stand_ins:
    input:
        expand("results/stand-ins/tiny-{family}/config.json", family=["gemma", "llama", "mistral"]),


rule build_stand_in:
    input:
        tasks=PAPER_TASK_FILES,
        words=f"{RESOURCES}/stand-in/words.yaml",
    output:
        expand("results/stand-ins/tiny-{{family}}/{file}", file=jobs.STAND_IN),
    log:
        "results/logs/stand-ins/{family}.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=120,
    params:
        times="results/benchmarks/stand-ins/{family}.tsv",
        folder=subpath(output[0], parent=True),
        flags=stand_in_flags,
        code=fingerprint("tree", "model", "stand_in"),
    shell:
        "diffuselm stand-in --family {wildcards.family} --tasks {input.tasks} "
        "--words {input.words} {params.flags} --threads {threads} "
        "--out {params.folder} --times {params.times} > {log} 2>&1"
