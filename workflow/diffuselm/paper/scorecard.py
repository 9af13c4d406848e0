"""The scorecard: the paper's claims against our runs, to read and to compute with."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa

from diffuselm.files.json_files import read_json
from diffuselm.files.tables import write_table
from diffuselm.files.whole import written_whole
from diffuselm.paper.claims import Claim, load_claims
from diffuselm.paper.comparison import Models, load_models, read_metrics
from diffuselm.paper.published import load_published
from diffuselm.paper.table_files import escape_markdown, markdown_rows
from diffuselm.paper.templating import filled
from diffuselm.paper.verdicts import (
    FAILS,
    FORM_TAUGHT,
    HELD,
    HOLDS,
    MARKS,
    NOT_MEASURED,
    VERDICTS,
    Verdict,
    evaluate,
    short,
)

SCORECARD = pa.schema(
    {
        **dict.fromkeys(("claim", "model", "statement", "where", "published"), pa.string()),
        "ours": pa.float64(),
        "ci": pa.list_(pa.float64()),
        **dict.fromkeys(("verdict", "reason", "link"), pa.string()),
    }
)


def scorecard(
    *, metrics: Path, records: list[Path], published: Path, claims: Path, names: Path, out: Path
) -> None:
    """Write `out`/scorecard.parquet (columns `SCORECARD`) and `out`/scorecard.md.

    `metrics` is a file of `schemas.METRICS`; `records` are the models' JSON files in the order of
    the columns; `published` and `claims` are the transcripts in `resources/paper`; `names` is the
    run.json of the stage `names`. Raises InputError for a bad input.
    """
    models, measured = load_models(records), read_metrics(metrics)
    listed, paper = load_claims(claims), load_published(published)
    embedded = read_json(names).get("source") == "embedded"
    verdicts = evaluate(measured, listed, models, paper, embedded)
    write_table(Path(out) / "scorecard.parquet", as_frame(verdicts), SCORECARD)
    with written_whole(Path(out) / "scorecard.md") as part:
        part.write_text(markdown(verdicts, models), encoding="utf-8", newline="\n")


def as_frame(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """A row for each verdict, columns `SCORECARD`.

    `ours` and `ci` (its 95% interval) are null where not measured. `published` is what the paper
    printed and, where its tables say, the same measure of them, marked as in `verdicts.MARKS`.
    """
    rows = []
    for found in verdicts:
        claim, ours = found.claim, found.ours
        published = f"{claim.published} {found.of_paper}".strip()
        number = (ours.value, [ours.low, ours.high]) if ours else (math.nan, None)
        about = (claim.id, found.model.model, claim.statement, claim.where, published)
        rows.append((*about, *number, found.verdict, found.reason, claim.link))
    return pd.DataFrame(rows, columns=SCORECARD.names)


def markdown(verdicts: Sequence[Verdict], models: Models) -> str:
    """The scorecard in GitHub's Markdown; `verdicts` are those of `evaluate` for these models.

    Claims that no model was measured for are told in one line, with the tasks that they need.
    """
    labels = [escape_markdown(model.label) for model in models]
    heads = ["claim", "where", "published", *labels, "shown in"]
    judged = [(found.model, found.verdict) for found in verdicts]
    counts = [
        [verdict, *(str(judged.count((model, verdict))) for model in models)]
        for verdict in VERDICTS
    ]
    starts = range(0, len(verdicts), len(models) or 1)
    of_claims = [verdicts[i : i + len(models)] for i in starts]
    shown = [each for each in of_claims if any(found.verdict != NOT_MEASURED for found in each)]
    lacking = [each[0].claim for each in of_claims if each not in shown]
    return filled(
        "scorecard.md.jinja",
        stand_ins=any(model.stand_in for model in models),
        counts=markdown_rows(["claims", *labels], counts),
        verdicts=markdown_rows(heads, list(_rows(shown))),
        lacking=len(lacking),
        lacked=_lacked(lacking, verdicts),
        marks=MARKS,
        notes={note for found in verdicts for note in found.notes},
        form_taught=FORM_TAUGHT,
        held=HELD,
        stands_for={found.stands_for for found in verdicts},
    )


def _lacked(lacking: Sequence[Claim], verdicts: Sequence[Verdict]) -> list[str]:
    """The tasks that `lacking` claims are about, and none that was measured."""
    measured = {cell.task for found in verdicts if found.ours for cell in found.claim.all_cells()}
    needed = {cell.task for claim in lacking for cell in claim.all_cells()}
    return sorted(needed - measured - {""})


def _rows(of_claims: Sequence[Sequence[Verdict]]) -> Iterator[list[str]]:
    """A row for each claim, with a cell for each model."""
    for of_claim in of_claims:
        claim = of_claim[0].claim
        texts = map(escape_markdown, (claim.statement, claim.where, claim.published))
        link = f"[{escape_markdown(claim.link)}]({claim.link})"
        yield [*texts, *map(_cell, of_claim), link]


def _cell(found: Verdict) -> str:
    """`ours [low, high] verdict`, why, and the paper's own number for this model."""
    ours = "{} [{}, {}]".format(*map(short, found.ours[:3])) if found.ours else ""
    mark = "**" if found.verdict in (HOLDS, FAILS) else "*"
    reason = f"({found.reason})" if found.reason else ""
    ours, reason, paper = map(escape_markdown, (ours, reason, found.of_paper))
    return " ".join(filter(None, (ours, f"{mark}{found.verdict}{mark}", reason, paper)))
