"""Stage `render`: scorecard, tables and figures, from metrics, samples and biographies alone."""


localrules:
    figures,
    method_times,
    render,
    report_pages,
    scorecard,
    tables,


PUBLISHED = f"{RESOURCES}/paper/published.csv"
MEASURED = {"metrics": "results/metrics.parquet", "records": SHOWN}
COMPARED = MEASURED | {"targets": jobs.target_files(PLAN.of_values)}
WRITTEN = {"biographies": BIOGRAPHIES, "records": SHOWN}
# What each figure is drawn from, under the names of its command's options.
FIGURES = {
    1: {
        "samples": [
            f"results/samples/{model}/{run}.parquet"
            for model in CONFIG.models
            for run in (PLAN.baseline(model), "only-names", "rng-10")
            if run in RUNS[model]
        ],
        "records": SHOWN,
        "natural": rules.names.output.natural,
        "targets": "results/targets/numbers.parquet",
    },
    2: MEASURED,
    3: MEASURED,
    4: MEASURED,
    5: WRITTEN,
    6: MEASURED,
    7: COMPARED,
    8: COMPARED,
    OF_TASKS: MEASURED | {"targets": jobs.target_files(DISPLAY.own_tasks)},
}
# Likewise each group of tables; below, what else they are told: table 3 draws answers.
TABLES = {
    (1, 2, 3): WRITTEN | {"published": PUBLISHED, "targets": "results/targets/biographies.parquet"},
    (4, 5, 6): MEASURED | {"published": PUBLISHED, "names": rules.names.output.run},
    (7, 8): MEASURED | WRITTEN | {"published": PUBLISHED},
    (9,): COMPARED,
    (10,): MEASURED,
    (FROM_OUTSIDE,): MEASURED | {"targets": jobs.target_files(CONFIG.outside)},
    (OF_TASKS,): FIGURES[OF_TASKS],
}
TOLD = {
    (1, 2, 3): {"seed": CONFIG.seed},
    **dict.fromkeys([7, 8, (9,)], {"methods": DISPLAY.compared}),
    (10,): {"tuned_on": PLAN.tuned_on.get(STATED)},
}
SHOWN_FIGURES = [n for n in FIGURES if DISPLAY.has_figure(n)]
SHOWN_TABLES = [group for group in TABLES if DISPLAY.has_table(group[0])]
SCORECARD = ["results/scorecard.md"] if DISPLAY.of_the_paper else []
TIMES = ["results/method-times.md"] if CONFIG.methods else []
PAGED = [
    *(["scorecard"] if SCORECARD else []),
    *(f"table-{n}" for group in SHOWN_TABLES for n in group),
    *(["method-times"] if TIMES else []),
]

# The part of the paper that each result is from, if it is.
SECTIONS = {
    "scorecard": "1 Scorecard",
    **dict.fromkeys(["figure-1", "figure-2", "table-4"], "2 Random numbers and names (section 4)"),
    **dict.fromkeys(
        ["figure-3", "table-5", "table-6"], "3 Generalization across tasks (section 5)"
    ),
    **dict.fromkeys(["figure-4", "figure-5"], "4 Biographies (section 6)"),
    **{f"table-{n}": "4 Biographies (section 6)" for n in (1, 2, 3, 7, 8)},
    "figure-6": "5 General capabilities (appendix B.5)",
    **dict.fromkeys(["figure-7", "figure-8", "table-9", "method-times"], "6 Other methods"),
    "table-10": "7 Stated distributions",
    f"table-{FROM_OUTSIDE}": "8 Checks from outside",
    **dict.fromkeys([f"figure-{OF_TASKS}", f"table-{OF_TASKS}"], "Your own tasks"),
}


rule render:
    input:
        SCORECARD,
        expand("results/report/{page}.html", page=PAGED),
        expand("results/figures/figure-{n}.png", n=SHOWN_FIGURES),


rule tables:
    input:
        [f"results/tables/table-{n}.md" for group in SHOWN_TABLES for n in group],


rule figures:
    input:
        expand("results/figures/figure-{n}.png", n=SHOWN_FIGURES),


rule scorecard:
    input:
        **MEASURED,
        published=PUBLISHED,
        claims=f"{RESOURCES}/paper/claims.yaml",
        names=rules.names.output.run,
    output:
        "results/scorecard.md",
        "results/scorecard.parquet",
    log:
        "results/logs/scorecard.log",
    conda:
        ENVIRONMENT
    params:
        folder=subpath(output[0], parent=True),
        code=fingerprint("paper"),
    shell:
        "diffuselm scorecard --metrics {input.metrics} --records {input.records} "
        "--published {input.published} --claims {input.claims} --names {input.names} "
        "--out {params.folder} > {log} 2>&1"


for group in SHOWN_TABLES:
    numbers = "_".join(map(str, group))

    rule:
        name:
            f"tables_{numbers}".replace("-", "_")
        input:
            **TABLES[group],
        output:
            expand("results/tables/table-{n}.{format}", n=group, format=["md", "csv", "tex"]),
        log:
            f"results/logs/tables_{numbers}.log",
        localrule: True
        conda:
            ENVIRONMENT
        params:
            command=f"tables-{numbers}",
            given=given,
            flags=options(**TOLD.get(group, {})),
            folder=subpath(output[0], parent=True),
            code=fingerprint("paper"),
        shell:
            "diffuselm {params.command} {params.given} {params.flags} --out {params.folder} > {log} 2>&1"


# A rule for each: Snakemake puts no wildcards into the name of a caption.
for number in SHOWN_FIGURES:

    rule:
        name:
            f"figure_{number}".replace("-", "_")
        input:
            **FIGURES[number],
        output:
            in_report(f"results/figures/figure-{number}.png"),
            f"results/figures/figure-{number}.pdf",
            f"results/figures/figure-{number}.csv",
        log:
            f"results/logs/figure-{number}.log",
        localrule: True
        conda:
            ENVIRONMENT
        params:
            command=f"figure-{number}",
            given=given,
            flags=options(**TOLD.get(number, {})),
            caption=DISPLAY.caption,
            folder=subpath(output[0], parent=True),
            code=fingerprint("paper"),
        shell:
            "diffuselm {params.command} {params.given} {params.flags} --out {params.folder} > {log} 2>&1"


rule method_times:
    input:
        "results/metrics.parquet",  # when all else is done
    output:
        "results/method-times.md",
    log:
        "results/logs/method-times.log",
    conda:
        ENVIRONMENT
    params:
        results=subpath(input[0], parent=True),
        code=fingerprint("paper"),
    shell:
        "diffuselm method-times --results {params.results} --out {output} > {log} 2>&1"


rule report_pages:
    input:
        SCORECARD,
        rules.tables.input,
        TIMES,
    output:
        [in_report(f"results/report/{page}.html") for page in PAGED],
    log:
        "results/logs/report-pages.log",
    conda:
        ENVIRONMENT
    params:
        caption=DISPLAY.caption,
        folder=subpath(output[0], parent=True),
        code=fingerprint("paper"),
    shell:
        "diffuselm report-pages --tables {input} --out {params.folder} > {log} 2>&1"
