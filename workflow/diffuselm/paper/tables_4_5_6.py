"""Tables 4, 5 and 6: coverage and entropy before and after tuning, beside the paper's numbers."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from diffuselm.errors import InputError
from diffuselm.files.json_files import read_json
from diffuselm.paper.comparison import (
    Key,
    ModelRecord,
    Models,
    Numbers,
    answers_per_prompt,
    load_models,
    mean_over_seeds,
    ood_tuning,
    read_metrics,
    tasks_of,
)
from diffuselm.paper.number_tables import (
    HELD_BASE,
    PAPER_N,
    PAPER_NOTE,
    RAW,
    number_table,
    stand_in_notes,
    tidy_frame,
)
from diffuselm.paper.published import load_published
from diffuselm.paper.table_files import write_table_files
from diffuselm.paper.templating import filled

_NATURAL = ModelRecord(model="natural", stand_in=False)
# Table 4: title of the task, its prompt, and the tuning on that prompt alone.
_TABLE_4 = (
    ("RNG", "numbers", "numbers/1-10", "rng-10"),
    ("Baby Names", "names", "names/english", "only-names"),
)
_TITLES = {
    4: "Entropy and coverage of random numbers and baby names, before and after tuning on each "
    "(higher is more diverse).",
    5: "Mean coverage over each task's prompts (higher is better), before tuning and after tuning "
    "on the other tasks.",
    6: "Mean entropy in nats over each task's prompts (higher is better), before tuning and after "
    "tuning on the other tasks.",
}


def tables_4_5_6(
    *, metrics: Path, records: list[Path], published: Path, names: Path, out: Path
) -> None:
    """Write `out`/table-4, table-5 and table-6, each as .csv, .md and .tex.

    `metrics` is a file of `schemas.METRICS`; `records` are the models' JSON files in the order in
    which the tables show them; `names` is the run.json of the stage `names`. Raises InputError for
    a bad input; a run that is absent leaves a dash.
    """
    if (source := read_json(names).get("label")) is None:
        raise InputError(f"{names}: no 'label'; expected the run.json of the stage names")
    given = read_metrics(metrics), load_models(records), load_published(published)
    for number, title in _TITLES.items():
        frame = table_4(*given) if number == 4 else table_5_or_6(number, *given)
        stub = ("Task", "Model") if number == 4 else ("Task",)
        rows = _by_model(frame) if number == 4 else list(frame.groupby(["row"], sort=False))
        notes = _notes(frame, answers_per_prompt(given[0]), source)
        write_table_files(out, number_table(number, title, stub, rows, frame, notes), frame)


def table_4(metrics: pd.DataFrame, models: Models, published: pd.DataFrame) -> pd.DataFrame:
    """Numbers of table 4, columns `FRAME`: Baseline and Tuned of each model, and Natural.

    `metrics` are rows of `schemas.METRICS`, `published` those of `load_published`. A task whose
    prompt nobody answered has no rows.
    """
    numbers, draws = mean_over_seeds(metrics), answers_per_prompt(metrics)
    coverage = f"Coverage-{draws}" if draws else "Coverage"
    asked = {key.prompt for key in numbers}
    places = [
        (title, model, group, column, Key(model.model, tuning, task, prompt, metric), digits)
        for title, task, prompt, tuned in _TABLE_4
        if prompt in asked
        for metric, group, digits in (("entropy", "Entropy", 2), ("coverage", coverage, 0))
        for model in (*models, _NATURAL)
        for column, tuning in _columns(model, numbers, "Baseline", ("Tuned", tuned))
    ]
    return _compared(tidy_frame(4, places, numbers, published))


def table_5_or_6(
    number: int, metrics: pd.DataFrame, models: Models, published: pd.DataFrame
) -> pd.DataFrame:
    """Mean coverage (table 5) or entropy (6) in leave-one-out generalization; see `table_4`."""
    numbers = mean_over_seeds(metrics)
    metric, digits = {5: ("coverage", 1), 6: ("entropy", 2)}[number]
    places = [
        (title, model, model.label, column, Key(model.model, tuning, task, None, metric), digits)
        for task, title in tasks_of(numbers).items()
        for tuned in [("Ours (OOD)", ood_tuning(task, numbers))]
        for model in models
        for column, tuning in _columns(model, numbers, model.baseline_label, tuned)
    ]
    return _compared(tidy_frame(number, places, numbers, published))


def _columns(
    model: ModelRecord, numbers: Numbers, baseline: str, tuned: tuple[str, str]
) -> Iterator[tuple[str, str]]:
    """Headings and tunings: controls without any training, the baseline, and the tuned model."""
    if model is _NATURAL:
        yield "Natural", "natural"
        return
    if model.baseline != "base":
        yield RAW, "base"
    if any(key.tuning == "held" for key in numbers):
        yield HELD_BASE, "held"
    yield baseline, "base"
    yield tuned


def _compared(frame: pd.DataFrame) -> pd.DataFrame:
    """Mark the larger of baseline and tuned as `better`, where both run and differ as printed."""
    values = zip(frame["value"], frame["digits"], strict=True)
    shown = pd.Series([round(*each) for each in values], index=frame.index, dtype="float64")
    shown = shown.mask(frame["column"].isin([RAW, HELD_BASE]))
    pair = shown.groupby([frame["row"], frame["model"], frame["metric"]])
    return frame.assign(better=(shown == pair.transform("max")) & (pair.transform("nunique") == 2))


def _by_model(frame: pd.DataFrame) -> list[tuple[tuple[str, str], pd.DataFrame]]:
    """A row for each task and model; what is natural stands in the task's first row."""
    rows = []
    for title, of_task in frame.groupby("row", sort=False):
        owner = of_task["model"].replace("natural", of_task["model"].iloc[0])
        for i, (_, of_model) in enumerate(of_task.groupby(owner, sort=False)):
            taught = ", baseline: form taught" if (of_model["tuning"] == "form").any() else ""
            label = of_model["model_label"].iloc[0] + taught
            rows.append(((title if i == 0 else "", label), of_model))
    return rows


def _notes(frame: pd.DataFrame, draws: int | None, natural_source: str) -> list[str]:
    text = filled(
        "notes_4_5_6.jinja",
        **{name: set(frame[name]) for name in ("column", "tuning", "metric", "note")},
        held_base=HELD_BASE,
        stand_ins=list(stand_in_notes(frame)),
        natural_source=natural_source,
        printed=frame["published"].notna().any(),
        paper_note=PAPER_NOTE,
        draws=draws,
        paper_draws=PAPER_N,
    )
    return text.strip().split("\n")
