"""The scorecard: the paper's claims against our runs, to read and to compute with."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa

from diffuselm.files.json_files import read_json
from diffuselm.files.tables import write_table
from diffuselm.files.whole import written_whole
from diffuselm.paper.claims import load_claims
from diffuselm.paper.comparison import ModelRecord, load_models, read_metrics
from diffuselm.paper.published import load_published
from diffuselm.paper.table_files import escape_markdown, markdown_rows
from diffuselm.paper.templating import filled
from diffuselm.paper.verdicts import (
    FAILS,
    FORM_TAUGHT,
    HELD,
    HOLDS,
    MARKS,
    VERDICTS,
    Verdict,
    evaluate,
    short,
)

SCORECARD = pa.schema(
    [
        ("claim", pa.string()),
        ("model", pa.string()),
        ("statement", pa.string()),
        ("where", pa.string()),
        ("published", pa.string()),
        ("ours", pa.float64()),
        ("ci", pa.list_(pa.float64())),
        ("verdict", pa.string()),
        ("reason", pa.string()),
        ("link", pa.string()),
    ]
)


def scorecard(
    *,
    metrics: Path,
    records: list[Path],
    published: Path,
    claims: Path,
    names: Path,
    out: Path,
) -> None:
    """Write `out`/scorecard.parquet (columns `SCORECARD`) and `out`/scorecard.md.

    `metrics` is a file of `schemas.METRICS`; `records` are `results/models/{model}.json`, in the
    order of the columns; `published` and `claims` are the transcripts in `resources/paper`; `names`
    is the run.json of the natural distribution. Raises InputError for a bad input; a number that is
    absent from the metrics is no error.
    """
    models = load_models(records)
    verdicts = evaluate(
        read_metrics(metrics),
        load_claims(claims),
        models,
        load_published(published),
        embedded_names=read_json(names).get("source") == "embedded",
    )
    write_table(Path(out) / "scorecard.parquet", as_frame(verdicts), SCORECARD)
    with written_whole(Path(out) / "scorecard.md") as part:
        part.write_text(markdown(verdicts, models), encoding="utf-8", newline="\n")


def as_frame(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """A row for each verdict, columns `SCORECARD`.

    `ours` and `ci` (its 95% interval) are null where not measured. `published` is what the paper
    printed and, where its tables say, the same measure of them, marked as in `verdicts.MARKS`.
    """
    rows = [
        {
            "claim": found.claim.id,
            "model": found.model.model,
            "statement": found.claim.statement,
            "where": found.claim.where,
            "published": f"{found.claim.published} {found.of_paper}".strip(),
            "ours": found.ours.value if found.ours else math.nan,
            "ci": [found.ours.low, found.ours.high] if found.ours else None,
            "verdict": found.verdict,
            "reason": found.reason,
            "link": found.claim.link,
        }
        for found in verdicts
    ]
    return pd.DataFrame(rows, columns=SCORECARD.names)


def markdown(verdicts: Sequence[Verdict], models: Sequence[ModelRecord]) -> str:
    """The scorecard in GitHub's Markdown; `verdicts` are those of `evaluate` for these models."""
    labels = [escape_markdown(model.label) for model in models]
    heads = ["claim", "where", "published", *labels, "shown in"]
    return filled(
        "scorecard.md.jinja",
        stand_ins=any(model.stand_in for model in models),
        counts=markdown_rows(["claims", *labels], list(_counts(verdicts, models))),
        verdicts=markdown_rows(heads, list(_rows(verdicts, models))),
        marks=MARKS,
        notes={note for found in verdicts for note in found.notes},
        form_taught=FORM_TAUGHT,
        held=HELD,
        stands_for={found.stands_for for found in verdicts},
    )


def _counts(verdicts: Sequence[Verdict], models: Sequence[ModelRecord]) -> Iterator[list[str]]:
    """How many claims each verdict has, for each model."""
    for verdict in VERDICTS:
        own = [found.model for found in verdicts if found.verdict == verdict]
        yield [verdict, *(str(own.count(model)) for model in models)]


def _rows(verdicts: Sequence[Verdict], models: Sequence[ModelRecord]) -> Iterator[list[str]]:
    """A row for each claim, with a cell for each model."""
    for i in range(0, len(verdicts), max(len(models), 1)):
        claim, of_claim = verdicts[i].claim, verdicts[i : i + len(models)]
        texts = map(escape_markdown, (claim.statement, claim.where, claim.published))
        link = f"[{escape_markdown(claim.link)}]({claim.link})"
        yield [*texts, *map(_cell, of_claim), link]


def _cell(found: Verdict) -> str:
    """`ours [low, high] verdict`, why, and the paper's own number for this model."""
    ours = ""
    if found.ours:
        ours = f"{short(found.ours.value)} [{short(found.ours.low)}, {short(found.ours.high)}]"
    mark = "**" if found.verdict in (HOLDS, FAILS) else "*"
    reason = f"({found.reason})" if found.reason else ""
    ours, reason, paper = map(escape_markdown, (ours, reason, found.of_paper))
    return " ".join(filter(None, (ours, f"{mark}{found.verdict}{mark}", reason, paper)))
