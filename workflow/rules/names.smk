"""Stage `names`: the natural distribution of names."""


localrules:
    names,


rule names:
    input:
        names_source,
    output:
        natural="results/names/natural.parquet",
        run="results/names/run.json",
    log:
        "results/logs/names.log",
    conda:
        ENVIRONMENT
    params:
        flags=flags(source=CONFIG.names.source, year=CONFIG.names.year, file=CONFIG.names.file),
        archive="results/names/names.zip",
        code=fingerprint("tasks/names", "tasks/ssa"),
    shell:
        "diffuselm names {params.flags} --archive {params.archive} --out {output.natural} > {log} 2>&1"
