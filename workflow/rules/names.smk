"""Stage `names`: the natural distribution of names."""


localrules:
    names,


rule names:
    input:
        [CONFIG.names.file] if CONFIG.names.file else [],
    output:
        natural="results/names/natural.parquet",
        run="results/names/run.json",
    log:
        "results/logs/names.log",
    conda:
        ENVIRONMENT
    params:
        flags=options(CONFIG.names),
        archive="results/names/names.zip",
        code=fingerprint("tasks/natural_names", "tasks/ssa"),
    shell:
        "diffuselm names {params.flags} --archive {params.archive} --out {output.natural} > {log} 2>&1"
