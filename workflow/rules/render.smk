"""Stage `render`: tables and figures, from metrics and samples alone."""


localrules:
    render,
    figures,


TABLES = expand("results/tables/table-{n}.{format}", n=[4, 5, 6], format=["md", "csv", "tex"])
FIGURES = expand(
    "results/figures/figure-{n}.{format}", n=figure_numbers(), format=["png", "pdf", "csv"]
)


rule render:
    input:
        TABLES + FIGURES,


rule figures:
    input:
        FIGURES,


rule tables:
    input:
        metrics="results/metrics.parquet",
        records=model_records(),
        published="resources/paper/published.csv",
        names=rules.names.output.run,
    output:
        report("results/tables/table-4.md", caption="../report/table-4.rst", category="Tables"),
        report("results/tables/table-5.md", caption="../report/table-5.rst", category="Tables"),
        report("results/tables/table-6.md", caption="../report/table-6.rst", category="Tables"),
        [table for table in TABLES if not table.endswith(".md")],
    log:
        "results/logs/tables.log",
    conda:
        ENVIRONMENT
    params:
        flags=record_flags,
        folder=subpath(output[0], parent=True),
        code=fingerprint("stages.tables"),
    shell:
        "diffuselm tables --metrics {input.metrics} {params.flags} --published {input.published} "
        "--names {input.names} --out {params.folder} > {log} 2>&1"


rule figure_1:
    input:
        samples=figure_1_samples,
        records=model_records(),
        natural=rules.names.output.natural,
        targets=targets_file("numbers"),
    output:
        report("results/figures/figure-1.png", caption="../report/figure-1.rst", category="Figures"),
        "results/figures/figure-1.pdf",
        "results/figures/figure-1.csv",
    log:
        "results/logs/figure-1.log",
    conda:
        ENVIRONMENT
    params:
        flags=figure_1_flags,
        folder=subpath(output[0], parent=True),
        code=fingerprint("stages.figure_1"),
    shell:
        "diffuselm figure-1 {params.flags} --natural {input.natural} --targets {input.targets} "
        "--out {params.folder} > {log} 2>&1"


rule figure_3:
    input:
        metrics="results/metrics.parquet",
        records=model_records(),
    output:
        report("results/figures/figure-3.png", caption="../report/figure-3.rst", category="Figures"),
        "results/figures/figure-3.pdf",
        "results/figures/figure-3.csv",
    log:
        "results/logs/figure-3.log",
    conda:
        ENVIRONMENT
    params:
        flags=record_flags,
        folder=subpath(output[0], parent=True),
        code=fingerprint("stages.figure_3"),
    shell:
        "diffuselm figure-3 --metrics {input.metrics} {params.flags} --out {params.folder} "
        "> {log} 2>&1"
