"""Tables 1, 2 and 3: what biographies say most often, their prompt, and five of each tuning."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from diffuselm.files.seeds import derive
from diffuselm.paper.biographies import (
    FIELDS,
    TUNINGS,
    TUNINGS_NOTE,
    Answers,
    read_answers,
    titled,
    tunings_of,
    valid_notes,
)
from diffuselm.paper.comparison import Models, falling, load_models
from diffuselm.paper.number_tables import PAPER_N, PAPER_NOTE, stand_in_notes
from diffuselm.paper.published import load_published
from diffuselm.paper.table_files import DASH, Table, one_line, write_table_files
from diffuselm.tasks.target_sets import read_prompts

_SHOWN = 5
_WHOSE = ["table", "model", "model_label", "stand_in", "column", "tuning"]
_FRAME_1 = [*_WHOSE, "field", "rank", "value", "count", "n", "published", "published_count"]
_DRAWN = ["prompt", "seed", "draw", "valid", "problem", "text"]
_FRAME_3 = [*_WHOSE, "place", *_DRAWN]


def tables_1_2_3(
    *,
    biographies: list[Path],
    records: list[Path],
    published: Path,
    targets: Path,
    seed: int,
    out: Path,
) -> None:
    """Write `out`/table-1, table-2 and table-3, each as .csv, .md and .tex.

    `biographies` are files `{model}/{tuning}.parquet` of `biographies.COLUMNS`; `records` the
    models' JSON files in the order of the rows; `targets` the target sets of their prompt; `seed`
    the config's, from which table 3 draws. Raises InputError for a bad input; a run that is absent
    leaves a dash.
    """
    models, answers = load_models(records), read_answers(biographies)
    valid = list(valid_notes(answers, models))
    frequent = table_1(answers, models, load_published(published))
    write_table_files(out, _lay_out_1(frequent, valid), frequent)
    prompt = read_prompts([targets])[0].text
    shown = pd.DataFrame({"Prompt": ["\n".join(prompt.splitlines())]})
    table_2 = Table(2, "The prompt that asks for a biography.", stub=0, cells=shown, notes=())
    write_table_files(out, table_2, pd.DataFrame({"table": [2], "text": [prompt]}))
    drawn = table_3(answers, models, seed)
    write_table_files(out, _lay_out_3(drawn, models, valid), drawn)


def table_1(answers: Answers, models: Models, published: pd.DataFrame) -> pd.DataFrame:
    """The five most frequent values of each attribute among valid biographies, and the paper's.

    One row for each model, tuning, field and rank: value and count out of n, null where there is
    none, beside the paper's of that rank. Equally frequent values come in the order of their text.
    `published` are the rows of `load_published`.
    """
    paper = published[published["table"] == 1].set_index(["model", "tuning", "field", "rank"])
    paper = paper[["text", "value"]].T.to_dict("list")
    rows = []
    for model, label, asked, tuning in tunings_of(models):
        found = answers.get((model.model, tuning))
        n = None if found is None else int(found["valid"].sum())
        whose = (1, model.model, model.label, model.stand_in, titled(label), tuning)
        for field in FIELDS:
            values = [] if found is None else found[found["valid"]][field].dropna()
            ours = [*falling(Counter(map(str, values))), *[(None, None)] * _SHOWN]
            for rank, (text, count) in enumerate(ours[:_SHOWN], start=1):
                printed = paper.get((model.paper_model, asked, field, rank), (None, None))
                rows.append((*whose, field, rank, text, count, n, *printed))
    types = {"stand_in": "bool"} | dict.fromkeys(("count", "n", "published_count"), "Int64")
    return pd.DataFrame(rows, columns=_FRAME_1).astype(types)


def table_3(answers: Answers, models: Models, seed: int) -> pd.DataFrame:
    """Five biographies drawn from all answers, malformed ones too, of each model and tuning.

    The draw depends on `seed`, the model and the tuning alone. Columns: whose it is, its place in
    the table (from 1), and what `biographies.COLUMNS` says of it.
    """
    rows = []
    for model, label, _, tuning in tunings_of(models):
        found = answers.get((model.model, tuning))
        if found is None:
            continue
        found = found.sort_values(["prompt", "seed", "draw"], ignore_index=True)
        rng = np.random.default_rng(derive(seed, "table-3", model.model, tuning))
        drawn = found.iloc[rng.permutation(len(found))[:_SHOWN]][_DRAWN]
        whose = (3, model.model, model.label, model.stand_in, titled(label), tuning)
        rows.extend((*whose, place, *row) for place, row in enumerate(drawn.to_numpy(), start=1))
    return pd.DataFrame(rows, columns=_FRAME_3).astype({"stand_in": "bool"})


def _lay_out_1(frame: pd.DataFrame, valid: Sequence[str]) -> Table:
    """A row for each model, tuning and rank that any attribute fills; at least one for each."""
    rows = []
    for (label, column), block in frame.groupby(["model_label", "column"], sort=False):
        for rank, of_rank in block.groupby("rank", sort=True):
            if rank == 1 or of_rank[["value", "published"]].notna().any(axis=None):
                stub = (label, column) if rank == 1 else ("", "")
                rows.append([*stub, *(_value_text(row) for _, row in of_rank.iterrows())])
    notes = [
        "After the colon: how many of the valid biographies say so. Equally frequent values stand "
        "in the order of their text. A dash: none.",
        TUNINGS_NOTE,
    ]
    if frame["published"].notna().any():
        notes.append(f"{PAPER_NOTE} Its counts are out of {PAPER_N:,}, some values abbreviated.")
    notes += [*valid, *stand_in_notes(frame)]
    cells = pd.DataFrame(rows, columns=["Model", "Tuning", *map(titled, FIELDS.values())])
    title = "The most frequent values of each attribute of the biographies."
    return Table(1, title, stub=2, cells=cells, notes=notes)


def _value_text(row: pd.Series) -> str:
    """Ours of the rank, and under it the paper's; nothing where an attribute has run out."""
    lines = []
    if pd.notna(row["value"]):
        lines.append(f"{one_line(row['value'])}: {row['count']}")
    elif row["rank"] == 1 or pd.notna(row["published"]):
        lines.append(DASH)
    if pd.notna(row["published"]):
        lines.append(f"(paper {row['published']}: {row['published_count']})")
    return "\n".join(lines)


def _lay_out_3(frame: pd.DataFrame, models: Models, valid: Sequence[str]) -> Table:
    """A row for each model and place, its three tunings side by side; a line for each value."""
    texts = frame.set_index(["model", "column", "place"])["text"].to_dict()
    columns = [titled(label) for label in TUNINGS]
    rows = []
    for model in models:
        places = [place for name, _, place in texts if name == model.model]
        for place in range(1, max(places, default=1) + 1):
            shown = [texts.get((model.model, column, place), DASH) for column in columns]
            rows.append([model.label if place == 1 else "", *map(_lines, shown)])
    notes = [
        "Drawn by the config's seed among all answers, malformed ones too; table-3.csv says what "
        "is wrong with one. A dash: no answer.",
        TUNINGS_NOTE,
        *valid,
        *stand_in_notes(frame),
    ]
    title = "Biographies drawn at random from the answers of each model and tuning."
    return Table(
        3, title, stub=1, cells=pd.DataFrame(rows, columns=["Model", *columns]), notes=notes
    )


def _lines(text: str) -> str:
    """The lines of an answer that hold anything, one for each pair of braces at least."""
    lines = re.sub(r"\}\s*\{", "}\n{", text).splitlines()
    return "\n".join(line for line in lines if line.strip())
