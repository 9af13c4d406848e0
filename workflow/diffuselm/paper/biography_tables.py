"""Tables 1, 2, 3, 7 and 8: what biographies say most often, their prompt, and five of each."""

import csv
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from diffuselm.files.contracts import BIOGRAPHIES, METRICS, read_table
from diffuselm.files.seeds import derive
from diffuselm.paper.biography_diversity import (
    ATTRIBUTES,
    TUNINGS,
    TUNINGS_NOTE,
    diversity_frame,
    diversity_table,
)
from diffuselm.paper.comparison import ModelRecord, load_models
from diffuselm.paper.diversity_tables import PAPER_N, PAPER_NOTE, stand_in_notes
from diffuselm.paper.published import load_published
from diffuselm.paper.table_files import (
    DASH,
    Cell,
    Table,
    latex,
    latex_long,
    markdown,
    text_cell,
    write_table_files,
)

# Biographies (rows of `contracts.BIOGRAPHIES`) of each (model, tuning) that was run.
Answers = Mapping[tuple[str, str], pd.DataFrame]

# Of tables 1 and 3, in the paper's order.
_COLUMNS = ("Base", "OOD", "ID")
_SHOWN = 5
TASK = "biographies"
_WHOSE = ["table", "model", "model_label", "stand_in", "column", "tuning"]
_FRAME_1 = [*_WHOSE, "field", "rank", "value", "count", "n", "published", "published_count"]
_DRAWN = ["prompt", "seed", "draw", "valid", "problem", "text"]
_FRAME_3 = [*_WHOSE, "place", *_DRAWN]


def render_biography_tables(
    *,
    metrics: Path,
    biographies: Sequence[Path],
    records: Sequence[Path],
    published: Path,
    prompt: str,
    seed: int,
    out: Path,
) -> None:
    """Write `out`/table-1, -2, -3, -7 and -8, each as .csv, .md and .tex.

    `metrics` is a file of `contracts.METRICS`; `biographies` are files `{model}/{tuning}.parquet`
    of `contracts.BIOGRAPHIES`; `records` the models' JSON files in the order of the rows; `prompt`
    the text that was asked; `seed` the config's, from which table 3 draws. Raises InputError for a
    bad input; a run that is absent leaves a dash.
    """
    measured = read_table(metrics, METRICS).to_pandas()
    models = load_models(records)
    paper = load_published(published)
    answers = {(Path(path).parent.name, Path(path).stem): _read(Path(path)) for path in biographies}
    out = Path(out)
    frequent, drawn = table_1(answers, models, paper), table_3(answers, models, seed)
    asked = pd.DataFrame({"table": [2], "text": [prompt]})
    _write_texts(out, frequent, _lay_out_1(frequent, tuple(_notes(frequent, answers, models))))
    _write_texts(out, asked, _lay_out_2(prompt))
    _write_texts(out, drawn, _lay_out_3(drawn, models, tuple(_notes(drawn, answers, models))))
    for number in (7, 8):
        frame = diversity_frame(number, measured, models, paper)
        table = diversity_table(number, frame, tuple(_notes(frame, answers, models)))
        write_table_files(
            out / f"table-{number}",
            csv=frame.to_csv(index=False, lineterminator="\n"),
            markdown=markdown(table),
            latex=latex(table),
        )


def table_1(
    answers: Answers, models: Sequence[ModelRecord], published: pd.DataFrame
) -> pd.DataFrame:
    """The five most frequent values of each attribute among valid biographies, and the paper's.

    One row for each model, tuning, field and rank: value and count out of n, null where there is
    none, beside the paper's of that rank. Equally frequent values come in the order of their text.
    `published` are the rows of `load_published`.
    """
    of_table = published[published["table"] == 1]
    key = zip(*(of_table[name] for name in ("model", "tuning", "field", "rank")), strict=True)
    paper = dict(zip(key, zip(of_table["text"], of_table["value"], strict=True), strict=True))
    rows = []
    for model, column, asked, tuning in _runs(models):
        found = answers.get((model.model, tuning))
        for field in ATTRIBUTES:
            ours = [] if found is None else _most_frequent(found[found["valid"]][field])
            n = None if found is None else int(found["valid"].sum())
            for rank in range(1, _SHOWN + 1):
                text, count = ours[rank - 1] if rank <= len(ours) else (None, None)
                printed = paper.get((model.paper_model, asked, field, rank), (None, None))
                whose = (1, model.model, model.label, model.stand_in, column, tuning)
                rows.append((*whose, field, rank, text, count, n, *printed))
    types = {"stand_in": "bool"} | dict.fromkeys(("count", "n", "published_count"), "Int64")
    return pd.DataFrame(rows, columns=_FRAME_1).astype(types)


def table_3(answers: Answers, models: Sequence[ModelRecord], seed: int) -> pd.DataFrame:
    """Five biographies drawn from all answers, malformed ones too, of each model and tuning.

    The draw depends on `seed`, the model and the tuning alone. Columns: whose it is, its place in
    the table (from 1), and what `contracts.BIOGRAPHIES` says of it.
    """
    rows = []
    for model, column, _, tuning in _runs(models):
        found = answers.get((model.model, tuning))
        if found is None:
            continue
        found = found.sort_values(["prompt", "seed", "draw"], ignore_index=True)
        rng = np.random.default_rng(derive(seed, "table-3", model.model, tuning))
        drawn = found.iloc[rng.permutation(len(found))[:_SHOWN]][_DRAWN]
        whose = (3, model.model, model.label, model.stand_in, column, tuning)
        rows.extend((*whose, place, *row) for place, row in enumerate(drawn.to_numpy(), start=1))
    return pd.DataFrame(rows, columns=_FRAME_3).astype({"stand_in": "bool"})


def _read(path: Path) -> pd.DataFrame:
    # A year stays an integer where others are null.
    return read_table(path, BIOGRAPHIES).to_pandas(integer_object_nulls=True)


def _runs(models: Sequence[ModelRecord]) -> Iterator[tuple[ModelRecord, str, str, str]]:
    """Model, column, the paper's tuning of it, and ours that stands for it."""
    for model in models:
        for column in _COLUMNS:
            yield model, column, TUNINGS[column], _held(model, column)


def _most_frequent(values: pd.Series) -> list[tuple[str, int]]:
    counts = Counter(str(value) for value in values.dropna())
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_SHOWN]


def _write_texts(out: Path, frame: pd.DataFrame, table: Table) -> None:
    write_table_files(
        out / f"table-{table.number}",
        # Answers may hold a bare carriage return, which only a quoted cell keeps.
        csv=frame.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC),
        markdown=markdown(table),
        latex=latex_long(table),
    )


def _lay_out_1(frame: pd.DataFrame, notes: tuple[str, ...]) -> Table:
    """A row for each model, tuning and rank that any attribute fills; at least one for each run."""
    rows = []
    for (label, column), block in frame.groupby(["model_label", "column"], sort=False):
        for rank, of_rank in block.groupby("rank", sort=True):
            if rank == 1 or of_rank[["value", "published"]].notna().any(axis=None):
                stub = (label, column) if rank == 1 else ("", "")
                cells = {row["field"]: _value_cell(row) for _, row in of_rank.iterrows()}
                rows.append((stub, tuple(cells[field] for field in ATTRIBUTES)))
    about = [
        "After the colon: how many of the valid biographies say so. Equally frequent values stand "
        "in the order of their text. A dash: none.",
        TUNINGS_NOTE,
    ]
    if frame["published"].notna().any():
        about.append(f"{PAPER_NOTE} Its counts are out of {PAPER_N:,}, some values abbreviated.")
    return Table(
        number=1,
        title="The most frequent values of each attribute of the biographies.",
        stub=("Model", "Tuning"),
        groups=(("", tuple(ATTRIBUTES.values())),),
        rows=tuple(rows),
        notes=(*about, *notes),
    )


def _value_cell(row: pd.Series) -> Cell:
    """Ours of the rank, and under it the paper's; nothing where an attribute has run out."""
    lines = []
    if pd.notna(row["value"]):
        lines.append(f"{row['value']}: {row['count']}")
    elif row["rank"] == 1 or pd.notna(row["published"]):
        lines.append(DASH)
    if pd.notna(row["published"]):
        lines.append(f"(paper {row['published']}: {row['published_count']})")
    return text_cell(lines)


def _lay_out_2(prompt: str) -> Table:
    return Table(
        number=2,
        title="The prompt that asks for a biography.",
        stub=(),
        groups=(("", ("Prompt",)),),
        rows=(((), (text_cell(prompt.splitlines()),)),),
        notes=(),
    )


def _lay_out_3(frame: pd.DataFrame, models: Sequence[ModelRecord], notes: tuple[str, ...]) -> Table:
    """A row for each model and place, its three tunings side by side; a line for each value."""
    texts = frame.set_index(["model", "column", "place"])["text"].to_dict()
    rows = []
    for model in models:
        places = [place for name, _, place in texts if name == model.model]
        for place in range(1, max(places, default=1) + 1):
            shown = [texts.get((model.model, column, place), DASH) for column in _COLUMNS]
            stub = (model.label if place == 1 else "",)
            rows.append((stub, tuple(text_cell(_lines(text)) for text in shown)))
    about = (
        "Drawn by the config's seed among all answers, malformed ones too; what is wrong with one "
        "is told in table-3.csv. A dash: no answer.",
        TUNINGS_NOTE,
    )
    return Table(
        number=3,
        title="Biographies drawn at random from the answers of each model and tuning.",
        stub=("Model",),
        groups=(("", _COLUMNS),),
        rows=tuple(rows),
        notes=(*about, *notes),
    )


def _lines(text: str) -> list[str]:
    """The lines of an answer that hold anything, one for each pair of braces at least."""
    return [line for line in re.sub(r"\}\s*\{", "}\n{", text).splitlines() if line.strip()]


def _held(model: ModelRecord, column: str) -> str:
    return model.measured_tuning(TUNINGS[column], TASK)


def _valid(found: pd.DataFrame | None, column: str) -> Iterator[str]:
    if found is not None and len(found):
        n = int(found["valid"].sum())
        yield f"{column} {n:,} of {len(found):,} ({n / len(found):.1%})"


def _notes(frame: pd.DataFrame, answers: Answers, models: Sequence[ModelRecord]) -> Iterator[str]:
    """How many answers of each run are valid, and which models are stand-ins."""
    for model in models:
        shares = []
        for column in _COLUMNS:
            shares += _valid(answers.get((model.model, TUNINGS[column])), column)
        if shares:
            yield f"Valid biographies of {model.label}: {', '.join(shares)}."
        held = [
            share
            for column in _COLUMNS
            for share in _valid(answers.get((model.model, _held(model, column))), column)
        ]
        if model.baseline != "base" and held:
            yield (
                f"{model.label} is shown held to the form in all three: tokens that break it (six "
                "braced values, then the end) are masked as they are drawn. Valid then: "
                f"{', '.join(held)}."
            )
    yield from stand_in_notes(frame)
