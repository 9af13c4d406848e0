"""Tables 7 and 8: coverage and entropy of what biographies say, before and after tuning."""

from collections.abc import Sequence

import pandas as pd

from diffuselm.paper.comparison import ModelRecord, mean_over_seeds
from diffuselm.paper.diversity_tables import PAPER_N, PAPER_NOTE, tidy_frame
from diffuselm.paper.published import unswapped
from diffuselm.paper.table_files import Groups, Table, number_cells

ATTRIBUTES = {
    "first_name": "First name",
    "last_name": "Last name",
    "gender": "Gender",
    "birth_year": "Birth year",
    "birth_place": "Birth place",
    "profession": "Profession",
}
TUNINGS = {"Base": "base", "ID": "biographies", "OOD": "all"}
TUNINGS_NOTE = (
    "Base: before tuning. OOD: tuned on the six tasks of short answers, none of them biographies. "
    "ID: tuned on the attributes of biographies too."
)
FIELDS = {7: ("first_name", "last_name", "birth_year"), 8: ("birth_place", "profession")}
_PROMPT = "biographies/sketch"
# Title, metric, and the decimals that the paper prints.
_METRICS = (("Coverage", "coverage", 0), ("Entropy", "entropy", 2))


def diversity_frame(
    number: int,
    metrics: pd.DataFrame,
    models: Sequence[ModelRecord],
    published: pd.DataFrame,
) -> pd.DataFrame:
    """Numbers of table 7 or 8: columns `tables.FRAME`, and the field of the biography.

    `metrics` are rows of `contracts.METRICS`, `published` those of `load_published`. The coverage
    cells that the paper printed under the other of ID and OOD stand in their own, and keep their
    note "swapped".
    """
    # Only the metrics of the one prompt: the paper's table names none.
    right = unswapped(published).assign(note=published["note"], prompt=_PROMPT)
    frames = []
    for field in FIELDS[number]:
        measured = metrics[(metrics["task"] == "biographies") & (metrics["field"] == field)]
        cells = [
            (title, model, ATTRIBUTES[field], column, _key(model, tuning, metric), digits)
            for title, metric, digits in _METRICS
            for model in models
            for column, tuning in TUNINGS.items()
        ]
        numbers = mean_over_seeds(measured.assign(field="value"))
        frame = tidy_frame(number, cells, numbers, right[right["field"] == field])
        frames.append(frame.assign(field=field))
    return pd.concat(frames, ignore_index=True)


def diversity_table(number: int, frame: pd.DataFrame, notes: Sequence[str]) -> Table:
    """Lay table 7 or 8 out: a row for each metric and model, three columns for each attribute."""
    titles = [ATTRIBUTES[field] for field in FIELDS[number]]
    groups: Groups = tuple((title, tuple(TUNINGS)) for title in titles)
    rows = tuple(
        (stub, number_cells(of_row, groups))
        for stub, of_row in frame.groupby(["row", "model_label"], sort=False)
    )
    return Table(
        number=number,
        title=f"Coverage and entropy of biographies: {', '.join(titles).lower()} (higher is more "
        "diverse).",
        stub=("", "Model"),
        groups=groups,
        rows=rows,
        notes=("In brackets: 95% interval.", TUNINGS_NOTE, *notes, *_paper_notes(frame)),
    )


def _key(model: ModelRecord, tuning: str, metric: str) -> tuple[str, str, str, str, str]:
    return (model.model, tuning, "biographies", _PROMPT, metric)


def _paper_notes(frame: pd.DataFrame) -> list[str]:
    if not frame["published"].notna().any():
        return []
    return [
        PAPER_NOTE,
        f"Coverage counts the distinct values among the valid biographies, the paper's among "
        f"{PAPER_N:,} answers: the two compare only where those numbers are alike.",
        "†: the paper prints this coverage under the other of ID and OOD. As printed, the entropy "
        "beside some of them would exceed the logarithm of the coverage, which cannot be.",
    ]
