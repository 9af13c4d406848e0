"""Tables 4, 5 and 6: coverage and entropy before and after tuning, beside the paper's numbers."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from diffuselm.errors import InputError
from diffuselm.files.json_files import read_json
from diffuselm.paper.comparison import (
    Key,
    ModelRecord,
    Numbers,
    answers_per_prompt,
    load_models,
    mean_over_seeds,
    ood_tuning,
    read_metrics,
    tasks_of,
)
from diffuselm.paper.number_tables import (
    PAPER_N,
    PAPER_NOTE,
    RAW,
    Place,
    number_table,
    stand_in_notes,
    tidy_frame,
)
from diffuselm.paper.published import load_published
from diffuselm.paper.table_files import Table, write_table_files
from diffuselm.paper.templating import filled

_NATURAL = ModelRecord(model="natural", stand_in=False)
# Table 4: title of the task, its prompt, and the tuning on that prompt alone.
_TABLE_4 = (
    ("RNG", "numbers", "numbers/1-10", "rng-10"),
    ("Baby Names", "names", "names/english", "only-names"),
)
HELD_BASE = "Base held to the form"
_ORDER = (RAW, HELD_BASE, "Baseline", "Tuned", "Natural")
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
    measured = read_metrics(metrics)
    models = load_models(records)
    paper = load_published(published)
    frames = {4: table_4(measured, models, paper)}
    frames |= {number: table_5_or_6(number, measured, models, paper) for number in (5, 6)}
    for number, frame in frames.items():
        notes = _notes(frame, answers_per_prompt(measured), source)
        arrange = _by_model if number == 4 else _by_task
        write_table_files(out, arrange(frame, number, notes), frame)


def table_4(
    metrics: pd.DataFrame, models: Sequence[ModelRecord], published: pd.DataFrame
) -> pd.DataFrame:
    """Numbers of table 4, columns `FRAME`: Baseline and Tuned of each model, and Natural.

    `metrics` are rows of `schemas.METRICS`, `published` those of `load_published`. A task whose
    prompt nobody answered has no rows.
    """
    numbers = mean_over_seeds(metrics)
    draws = answers_per_prompt(metrics)
    coverage = f"Coverage-{draws}" if draws else "Coverage"
    asked = {key.prompt for key in numbers}

    def columns(tuned: str) -> Iterator[tuple[ModelRecord, str, str]]:
        for model in models:
            for column, tuning in _columns(model, numbers, "Baseline", ("Tuned", tuned)):
                yield model, column, tuning
        yield _NATURAL, "Natural", "natural"

    places = [
        Place(title, model, group, column, Key(model.model, tuning, task, prompt, metric), digits)
        for title, task, prompt, tuned in _TABLE_4
        if prompt in asked
        for metric, group, digits in (("entropy", "Entropy", 2), ("coverage", coverage, 0))
        for model, column, tuning in columns(tuned)
    ]
    return _compared(tidy_frame(4, places, numbers, published))


def table_5_or_6(
    number: int, metrics: pd.DataFrame, models: Sequence[ModelRecord], published: pd.DataFrame
) -> pd.DataFrame:
    """Mean coverage (table 5) or entropy (6) in leave-one-out generalization; see `table_4`."""
    numbers = mean_over_seeds(metrics)
    metric, digits = {5: ("coverage", 1), 6: ("entropy", 2)}[number]
    places = [
        Place(title, model, model.label, column, key, digits)
        for task, title in tasks_of(numbers).items()
        for model in models
        for column, tuning in _columns(
            model, numbers, model.baseline_label, ("Ours (OOD)", ood_tuning(task, numbers))
        )
        for key in [Key(model.model, tuning, task, None, metric)]
    ]
    return _compared(tidy_frame(number, places, numbers, published))


def _columns(
    model: ModelRecord, numbers: Numbers, baseline: str, tuned: tuple[str, str]
) -> Iterator[tuple[str, str]]:
    """Headings and tunings: controls without any training, the baseline, and the tuned model."""
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


def _by_model(frame: pd.DataFrame, number: int, notes: Sequence[str]) -> Table:
    """A row for each task and model; what is natural stands in the task's first row."""
    groups = {
        group: [column for column in _ORDER if (of_group["column"] == column).any()]
        for group, of_group in frame.groupby("group", sort=False)
    }
    rows = []
    for title, of_task in frame.groupby("row", sort=False):
        natural = of_task[of_task["model"] == "natural"]
        models = of_task[of_task["model"] != "natural"]
        for i, (_, of_model) in enumerate(models.groupby("model", sort=False)):
            shown = pd.concat([of_model, natural]) if i == 0 else of_model
            rows.append(((title if i == 0 else "", _with_baseline(of_model)), shown))
    stub = ("Task", "Model")
    return number_table(number, _TITLES[number], stub=stub, groups=groups, rows=rows, notes=notes)


def _with_baseline(of_model: pd.DataFrame) -> str:
    """The model's label, and its baseline where that is not the base model."""
    label = of_model["model_label"].iloc[0]
    return f"{label}, baseline: form taught" if (of_model["tuning"] == "form").any() else label


def _by_task(frame: pd.DataFrame, number: int, notes: Sequence[str]) -> Table:
    return number_table(
        number,
        _TITLES[number],
        stub=("Task",),
        groups=frame.groupby("group", sort=False)["column"].unique().to_dict(),
        rows=[((title,), of_task) for title, of_task in frame.groupby("row", sort=False)],
        notes=notes,
    )


def _notes(frame: pd.DataFrame, draws: int | None, natural_source: str) -> list[str]:
    text = filled(
        "notes_4_5_6.jinja",
        held_base=(frame["column"] == HELD_BASE).any(),
        form_taught=(frame["tuning"] == "form").any(),
        stand_ins=list(stand_in_notes(frame)),
        coverage=(frame["metric"] == "coverage").any(),
        natural=(frame["column"] == "Natural").any(),
        natural_source=natural_source,
        printed=frame["published"].notna().any(),
        paper_note=PAPER_NOTE,
        draws=draws,
        paper_draws=PAPER_N,
        misprinted=(frame["note"] == "misprinted").any(),
    )
    return text.strip().split("\n")
