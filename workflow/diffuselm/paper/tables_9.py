"""Table 9: every method on the same tasks, what it costs, and then the same of each task."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from diffuselm.paper.comparison import TASK_TITLES, load_models
from diffuselm.paper.methods import (
    MEAN,
    OF_RUNS,
    OF_TASKS,
    TAUGHT,
    averaged,
    method_frame,
    read_methods,
)
from diffuselm.paper.number_tables import HELD_BASE, RAW, stand_in_notes
from diffuselm.paper.table_files import Table, value_text, write_table_files
from diffuselm.paper.templating import filled
from diffuselm.tasks.target_sets import read_prompts

_COSTS = ("cost_read", "cost_written", "training_tokens")
_MAIN = (*(metric for metric in OF_TASKS if metric not in _COSTS), "knowledge")
_METRICS = OF_TASKS | {metric: its[2:] for metric, its in OF_RUNS.items()}
# What a line is, before its numbers: in all sections, and in some.
_LINE = ("Model", "Way", "No.", "Method")
_DRAWN = {"tuned_on": "Tuned on", "answers": "Answers to a prompt"}
_MADE = {"kind": "Kind", "settings": "Settings", "tuning": "Files"}


def tables_9(
    *, metrics: Path, records: list[Path], targets: list[Path], methods: str, out: Path
) -> None:
    """Write `out`/table-9 as .csv, .md and .tex: means over tasks, costs, and each task.

    `metrics` is a file of `schemas.METRICS`, `records` the models' JSON files in the order of the
    rows, `targets` the target sets of the tasks, `methods` what `Plan.compared` says, as JSON.
    Raises InputError for a bad input.
    """
    models, prompts = load_models(records), read_prompts(targets)
    frame = method_frame(metrics, models, prompts, read_methods(methods))
    of_tasks = dict(list(frame.groupby("task", sort=False)))
    means = of_tasks.pop(MEAN, frame)
    over = ", ".join(_titled(task) for task in averaged(of_tasks))
    first = _table(
        9,
        f"Ways to spread answers, side by side; each number is the mean over {over}.",
        _asked(means),
        _DRAWN,
        _MAIN,
        _notes(frame),
    )
    costs = "What they cost: tokens for each valid distinct answer, and tokens read in training."
    further = [
        _table("9.1", costs, means, _MADE, _COSTS),
        *(
            _table(
                f"9.{n}",
                f"The same of one task, {_titled(task)}.",
                _asked(rows),
                _DRAWN,
                [*OF_TASKS],
            )
            for n, (task, rows) in enumerate(of_tasks.items(), start=2)
        ),
    ]
    write_table_files(out, first, frame, further)


def _asked(frame: pd.DataFrame) -> pd.DataFrame:
    """Without the lines that were not asked the task, or not all of those in a mean."""
    rates = frame.loc[(frame["metric"] == "valid_rate") & (frame["reason"] == "")]
    keys = ["model", "line", "task"]
    return frame[frame[keys].apply(tuple, axis=1).isin(rates[keys].apply(tuple, axis=1))]


def _titled(task: str) -> str:
    return TASK_TITLES.get(task, task)


def _table(
    number: int | str,
    title: str,
    frame: pd.DataFrame,
    about: Mapping[str, str],
    metrics: Sequence[str],
    notes: Sequence[str] = (),
) -> Table:
    """A row for each model and line of a `frame` of columns `FRAME`, a column for each metric."""
    rows, seen = [], ("", "")
    frame = frame[frame["metric"].isin(metrics)]
    for (model, way, line), own in frame.groupby(["model_label", "way", "line"], sort=False):
        cells = {row["metric"]: _cell(row) for _, row in own.iterrows()}
        first = own.iloc[0]
        rows.append(
            (
                model if model != seen[0] else "",
                way if (model, way) != seen else "",
                str(line),
                first["method"],
                *(first[column] for column in about),
                *(cells[metric] for metric in metrics),
            )
        )
        seen = model, way
    stub = [*_LINE, *about.values()]
    heads = [*stub, *(_METRICS[metric][0] for metric in metrics)]
    return Table(number, title, len(stub), pd.DataFrame(rows, columns=heads, dtype=object), notes)


def _cell(row: pd.Series) -> str:
    """The number with its interval, or the reason why there is none."""
    return row["reason"] or value_text(row, _METRICS[row["metric"]][1])


def _notes(frame: pd.DataFrame) -> list[str]:
    text = filled(
        "notes_9.jinja",
        reasons=set(frame["reason"]),
        tuned_on=set(frame["tuned_on"]),
        methods=set(frame["method"]),
        **{"raw": RAW, "held_base": HELD_BASE, "taught": TAUGHT},
        stand_ins=list(stand_in_notes(frame)),
    )
    return text.strip().split("\n")
