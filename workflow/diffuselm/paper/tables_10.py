"""Table 10: how near answers come to the distributions that their prompts state in words."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from diffuselm.files.runs import HELD
from diffuselm.measure.intervals import interval_of_mean
from diffuselm.measure.metrics import rate
from diffuselm.paper.comparison import (
    ABSENT,
    Key,
    ModelRecord,
    Models,
    Number,
    Numbers,
    load_models,
    mean_over_seeds,
    read_metrics,
)
from diffuselm.paper.number_tables import HELD_BASE, stand_in_notes
from diffuselm.paper.own_tasks import BASELINE
from diffuselm.paper.table_files import DASH, Table, value_text, write_table_files
from diffuselm.tasks.prompts import STATED

# The p-values of tests, and where they pass.
_TESTS, _LEVEL = ("chi_square_p", "chi_square_on_target_p"), 0.05
_TUNED = "Tuned"
# A metric, its title in the table and its decimals.
_METRICS = {
    "kl": ("KL divergence (nats)", 3),
    "tv": ("Total variation", 3),
    "target_mass": ("Target mass", 3),
    _TESTS[0]: ("Share that passes", 2),
    _TESTS[1]: ("Share that passes, of answers on target", 2),
}
_GROUPS = ("Tuned on", "Unseen parameters", "Unseen families")
_ALL = "all"
_STUB = {"group": "Prompts", "family": "Family", "prompts": "Number", "model_label": "Model"}
_TITLE = (
    "Distributions that are stated in words, before and after tuning on some of them: mean "
    "distance of the model from the stated distribution (lower is better), and the share of "
    "prompts whose answers pass a chi-square test against it, at the 0.05 level (higher is better)."
)
_BAR = (
    "Answers drawn from the stated distributions themselves would pass for 95% of the prompts. The "
    "bar: of eleven large models, each asked 1,000 times for each of fifteen distributions, ten "
    "passed for none (arXiv 2601.05414)."
)
# One row is one number: of one model under one tuning, over the prompts of a family in a group.
FRAME = {
    **dict.fromkeys(("group", "family"), "str"),
    "prompts": "int64",
    **dict.fromkeys(("model", "model_label"), "str"),
    "stand_in": "bool",
    **dict.fromkeys(("condition", "tuning", "metric"), "str"),
    **dict.fromkeys(("value", "ci_low", "ci_high"), "float64"),
    **dict.fromkeys(("n", "seeds"), "Int64"),
}


def tables_10(*, metrics: Path, records: list[Path], tuned_on: list[str], out: Path) -> None:
    """Write `out`/table-10 as .csv, .md and .tex.

    `metrics` is a file of `schemas.METRICS`, `records` the models' JSON files in the order of the
    rows, `tuned_on` the prompts of tuning `stated`. Raises InputError for a bad input; a run that
    is absent leaves a dash.
    """
    measured, models = read_metrics(metrics), load_models(records)
    frame = stated_frame(measured, models, tuned_on)
    write_table_files(out, _lay_out(frame, _answers(measured)), frame)


def stated_frame(metrics: pd.DataFrame, models: Models, tuned_on: Sequence[str]) -> pd.DataFrame:
    """Columns `FRAME`, of rows of `schemas.METRICS`: for each group all its prompts, then families.

    A condition that no model was measured under has no rows.
    """
    own = _of_prompts(metrics)
    numbers = mean_over_seeds(own)
    rows = []
    for (group, family), prompts in _grouped(sorted(own["prompt"].unique()), tuned_on).items():
        for model in models:
            about = (group, family, len(prompts), model.model, model.label, model.stand_in)
            for metric in _METRICS:
                for condition, tuning in _conditions(model):
                    keys = [Key(model.model, tuning, STATED, id, metric) for id in prompts]
                    number = _passing(own, keys) if metric in _TESTS else _mean(numbers, keys)
                    rows.append((*about, condition, tuning, metric, *number))
    frame = pd.DataFrame(rows, columns=list(FRAME)).astype(FRAME)
    return frame[frame.groupby("condition")["value"].transform("count") > 0]


def _of_prompts(metrics: pd.DataFrame) -> pd.DataFrame:
    of_task = metrics["task"].eq(STATED) & metrics["prompt"].notna()
    return metrics[of_task & metrics["field"].eq("value")]


def _grouped(
    prompts: Sequence[str], tuned_on: Sequence[str]
) -> Mapping[tuple[str, str], list[str]]:
    """The prompts of each group, all of them and by family: what its name begins with."""
    families = {prompt: prompt.partition("/")[2].partition("-")[0] for prompt in prompts}
    tuned = {family for prompt, family in families.items() if prompt in tuned_on}
    found: dict[tuple[str, str], list[str]] = {}
    for prompt, family in families.items():
        group = _GROUPS[0 if prompt in tuned_on else 1 if family in tuned else 2]
        for row in (_ALL, family):
            found.setdefault((group, row), []).append(prompt)
    return dict(sorted(found.items(), key=lambda row: _GROUPS.index(row[0][0])))


def _conditions(model: ModelRecord) -> Iterator[tuple[str, str]]:
    yield HELD_BASE, HELD
    yield BASELINE, model.baseline
    yield _TUNED, STATED


def _mean(numbers: Numbers, keys: Sequence[Key]) -> Number:
    """Mean over prompts; absent where one of them is."""
    found = [numbers.get(key, ABSENT) for key in keys]
    if ABSENT in found:
        return ABSENT
    values = [number.value for number in found]
    ends = interval_of_mean(values, [(number.ci_low, number.ci_high) for number in found])
    n = sum(number.n for number in found)
    return Number(sum(values) / len(values), *ends, n, found[0].seeds)


def _passing(metrics: pd.DataFrame, keys: Sequence[Key]) -> Number:
    """The share of tests, one for each prompt and seed, whose p-value is not below the level."""
    tests = metrics[pd.MultiIndex.from_frame(metrics[list(Key._fields)]).isin(keys)]
    if tests.empty:
        return ABSENT
    found = rate(int((tests["value"] >= _LEVEL).sum()), len(tests))
    return Number(*found, tests["seed"].nunique())


def _answers(metrics: pd.DataFrame) -> int | None:
    """How many answers of tuning `stated` a test is of; None where prompts differ in it."""
    own = _of_prompts(metrics)
    tests = own["metric"].eq(_TESTS[0]) & own["tuning"].eq(STATED)
    numbers = own.loc[tests, "n"].unique()
    return int(numbers[0]) if len(numbers) == 1 else None


def _lay_out(frame: pd.DataFrame, answers: int | None) -> Table:
    """A row for each group, family and model, a column for each measure and condition."""
    titles, digits = ({metric: its[i] for metric, its in _METRICS.items()} for i in (0, 1))
    shown = frame.assign(
        title=frame["metric"].map(titles),
        text=[value_text(row, digits[row["metric"]]) for _, row in frame.iterrows()],
    )
    index = ["group", "family", "prompts", "model_label"]
    columns = ["title", "condition"]
    cells = shown.pivot_table("text", index, columns, "first", sort=False).fillna(DASH)
    cells = cells.reset_index().map(str).astype(object)
    again = cells.duplicated([("group", "")])
    cells.loc[again, [("group", "")]] = ""
    return Table(10, _TITLE, len(index), cells.rename(columns=_STUB), list(_notes(frame, answers)))


def _notes(frame: pd.DataFrame, answers: int | None) -> Iterator[str]:
    yield (
        "In brackets: 95% interval, of a share that of Wilson over the prompts' tests. KL "
        "divergence, total variation and target mass (the probability that an answer is one of "
        "the targets) are exact: of one seed they have no interval."
    )
    drawn = f"{answers:,} answers" if answers else "all answers"
    yield (
        f"A test is of {drawn} to a prompt. Targets too rare to be expected 5 times are one cell. "
        "One answer that is no target fails it: the stated distribution never gives that answer. "
        "Of answers on target: the same of those answers alone that are targets, however few."
    )
    yield _BAR
    yield (
        f"{_GROUPS[1]}: prompts of families that were tuned on, with other numbers. {_GROUPS[2]}: "
        "no prompt of the family was tuned on."
    )
    conditions = set(frame["condition"])
    if HELD_BASE in conditions:
        yield (
            f"{HELD_BASE}: no training; tokens that break the form are masked as they are drawn, "
            "and the distances are those of that distribution."
        )
    if (frame["tuning"] == "form").any():
        yield (
            "Baseline: form taught, where a model says so. It does not keep the asked form by "
            "itself, and was tuned on questions with one answer, which teach the form and nothing "
            "about spread."
        )
    yield from stand_in_notes(frame)
