"""Tables 4, 5 and 6: coverage and entropy before and after tuning, beside the paper's numbers."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from diffuselm.files.contracts import METRICS, read_table
from diffuselm.paper.comparison import (
    Key,
    ModelRecord,
    Number,
    answers_per_prompt,
    load_models,
    mean_over_seeds,
    ood_tuning,
    tasks_of,
)
from diffuselm.paper.published import load_published
from diffuselm.paper.table_files import (
    Groups,
    Table,
    latex,
    markdown,
    number_cells,
    write_table_files,
)

# One row of a tidy frame is one number of the table. `group` and `column` are its two headings;
# `digits` is how many decimals the paper prints; `better` marks the larger of baseline and tuned;
# `valid` and `on_target` are the shares of the answers that kept the form, and that are targets.
FRAME = {
    "table": "int64",
    "row": "str",
    "model": "str",
    "model_label": "str",
    "stand_in": "bool",
    "group": "str",
    "column": "str",
    "task": "str",
    "prompt": "str",
    "tuning": "str",
    "metric": "str",
    "value": "float64",
    "ci_low": "float64",
    "ci_high": "float64",
    "n": "Int64",
    "seeds": "Int64",
    "published": "float64",
    "note": "str",
    "valid": "float64",
    "on_target": "float64",
    "better": "bool",
    "digits": "int64",
}
_NATURAL = ModelRecord(model="natural", stand_in=False, paper_model="natural")
# Table 4: title of the task, its prompt, and the tuning on that prompt alone.
_TABLE_4 = (
    ("RNG", "numbers", "numbers/1-10", "rng-10"),
    ("Baby Names", "names", "names/english", "only-names"),
)
PAPER_N = 1000
RAW, HELD_BASE = "Base as it is", "Base held to the form"
PAPER_NOTE = "“paper”: what the paper printed for its model (or the one stood in for)."
FORM_NOTE = (
    "Form taught: the baseline of a model that does not keep the asked form by itself; tuned on "
    "questions with one answer, which teach the form and nothing about spread. Of the base as it "
    "is, only the rates are given: the spread of raw texts means nothing."
)
_ORDER = (RAW, HELD_BASE, "Baseline", "Tuned", "Natural")
_TITLES = {
    4: "Entropy and coverage of random numbers and baby names, before and after tuning on each "
    "(higher is more diverse).",
    5: "Mean coverage over each task's prompts (higher is better), before tuning and after tuning "
    "on the other tasks.",
    6: "Mean entropy in nats over each task's prompts (higher is better), before tuning and after "
    "tuning on the other tasks.",
}


def render_tables(
    *,
    metrics: Path,
    records: Sequence[Path],
    published: Path,
    natural_source: str,
    out: Path,
) -> None:
    """Write `out`/table-4, table-5 and table-6, each as .csv, .md and .tex.

    `metrics` is a file of `contracts.METRICS`; `records` are `results/models/{model}.json`, in the
    order in which the tables show the models; `natural_source` says where the natural distribution
    of names comes from. Raises InputError for a bad input; a run that is absent leaves a dash.
    """
    measured = read_table(metrics, METRICS).to_pandas()
    models = load_models(records)
    paper = load_published(published)
    for number, build, arrange in (
        (4, table_4, _by_model),
        (5, table_5, _by_task),
        (6, table_6, _by_task),
    ):
        frame = build(measured, models, paper)
        notes = tuple(_notes(frame, answers_per_prompt(measured), natural_source))
        table = arrange(frame, number, notes)
        write_table_files(
            Path(out) / f"table-{number}",
            csv=frame.to_csv(index=False, lineterminator="\n"),
            markdown=markdown(table),
            latex=latex(table),
        )


def table_4(
    metrics: pd.DataFrame, models: Sequence[ModelRecord], published: pd.DataFrame
) -> pd.DataFrame:
    """Numbers of table 4, columns `FRAME`: Baseline and Tuned of each model, and Natural.

    `metrics` are rows of `contracts.METRICS`, `published` those of `load_published`. A task whose
    prompt nobody answered has no rows.
    """
    numbers = mean_over_seeds(metrics)
    draws = answers_per_prompt(metrics)
    coverage = f"Coverage-{draws}" if draws else "Coverage"
    asked = {prompt for _, _, _, prompt, _ in numbers}
    cells = [
        (title, model, group, column, (model.model, tuning, task, prompt, metric), digits)
        for title, task, prompt, tuned in _TABLE_4
        if prompt in asked
        for metric, group, digits in (("entropy", "Entropy", 2), ("coverage", coverage, 0))
        for model, column, tuning in (
            *(
                (m, c, t)
                for m in models
                for c, t in _columns(m, numbers, "Baseline", ("Tuned", tuned))
            ),
            (_NATURAL, "Natural", "natural"),
        )
    ]
    return _compared(tidy_frame(4, cells, numbers, published))


def table_5(
    metrics: pd.DataFrame, models: Sequence[ModelRecord], published: pd.DataFrame
) -> pd.DataFrame:
    """Numbers of table 5, mean coverage in leave-one-out generalization; see `table_4`."""
    return _leave_one_out(5, "coverage", 1, metrics, models, published)


def table_6(
    metrics: pd.DataFrame, models: Sequence[ModelRecord], published: pd.DataFrame
) -> pd.DataFrame:
    """Numbers of table 6, mean entropy in leave-one-out generalization; see `table_4`."""
    return _leave_one_out(6, "entropy", 2, metrics, models, published)


def tidy_frame(
    table: int,
    cells: Sequence[tuple[str, ModelRecord, str, str, Key, int]],
    numbers: dict[Key, Number],
    published: pd.DataFrame,
) -> pd.DataFrame:
    """One row (columns `FRAME`) for each cell: its number, nulls where it was not run, the paper's.

    A cell is its row, model, group and column, the key of its number, and its decimals. Where a
    model is compared under another tuning than the paper's, that one's number is taken. Of answers
    of a base model that does not keep the form, only the rates are: as raw texts they say nothing.
    """
    of_table = published[published["table"] == table]
    names = ("model", "tuning", "task", "prompt", "metric")
    columns = [of_table[name].astype(object).where(of_table[name].notna(), None) for name in names]
    keys = zip(*columns, strict=True)
    paper = dict(zip(keys, zip(of_table["value"], of_table["note"], strict=True), strict=True))
    absent = Number(float("nan"), float("nan"), float("nan"), None, None)
    rows = []
    for row, model, group, column, key, digits in cells:
        _, tuning, task, prompt, metric = key
        if column != RAW:
            tuning = model.measured_tuning(tuning, task)
        own = (key[0], tuning, task, prompt)
        number = absent if column == RAW else numbers.get((*own, metric), absent)
        rates = (numbers.get((*own, rate), absent).value for rate in ("valid_rate", "target_rate"))
        printed, note = paper.get((model.paper_model, *key[1:]), (None, ""))
        if column == RAW:  # the paper's number stands beside the baseline
            printed, note = None, ""
        headings = (table, row, model.model, model.label, model.stand_in, group, column)
        found = (number.value, number.ci_low, number.ci_high, number.n, number.seeds)
        row = (*headings, task, prompt, tuning, metric, *found, printed, note, *rates)
        rows.append((*row, False, digits))
    return pd.DataFrame(rows, columns=list(FRAME)).astype(FRAME)


def stand_in_notes(frame: pd.DataFrame) -> Iterator[str]:
    """Name the stand-ins among the models of `frame` (columns model, stand_in), if any."""
    stand_ins = frame.loc[frame["stand_in"], "model"].unique()
    if len(stand_ins):
        yield (
            f"Stand-ins: {', '.join(stand_ins)}. They are tiny models made for trying the workflow "
            "out, not the paper's models: what they score says nothing about those."
        )


def _leave_one_out(
    table: int,
    metric: str,
    digits: int,
    metrics: pd.DataFrame,
    models: Sequence[ModelRecord],
    published: pd.DataFrame,
) -> pd.DataFrame:
    numbers = mean_over_seeds(metrics)
    cells = [
        (title, model, model.label, column, (model.model, tuning, task, None, metric), digits)
        for task, title in tasks_of(numbers).items()
        for model in models
        for column, tuning in _columns(
            model, numbers, model.baseline_label, ("Ours (OOD)", ood_tuning(task, numbers))
        )
    ]
    return _compared(tidy_frame(table, cells, numbers, published))


def _columns(
    model: ModelRecord, numbers: dict[Key, Number], baseline: str, tuned: tuple[str, str]
) -> Iterator[tuple[str, str]]:
    """Headings and tunings: controls without any training, the baseline, and the tuned model."""
    if model.baseline != "base":
        yield RAW, "base"
    if any(tuning == "held" for _, tuning, *_ in numbers):
        yield HELD_BASE, "held"
    yield baseline, "base"
    yield tuned


def _compared(frame: pd.DataFrame) -> pd.DataFrame:
    """Mark the larger of baseline and tuned as `better`, where both run and differ as printed."""
    shown = pd.Series(
        [
            round(value, digits)
            for value, digits in zip(frame["value"], frame["digits"], strict=True)
        ],
        index=frame.index,
        dtype="float64",
    )
    shown = shown.mask(frame["column"].isin([RAW, HELD_BASE]))
    pair = shown.groupby([frame["row"], frame["model"], frame["metric"]])
    return frame.assign(better=(shown == pair.transform("max")) & (pair.transform("nunique") == 2))


def _by_model(frame: pd.DataFrame, number: int, notes: tuple[str, ...]) -> Table:
    """A row for each task and model; what is natural stands in the task's first row."""
    groups: Groups = tuple(
        (group, tuple(column for column in _ORDER if (of_group["column"] == column).any()))
        for group, of_group in frame.groupby("group", sort=False)
    )
    rows = []
    for title, of_task in frame.groupby("row", sort=False):
        natural = of_task[of_task["model"] == "natural"]
        models = of_task[of_task["model"] != "natural"]
        for i, (_, of_model) in enumerate(models.groupby("model", sort=False)):
            shown = pd.concat([of_model, natural]) if i == 0 else of_model
            stub = (title if i == 0 else "", _with_baseline(of_model))
            rows.append((stub, number_cells(shown, groups)))
    return Table(number, _TITLES[number], ("Task", "Model"), groups, tuple(rows), notes)


def _with_baseline(of_model: pd.DataFrame) -> str:
    """The model's label, and its baseline where that is not the base model."""
    label = of_model["model_label"].iloc[0]
    return f"{label}, baseline: form taught" if (of_model["tuning"] == "form").any() else label


def _by_task(frame: pd.DataFrame, number: int, notes: tuple[str, ...]) -> Table:
    groups: Groups = tuple(
        (label, tuple(of_model["column"].unique()))
        for label, of_model in frame.groupby("group", sort=False)
    )
    rows = tuple(
        ((title,), number_cells(of_task, groups))
        for title, of_task in frame.groupby("row", sort=False)
    )
    return Table(number, _TITLES[number], ("Task",), groups, rows, notes)


def _notes(frame: pd.DataFrame, draws: int | None, natural_source: str) -> Iterator[str]:
    """What a reader must know before taking a number of the table for something else."""
    yield (
        "In brackets: 95% interval. Bold: the better of baseline and tuned. Then the share of "
        "answers that keep the asked form (valid), and of those whose value is one of the targets "
        "(on target)."
    )
    if (frame["column"] == HELD_BASE).any():
        yield (
            f"{HELD_BASE}: no training; tokens that break the form (braces around one value, then "
            "the end) are masked as they are drawn. It shows what the form alone does; what then "
            "stands between the braces need not be what was asked for."
        )
    if (frame["tuning"] == "form").any():
        yield FORM_NOTE
    yield from stand_in_notes(frame)
    if (frame["metric"] == "coverage").any():
        yield (
            "Coverage counts every distinct answer, one outside of what was asked for too: it may "
            "exceed the number of right ones."
        )
    if (frame["column"] == "Natural").any():
        yield f"Natural: uniform for RNG; for Baby Names, {natural_source}."
    if frame["published"].notna().any():
        yield PAPER_NOTE
    if (frame["metric"] == "coverage").any() and draws != PAPER_N:
        found = f"{draws:,}" if draws else "a number that differs between prompts"
        yield (
            f"Coverage here counts the distinct among {found} answers to a prompt, the paper's "
            f"among {PAPER_N:,}: the two do not compare."
        )
    if (frame["note"] == "misprinted").any():
        yield "†: misprinted; the paper's Mistral columns repeat its Llama columns."
