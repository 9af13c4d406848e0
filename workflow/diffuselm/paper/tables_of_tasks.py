"""The table of tasks that are not the paper's: every metric of each, before and after tuning."""

from pathlib import Path

import pandas as pd

from diffuselm.paper.comparison import load_models, mean_over_seeds, read_metrics
from diffuselm.paper.number_tables import HELD_BASE, RAW, stand_in_notes
from diffuselm.paper.own_tasks import IN, METRICS, OUT, conditions_of, task_frame
from diffuselm.paper.table_files import DASH, Table, decimal, value_text, write_table_files
from diffuselm.paper.templating import filled
from diffuselm.tasks.target_sets import read_prompts

_TITLE = (
    "Your own tasks before and after tuning; each number is the mean over a task's prompts, and "
    "closest to the target is best."
)
_STUB = ("Task", "Model", "Measure", "Target")


def tables_of_tasks(*, metrics: Path, records: list[Path], targets: list[Path], out: Path) -> None:
    """Write `out`/table-of-tasks as .csv, .md and .tex.

    `metrics` is a file of `schemas.METRICS`, `records` the models' JSON files in the order of the
    rows, `targets` the target sets of the tasks. Raises InputError for a bad input.
    """
    numbers, models = mean_over_seeds(read_metrics(metrics)), load_models(records)
    frame = task_frame(numbers, models, read_prompts(targets))
    write_table_files(out, _lay_out(frame), frame)


def _lay_out(frame: pd.DataFrame) -> Table:
    """Five rows for each task and model, a column for each condition."""
    conditions = conditions_of(frame)
    rows, seen = [], ("", "")
    for (task, model), own in frame.groupby(["task", "model"], sort=False):
        for metric, of_metric in own.groupby("metric", sort=False):
            first = of_metric.iloc[0]
            title, digits = METRICS[metric]
            cells = {row["condition"]: value_text(row, digits) for _, row in of_metric.iterrows()}
            rows.append(
                (
                    _task(first) if task != seen[0] else "",
                    _model(own) if (task, model) != seen else "",
                    title,
                    decimal(first["target"], digits),
                    *(cells.get(condition, DASH) for condition in conditions),
                )
            )
            seen = (task, model)
    cells = pd.DataFrame(rows, columns=[*_STUB, *conditions], dtype=object)
    absent = bool((cells == DASH).to_numpy().any())
    return Table("of-tasks", _TITLE, len(_STUB), cells, _notes(frame, absent))


def _task(row: pd.Series) -> str:
    several = row["prompts"] > 1
    asked = f"{row['prompts']} prompts" if several else "1 prompt"
    if pd.notna(row["answers"]):
        asked += f", {row['answers']:,} answers" + (" each" if several else "")
    return f"{row['task']}\n{asked}"


def _model(rows: pd.DataFrame) -> str:
    taught = "\nbaseline: form taught" if (rows["tuning"] == "form").any() else ""
    return rows["model_label"].iloc[0] + taught


def _notes(frame: pd.DataFrame, absent: bool) -> list[str]:
    text = filled(
        "notes_of_tasks.jinja",
        conditions=set(frame["condition"]),
        taught=(frame["tuning"] == "form").any(),
        absent=absent,
        **{"held_base": HELD_BASE, "raw": RAW, "out": OUT, "own": IN},
        stand_ins=list(stand_in_notes(frame)),
    )
    return text.strip().split("\n")
