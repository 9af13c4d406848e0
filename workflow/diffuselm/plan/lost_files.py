"""Target sets that finished adapters were trained on, and that are gone: written again.

Snakemake runs again whatever lies below a job that it has to run, before it can see that the job
writes what was there before. It compares content only with what was there before it planned.
"""

from pathlib import Path

from diffuselm.files.runs import split_run
from diffuselm.plan.jobs import adapter_folder, target_files
from diffuselm.plan.plan import Plan

NATURAL = Path("results/names/natural.parquet")


def restore_lost_targets(plan: Plan) -> list[str]:
    """Write them, so that no adapter is trained again for a file of the same content.

    Returns what was written. A task whose names are yet to be drawn from a lost file is left.
    """
    from diffuselm.tasks.target_sets import write_targets  # takes a moment, which few plans need

    natural, restored = NATURAL if NATURAL.is_file() else None, []
    for task in _trained_on(plan):
        lost = [
            file
            for suffix in ("parquet", "json")
            for file in target_files([task], suffix)
            if not Path(file).exists()
        ]
        asked = plan.prompts.get(task, ())
        if lost and not (natural is None and any(prompt.draw for prompt in asked)):
            out = Path(*target_files([task]))
            source = plan.task_files[task]
            write_targets(task=source, natural=natural, seed=plan.config.seed, out=out)
            restored += lost
    return restored


def _trained_on(plan: Plan) -> list[str]:
    """The tasks that finished adapters were trained on."""
    finished = (
        run
        for model in plan.config.models
        for run in plan.tuned_runs(model)
        if Path(f"{adapter_folder(model, run)}/run.json").is_file()
    )
    tunings = {split_run(run, plan.config.seed)[0] for run in finished}
    return sorted({task for tuning in tunings for task in plan.training_tasks(tuning)})
