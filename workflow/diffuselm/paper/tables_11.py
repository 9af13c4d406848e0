"""Table 11: tasks from files that others published, measured alone, before and after tuning."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from diffuselm.paper.comparison import (
    ABSENT,
    Key,
    Models,
    Numbers,
    load_models,
    mean_over_seeds,
    read_metrics,
)
from diffuselm.paper.number_tables import HELD_BASE, stand_in_notes
from diffuselm.paper.table_files import DASH, Table, value_text, write_table_files
from diffuselm.paper.templating import filled
from diffuselm.tasks.prompts import Prompt, task_of
from diffuselm.tasks.target_sets import read_prompts

_TITLE = (
    "Checks from outside: prompts that others published and that no model was tuned on; each "
    "number is the mean over a task's prompts."
)
# Metric -> its title, with N for the number of answers to a prompt, and decimals.
_LISTED = {
    "recall_10": ("recall of 10 answers", 3),
    "recall_1000": ("recall of 1,000 answers", 3),
    "recall": ("recall of the N drawn", 3),
    "kl": ("KL divergence (nats)", 2),
    "target_mass": ("target mass", 3),
    "target_rate": ("on target, of the N drawn", 3),
    "valid_rate": ("valid rate", 3),
}
_UNLISTED = {
    "distinct_10": ("distinct of 10 answers", 2),
    "coverage": ("distinct of the N drawn", 1),
    "entropy": ("entropy (nats)", 2),
    "valid_rate": ("valid rate", 3),
}
_COLUMNS = {"base": "Base", "held": HELD_BASE, "form": "Form taught"}  # others by their name
_STUB = ("Task", "Model", "Measure")
# One row is one number: the mean of a metric over a task's prompts under one tuning. `answers` is
# how many each prompt got, `listed` whether right answers are known, `whole` how they are read.
FRAME = {
    **dict.fromkeys(("task", "model", "model_label"), "str"),
    "stand_in": "bool",
    **dict.fromkeys(("tuning", "metric"), "str"),
    **dict.fromkeys(("value", "ci_low", "ci_high"), "float64"),
    **dict.fromkeys(("n", "seeds", "prompts", "answers"), "Int64"),
    **dict.fromkeys(("listed", "whole"), "bool"),
}


def tables_11(*, metrics: Path, records: list[Path], targets: list[Path], out: Path) -> None:
    """Write `out`/table-11 as .csv, .md and .tex.

    `metrics` is a file of `schemas.METRICS`, `records` the models' JSON files in the order of the
    rows, `targets` those of the tasks from outside. Raises InputError for a bad input.
    """
    numbers, models = mean_over_seeds(read_metrics(metrics)), load_models(records)
    frame = outside_frame(numbers, models, read_prompts(targets))
    write_table_files(out, _lay_out(frame), frame)


def outside_frame(numbers: Numbers, models: Models, prompts: Sequence[Prompt]) -> pd.DataFrame:
    """Columns `FRAME`, in the order of tasks, models, tunings and metrics.

    `prompts` are those of the tasks. A tuning that no task was asked under has no rows, a metric
    that was not measured has NaN.
    """
    tasks: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        tasks.setdefault(task_of(prompt.id), []).append(prompt)
    asked = {key.tuning for key in numbers if key.task in tasks}
    tunings = [*(t for t in _COLUMNS if t in asked), *sorted(asked - {*_COLUMNS})]
    rows = []
    for task, own in tasks.items():
        reading = own[0].reading
        listed = bool(reading.spellings)
        for model in models:
            drawn = numbers.get(Key(model.model, "base", task, None, "entropy"), ABSENT)
            answers = drawn.n and drawn.n // (drawn.seeds * len(own))
            about = (task, model.model, model.label, model.stand_in)
            rows += [
                (*about, tuning, metric, *number, len(own), answers, listed, reading.whole)
                for tuning in tunings
                for metric in (_LISTED if listed else _UNLISTED)
                for number in [numbers.get(Key(model.model, tuning, task, None, metric), ABSENT)]
            ]
    return pd.DataFrame(rows, columns=list(FRAME)).astype(FRAME)


def _lay_out(frame: pd.DataFrame) -> Table:
    """A row for each task, model and measure, a column for each tuning."""
    titles = {tuning: _COLUMNS.get(tuning, f"Tuning {tuning}") for tuning in frame["tuning"]}
    rows, seen = [], ("", "")
    for (task, model), own in frame.groupby(["task", "model"], sort=False):
        first = own.iloc[0]
        for metric, of_metric in own.groupby("metric", sort=False):
            title, digits = (_LISTED | _UNLISTED)[metric]
            cells = {row["tuning"]: value_text(row, digits) for _, row in of_metric.iterrows()}
            drawn = "answers" if pd.isna(first["answers"]) else f"{first['answers']:,}"
            rows.append(
                (
                    _task(first) if task != seen[0] else "",
                    first["model_label"] if (task, model) != seen else "",
                    title.replace("N drawn", f"{drawn} drawn"),
                    *(cells[tuning] for tuning in titles),
                )
            )
            seen = (task, model)
    cells = pd.DataFrame(rows, columns=[*_STUB, *titles.values()], dtype=object)
    return Table(11, _TITLE, len(_STUB), cells, list(_notes(frame, cells)))


def _task(row: pd.Series) -> str:
    prompts = f"{row['prompts']} prompts" if row["prompts"] > 1 else "1 prompt"
    return f"{row['task']}\n{prompts}\nanswers {'whole' if row['whole'] else 'in braces'}"


def _notes(frame: pd.DataFrame, cells: pd.DataFrame) -> Iterator[str]:
    text = filled(
        "notes_11.jinja",
        tunings=set(frame["tuning"]),
        listed=set(frame["listed"]),
        whole=set(frame["whole"]),
        absent=bool((cells == DASH).to_numpy().any()),
        stand_ins=list(stand_in_notes(frame)),
    )
    yield from text.strip().split("\n")
