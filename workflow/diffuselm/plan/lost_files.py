"""Target sets that finished adapters were trained on, and that are gone.

Snakemake runs again whatever lies below a job that it has to run, before it can see that the job
writes what was there before. Only what an earlier invocation made is compared by content.
"""

from pathlib import Path

from diffuselm.files.runs import split_run
from diffuselm.plan.jobs import adapter_folder, target_files
from diffuselm.plan.plan import Plan


def warning_of_lost_targets(plan: Plan) -> str | None:
    """What to run first, so that no adapter is trained again for a file of the same content."""
    finished = (
        run
        for model in plan.config.models
        for run in plan.tuned_runs(model)
        if Path(f"{adapter_folder(model, run)}/run.json").is_file()
    )
    tunings = {split_run(run, plan.config.seed)[0] for run in finished}
    tasks = dict.fromkeys(
        task for tuning in sorted(tunings) for task in plan.training_tasks(tuning)
    )
    files = [*target_files(tasks), *target_files(tasks, "json")]
    lost = [file for file in files if not Path(file).exists()]
    if not lost:
        return None
    return (
        f"{lost[0]} is gone (of {len(lost)}), and adapters were trained on it: a job that needs it "
        "would have them trained again. Run the target `targets` alone first: where it makes the "
        "same content, nothing is stale"
    )
