"""What is compared of biographies (section 6): the three tunings, and what they wrote."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from diffuselm.files.schemas import STRING, TRUTH, WHOLE, columns
from diffuselm.files.tables import read_parts
from diffuselm.paper.comparison import ModelRecord, Models, by_model_and_tuning

TASK = "biographies"
PROMPT = "biographies/sketch"
# What figures and tables call each of the paper's tunings, in its order.
TUNINGS = {"base": "base", "OOD": "all", "ID": "biographies"}
FIELDS = {
    "first_name": "first name",
    "last_name": "last name",
    "gender": "gender",
    "birth_year": "birth year",
    "birth_place": "birth place",
    "profession": "profession",
}
TUNINGS_NOTE = (
    "Base: before tuning. OOD: tuned on the six tasks of short answers, none of them biographies. "
    "ID: tuned on the attributes of biographies too."
)

# What of `results/records/biographies` is shown.
COLUMNS = columns(
    prompt=STRING,
    seed=WHOLE,
    draw=WHOLE,
    first_name=STRING,
    last_name=STRING,
    gender=STRING,
    birth_year=WHOLE,
    birth_place=STRING,
    city=STRING,
    country=STRING,
    profession=STRING,
    valid=TRUTH,
    problem=STRING,
    answer=STRING,
)
# Biographies (rows of `COLUMNS`) of each (model, tuning) that was run.
Answers = Mapping[tuple[str, str], pd.DataFrame]


def read_answers(paths: Sequence[Path]) -> Answers:
    """Read files `{model}/{tuning}.parquet` of `COLUMNS`, as far as all tunings have answers.

    That is the first part of each: one tuning may have been asked for more records.
    """
    # A year stays an integer where others are null.
    return {
        run: next(read_parts(path, COLUMNS))
        .to_pandas(integer_object_nulls=True)
        .rename(columns={"answer": "text"})
        for run, path in by_model_and_tuning(paths).items()
    }


def tunings_of(models: Models) -> Iterator[tuple[ModelRecord, str, str, str]]:
    """Model, label of a tuning, the paper's tuning of it, and ours that stands for it."""
    for model in models:
        for label, tuning in TUNINGS.items():
            yield model, label, tuning, model.measured_tuning(tuning, TASK)


def titled(label: str) -> str:
    """A label of `TUNINGS` or `FIELDS` as a table's heading."""
    return label[0].upper() + label[1:]


def valid_notes(answers: Answers, models: Models) -> Iterator[str]:
    """How many answers of each model are valid, also held to the form where it is compared so."""
    for model in models:
        held = {label: model.measured_tuning(tuning, TASK) for label, tuning in TUNINGS.items()}
        if shares := _valid(answers, model, TUNINGS):
            yield f"Valid biographies of {model.label}: {shares}."
        if model.baseline != "base" and (shares := _valid(answers, model, held)):
            yield (
                f"{model.label} is shown held to the form in all three: tokens that break it (six "
                "braced values, then the end) are masked as they are drawn. Valid then: "
                f"{shares}."
            )


def _valid(answers: Answers, model: ModelRecord, tunings: Mapping[str, str]) -> str:
    found = {label: answers.get((model.model, tuning)) for label, tuning in tunings.items()}
    return ", ".join(
        f"{titled(label)} {of['valid'].sum():,} of {len(of):,} ({of['valid'].mean():.1%})"
        for label, of in found.items()
        if of is not None and len(of)
    )
