"""Forcing diffuse distributions out of language models (Zhang et al., COLM 2024)."""

from snakemake.utils import min_version

min_version("9.0")


include: "workflow/rules/common.smk"
include: "workflow/rules/names.smk"
include: "workflow/rules/targets.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/stand_ins.smk"
include: "workflow/rules/tune.smk"
include: "workflow/rules/sample.smk"


if CONFIG.mt_bench:

    include: "workflow/rules/mt_bench.smk"


include: "workflow/rules/measure.smk"
include: "workflow/rules/records.smk"
include: "workflow/rules/adapters.smk"
include: "workflow/rules/render.smk"


report: "workflow/report/" + ("workflow.rst" if DISPLAY.of_the_paper else "workflow-of-tasks.rst")


onstart:
    hold_results()
    report_jobs()


onsuccess:
    say_where_to_look()


localrules:
    all,


rule all:
    default_target: True
    input:
        # Snakemake makes a lost file again only where it is asked for.
        rules.adapters.input,
        rules.samples.input,
        "results/metrics.parquet",
        rules.render.input,
        rules.model_cards.input,
        rules.records.input,
