"""Tables 7 and 8: coverage and entropy of what biographies say, before and after tuning."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from diffuselm.paper.biographies import (
    FIELDS,
    PROMPT,
    TASK,
    TUNINGS_NOTE,
    read_answers,
    titled,
    valid_notes,
)
from diffuselm.paper.comparison import Key, Models, load_models, mean_over_seeds, read_metrics
from diffuselm.paper.number_tables import (
    PAPER_N,
    PAPER_NOTE,
    number_table,
    stand_in_notes,
    tidy_frame,
)
from diffuselm.paper.published import load_published, unswapped
from diffuselm.paper.table_files import write_table_files

_COLUMNS = {"Base": "base", "ID": "biographies", "OOD": "all"}
_FIELDS = {7: ("first_name", "last_name", "birth_year"), 8: ("birth_place", "profession")}
# Title, metric, and the decimals that the paper prints.
_METRICS = (("Coverage", "coverage", 0), ("Entropy", "entropy", 2))


def tables_7_8(
    *, metrics: Path, biographies: list[Path], records: list[Path], published: Path, out: Path
) -> None:
    """Write `out`/table-7 and table-8, each as .csv, .md and .tex.

    `metrics` is a file of `schemas.METRICS`; `biographies` are files `{model}/{tuning}.parquet`
    of `biographies.COLUMNS`; `records` the models' JSON files in the order of the rows. Raises
    InputError for a bad input; a run that is absent leaves a dash.
    """
    models, measured = load_models(records), read_metrics(metrics)
    answers, paper = read_answers(biographies), load_published(published)
    for number, fields in _FIELDS.items():
        frame = diversity_frame(number, measured, models, paper)
        what = ", ".join(FIELDS[field] for field in fields)
        title = f"Coverage and entropy of biographies: {what} (higher is more diverse)."
        rows = list(frame.groupby(["row", "model_label"], sort=False))
        notes = [*valid_notes(answers, models), *stand_in_notes(frame), *_paper_notes(frame)]
        notes = ["In brackets: 95% interval.", TUNINGS_NOTE, *notes]
        table = number_table(number, title, ("", "Model"), rows, frame, notes)
        write_table_files(out, table, frame)


def diversity_frame(
    number: int, metrics: pd.DataFrame, models: Models, published: pd.DataFrame
) -> pd.DataFrame:
    """Numbers of table 7 or 8: columns `number_tables.FRAME`, and the field of the biography.

    `metrics` are rows of `schemas.METRICS`, `published` those of `load_published`. The coverage
    cells that the paper printed under the other of ID and OOD stand in their own, and keep their
    note "swapped".
    """
    # Only the metrics of the one prompt: the paper's table names none.
    right = unswapped(published).assign(note=published["note"], prompt=PROMPT)
    measured = metrics[metrics["task"] == TASK]
    frames = []
    for field in _FIELDS[number]:
        group = titled(FIELDS[field])
        places = [
            (title, model, group, column, Key(model.model, tuning, TASK, PROMPT, metric), digits)
            for title, metric, digits in _METRICS
            for model in models
            for column, tuning in _COLUMNS.items()
        ]
        numbers = mean_over_seeds(measured, field)
        frame = tidy_frame(number, places, numbers, right[right["field"] == field])
        frames.append(frame.assign(field=field))
    return pd.concat(frames, ignore_index=True)


def _paper_notes(frame: pd.DataFrame) -> Iterator[str]:
    if frame["published"].notna().any():
        yield PAPER_NOTE
        yield (
            "Coverage counts the distinct values among the valid biographies, the paper's among "
            f"{PAPER_N:,} answers: the two compare only where those numbers are alike."
        )
        yield (
            "†: the paper prints this coverage under the other of ID and OOD. As printed, the "
            "entropy beside some of them would exceed the logarithm of the coverage, which cannot "
            "be."
        )
