"""Stage `render`: scorecard, tables and figures, from metrics, samples and biographies alone."""


localrules:
    render,
    tables,
    figures,
    scorecard,
    diversity_tables,
    figure_1,
    report_pages,


SCORECARD = ["results/scorecard.md", "results/scorecard.parquet"]
TABLES = expand("results/tables/table-{n}.{format}", n=table_numbers(), format=["md", "csv", "tex"])
FIGURES = expand(
    "results/figures/figure-{n}.{format}", n=figure_numbers(), format=["png", "pdf", "csv"]
)
# The report: its pages, and the part of the paper that each result is from.
PAGED = ["results/scorecard.md", *expand("results/tables/table-{n}.md", n=table_numbers())]
PAGES = [Path(file).stem for file in PAGED]
PARTS = {
    "scorecard": "1 Scorecard",
    **dict.fromkeys(["figure-1", "figure-2", "table-4"], "2 Random numbers and names (section 4)"),
    **dict.fromkeys(
        ["figure-3", "table-5", "table-6"], "3 Generalization across tasks (section 5)"
    ),
    **dict.fromkeys(["figure-4", "figure-5"], "4 Biographies (section 6)"),
    **{f"table-{n}": "4 Biographies (section 6)" for n in (1, 2, 3, 7, 8)},
    "figure-6": "5 General capabilities (appendix B.5)",
}
# Captions name models and numbers of answers, which the config may leave to the defaults.
config.update(PLAN.told_in_captions())


rule render:
    input:
        SCORECARD + TABLES + FIGURES,
        expand("results/report/{page}.html", page=PAGES),


rule tables:
    input:
        whole_stage("tables", "diversity_tables", TABLES),


rule figures:
    input:
        [
            whole_stage("figures", f"figure_{n}", f"results/figures/figure-{n}.png")
            for n in figure_numbers()
        ],


rule scorecard:
    input:
        metrics="results/metrics.parquet",
        records=shown_models(),
        published="resources/paper/published.csv",
        claims="resources/paper/claims.yaml",
        names=rules.names.output.run,
    output:
        SCORECARD,
    log:
        "results/logs/scorecard.log",
    conda:
        ENVIRONMENT
    params:
        flags=record_flags,
        folder=subpath(output[0], parent=True),
        code=fingerprint("paper"),
    shell:
        "diffuselm scorecard --metrics {input.metrics} {params.flags} "
        "--published {input.published} --claims {input.claims} --names {input.names} --out {params.folder} > {log} 2>&1"


rule diversity_tables:
    input:
        metrics="results/metrics.parquet",
        records=shown_models(),
        published="resources/paper/published.csv",
        names=rules.names.output.run,
    output:
        expand("results/tables/table-{n}.{format}", n=[4, 5, 6], format=["md", "csv", "tex"]),
    log:
        "results/logs/tables.log",
    conda:
        ENVIRONMENT
    params:
        flags=record_flags,
        folder=subpath(output[0], parent=True),
        code=fingerprint("paper"),
    shell:
        "diffuselm tables --metrics {input.metrics} {params.flags} --published {input.published} "
        "--names {input.names} --out {params.folder} > {log} 2>&1"


if "biographies" in PLAN.prompts:

    localrules:
        biography_tables,
        figure_5,

    rule biography_tables:
        input:
            metrics="results/metrics.parquet",
            biographies=biographies(),
            records=shown_models(),
            published="resources/paper/published.csv",
            task=str(PLAN.task_files["biographies"]),
        output:
            expand(
                "results/tables/table-{n}.{format}",
                n=[1, 2, 3, 7, 8],
                format=["md", "csv", "tex"],
            ),
        log:
            "results/logs/biography-tables.log",
        conda:
            ENVIRONMENT
        params:
            flags=biography_table_flags,
            folder=subpath(output[0], parent=True),
            code=fingerprint("paper"),
        shell:
            "diffuselm biography-tables --metrics {input.metrics} {params.flags} "
            "--published {input.published} --out {params.folder} > {log} 2>&1"

    rule figure_5:
        input:
            biographies=biographies(),
            records=shown_models(),
        output:
            report(
                "results/figures/figure-5.png",
                caption="../report/figure-5.rst",
                category=PARTS["figure-5"],
                labels={"result": "Figure 5"},
            ),
            "results/figures/figure-5.pdf",
            "results/figures/figure-5.csv",
        log:
            "results/logs/figure-5.log",
        conda:
            ENVIRONMENT
        params:
            flags=biography_flags,
            folder=subpath(output[0], parent=True),
            code=fingerprint("paper"),
        shell:
            "diffuselm figure-5 {params.flags} --out {params.folder} > {log} 2>&1"


rule figure_1:
    input:
        samples=figure_1_samples,
        records=shown_models(),
        natural=rules.names.output.natural,
        targets=targets_file("numbers"),
    output:
        report(
            "results/figures/figure-1.png",
            caption="../report/figure-1.rst",
            category=PARTS["figure-1"],
            labels={"result": "Figure 1"},
        ),
        "results/figures/figure-1.pdf",
        "results/figures/figure-1.csv",
    log:
        "results/logs/figure-1.log",
    conda:
        ENVIRONMENT
    params:
        flags=figure_1_flags,
        folder=subpath(output[0], parent=True),
        code=fingerprint("paper"),
    shell:
        "diffuselm figure-1 {params.flags} --natural {input.natural} --targets {input.targets} "
        "--out {params.folder} > {log} 2>&1"


# A rule for each: Snakemake puts no wildcards into the name of a caption.
for number in [n for n in figure_numbers() if n in (2, 3, 4, 6)]:

    rule:
        name:
            f"figure_{number}"
        input:
            metrics="results/metrics.parquet",
            records=shown_models(),
        output:
            report(
                f"results/figures/figure-{number}.png",
                caption=f"../report/figure-{number}.rst",
                category=PARTS[f"figure-{number}"],
                labels={"result": f"Figure {number}"},
            ),
            f"results/figures/figure-{number}.pdf",
            f"results/figures/figure-{number}.csv",
        log:
            f"results/logs/figure-{number}.log",
        localrule: True
        conda:
            ENVIRONMENT
        params:
            number=number,
            flags=record_flags,
            folder=subpath(output[0], parent=True),
            code=fingerprint("paper"),
        shell:
            "diffuselm figure-{params.number} --metrics {input.metrics} {params.flags} "
            "--out {params.folder} > {log} 2>&1"


rule report_pages:
    input:
        PAGED,
    output:
        [
            report(
                f"results/report/{page}.html",
                caption=f"../report/{page}.rst",
                category=PARTS[page],
                labels={"result": page.capitalize().replace("-", " ")},
            )
            for page in PAGES
        ],
    log:
        "results/logs/report-pages.log",
    conda:
        ENVIRONMENT
    params:
        flags=flags(table=PAGED),
        folder=subpath(output[0], parent=True),
        code=fingerprint("paper"),
    shell:
        "diffuselm report-pages {params.flags} --out {params.folder} > {log} 2>&1"
