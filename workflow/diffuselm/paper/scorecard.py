"""The scorecard: the paper's claims against our runs, to read and to compute with."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from diffuselm.files.contracts import METRICS, read_table, write_table, written_whole
from diffuselm.files.provenance import read_json
from diffuselm.paper.claims import (
    FAILS,
    FORM_TAUGHT,
    HELD,
    HOLDS,
    MARKS,
    SCORECARD,
    VERDICTS,
    Claim,
    evaluate,
    load_claims,
    short,
)
from diffuselm.paper.comparison import ModelRecord, load_models
from diffuselm.paper.published import load_published
from diffuselm.paper.table_files import escape_markdown

_STAND_INS = (
    "Stand-ins are tiny models made for trying the workflow out. They can show that the method "
    "does what the paper says of it, from tuning to measuring. They cannot show that a claim about "
    "the paper's own models is right or wrong: there, “fails” says only that the stand-in differs."
)
_MEANING = (
    "A cell holds our number, its 95% interval and the verdict; then what the same measure of the "
    "paper's own tables gives for that model (or the one stood in for).",
    "holds, fails: the whole interval says so. undecided at this n: it reaches to both sides of "
    "the threshold, and more answers would tell. not measured: the metrics lack the number named. "
    "Where a claim fails, a sentence says what is seen instead.",
    "Intervals of ratios and differences combine the ends farthest apart: they err to the wide "
    "side. An exact number is its own interval; that of a temperature lies between two of those "
    "swept.",
)
_MARKED = {
    "misprinted": "the paper's cells are misprinted (in table 6 the Mistral columns repeat the "
    "Llama columns), and compared with nothing.",
    "swapped": "the paper's coverage cells of ID and OOD are exchanged in tables 7 and 8; the "
    "number shown takes them right.",
}
_STANDS_FOR = {
    FORM_TAUGHT: "the model does not keep the asked form by itself. “Before tuning” means here "
    "after tuning on single-answer questions alone, which teach the form and nothing about spread.",
    HELD: "the model does not end its biographies by itself. Before tuning as after, tokens that "
    "would break the form are masked as they are drawn.",
}


def render_scorecard(
    *,
    metrics: Path,
    records: Sequence[Path],
    published: Path,
    claims: Path,
    names: Path,
    out: Path,
) -> None:
    """Write `out`/scorecard.parquet (columns `claims.SCORECARD`) and `out`/scorecard.md.

    `metrics` is a file of `contracts.METRICS`; `records` are `results/models/{model}.json`, in the
    order of the columns; `published` and `claims` are the transcripts in `resources/paper`; `names`
    is the run.json of the natural distribution. Raises InputError for a bad input; a number that is
    absent from the metrics is no error.
    """
    made = load_claims(claims)
    models = load_models(records)
    measured = read_table(metrics, METRICS).to_pandas()
    embedded = read_json(names).get("source") == "embedded"
    frame = evaluate(measured, made, models, load_published(published), embedded)
    write_table(Path(out) / "scorecard.parquet", frame, SCORECARD)
    with written_whole(Path(out) / "scorecard.md") as part:
        part.write_text(markdown(frame, made, models), encoding="utf-8", newline="\n")


def markdown(frame: pd.DataFrame, claims: Sequence[Claim], models: Sequence[ModelRecord]) -> str:
    """The scorecard in GitHub's Markdown; `frame` is what `claims.evaluate` gave."""
    lead = [f"{escape_markdown(_STAND_INS)}\n"] if any(m.stand_in for m in models) else []
    marks = {mark: _MARKED[note] for note, mark in MARKS.items()}
    below = [f"{mark}: {text}" for mark, text in marks.items() if _has(frame["published"], mark)]
    stands = {mark: text for mark, text in _STANDS_FOR.items() if _has(frame["reason"], mark)}
    below += [f"“{mark}”: {text}" for mark, text in stands.items()]
    return "\n".join(
        [
            "# Scorecard\n",
            *lead,
            *_table(_counts(frame, models)),
            "",
            *_table(_verdicts(frame, claims, models)),
            "",
            *(f"- {escape_markdown(note)}" for note in (*_MEANING, *below)),
            "",
        ]
    )


def _counts(frame: pd.DataFrame, models: Sequence[ModelRecord]) -> Iterator[list[str]]:
    """How many claims each verdict has, for each model."""
    yield ["claims", *(escape_markdown(model.label) for model in models)]
    for verdict in VERDICTS:
        own = frame[frame["verdict"] == verdict]
        yield [verdict, *(str(int((own["model"] == model.model).sum())) for model in models)]


def _verdicts(
    frame: pd.DataFrame, claims: Sequence[Claim], models: Sequence[ModelRecord]
) -> Iterator[list[str]]:
    """A row for each claim, with a cell for each model."""
    labels = [escape_markdown(model.label) for model in models]
    yield ["claim", "where", "published", *labels, "shown in"]
    cells = {(row.claim, row.model): row for row in frame.itertuples(index=False)}
    for claim in claims:
        texts = map(escape_markdown, (claim.statement, claim.where, claim.published))
        own = [_cell(cells[claim.id, model.model], claim) for model in models]
        yield [*texts, *own, f"[{escape_markdown(claim.link)}]({claim.link})"]


def _cell(row: tuple, claim: Claim) -> str:
    """`ours [low, high] verdict`, why, and the paper's own number for this model."""
    parts = []
    if row.ci is not None:
        parts.append(f"{short(row.ours)} [{short(row.ci[0])}, {short(row.ci[1])}]")
    text = escape_markdown(" ".join(parts))
    verdict = f"**{row.verdict}**" if row.verdict in (HOLDS, FAILS) else f"*{row.verdict}*"
    reason = escape_markdown(f"({row.reason})") if row.reason else ""
    printed = escape_markdown(row.published.removeprefix(claim.published))
    return " ".join(filter(None, (text, verdict, reason, printed)))


def _table(rows: Iterator[list[str]]) -> list[str]:
    heads, *body = rows
    return [f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *body)]


def _has(texts: pd.Series, mark: str) -> bool:
    return bool(texts.str.contains(mark, regex=False).any())
