"""Whether a claim holds for our runs.

A verdict goes by the number's 95% interval: a claim holds, or fails, where both ends say so.
"""

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from diffuselm.paper.claim_measures import (
    MEASURES,
    AbsentError,
    Estimate,
    InapplicableError,
    Measured,
)
from diffuselm.paper.claims import Claim
from diffuselm.paper.comparison import Key, ModelRecord, Models, mean_over_seeds
from diffuselm.paper.published import as_metrics, unswapped

HOLDS, FAILS = "holds", "fails"
UNDECIDED = "undecided at this n"
NOT_APPLICABLE = "not applicable to this model"
NOT_MEASURED = "not measured"
VERDICTS = (HOLDS, FAILS, UNDECIDED, NOT_APPLICABLE, NOT_MEASURED)
# How a number is marked where the paper's own cells for it carry a note.
MARKS = {"misprinted": "†", "swapped": "‡"}
# How a cell is marked where another tuning stands for one that the claim speaks of.
FORM_TAUGHT, HELD = "baseline: form taught", "held to the form"

# Metrics of the answers that were drawn.
_COUNTED = ("coverage", "coverage_valid", "targets_covered", "entropy")

_MEETS = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}


@dataclass(frozen=True)
class Verdict:
    """What is found of one claim for one model."""

    claim: Claim
    model: ModelRecord
    verdict: str
    ours: Estimate | None  # None where it is not measured
    reasons: tuple[str, ...]  # why, where the verdict needs it
    stands_for: str  # `FORM_TAUGHT` or `HELD` where another tuning than the claim's was measured
    paper: str  # the same measure of the paper's own tables, for the model or the one stood in for
    notes: tuple[str, ...]  # those of `MARKS` that this number of the paper's carries

    @property
    def reason(self) -> str:
        """All reasons in one line; a sentence ends only where nothing follows."""
        reasons = [reason for reason in (*self.reasons, self.stands_for) if reason]
        return "; ".join([*(reason.removesuffix(".") for reason in reasons[:-1]), *reasons[-1:]])

    @property
    def of_paper(self) -> str:
        """The paper's number, whose it is, and its marks, in parentheses; or ""."""
        if not (self.paper or self.notes):
            return ""
        number = f" {self.paper}" if self.paper else ""
        marks = "".join(MARKS[note] for note in self.notes)
        return f"(paper: {self.model.paper_model}{number}{marks})"


def evaluate(
    metrics: pd.DataFrame,
    claims: Sequence[Claim],
    models: Models,
    published: pd.DataFrame,
    embedded_names: bool = False,
) -> list[Verdict]:
    """Judge each claim for each model, claims and models in the order given.

    `metrics` are rows of `schemas.METRICS`, `published` those of `load_published`.
    `embedded_names` says whether the natural distribution of names is the embedded one, which ends
    where births go on. A number that is absent makes a verdict, never an error.
    """
    ours = Measured(_by_field(metrics), models, _answers(metrics))
    right = unswapped(published[published["note"] != "misprinted"])
    paper, notes = Measured(_by_field(as_metrics(right)), (), {}), _noted(published)
    verdicts = []
    for claim in claims:
        for model in models:
            estimate, verdict, reasons = _judge(claim, model, ours, embedded_names)
            stands_for = _stands_for(claim, model) if estimate else ""
            printed = _printed(claim, model, paper, notes)
            verdicts.append(Verdict(claim, model, verdict, estimate, reasons, stands_for, *printed))
    return verdicts


def short(value: float) -> str:
    """A number in three digits or whole, for a reader."""
    return f"{value:,.0f}" if 1000 <= abs(value) < math.inf else f"{value:.3g}"


def _judge(
    claim: Claim, model: ModelRecord, metrics: Measured, embedded_names: bool
) -> tuple[Estimate | None, str, tuple[str, ...]]:
    """The estimate, None where there is none, its verdict, and the reasons where it needs them."""
    if not _speaks_of(claim, model):
        return None, NOT_APPLICABLE, (f"the paper says it of {' and '.join(claim.only)}",)
    own_reason = claim.not_for_stand_ins if model.stand_in else ""
    own_reason = own_reason or (claim.not_for_embedded_names if embedded_names else "")
    try:
        ours = MEASURES[claim.take](claim.all_parts(), model, metrics)
    except InapplicableError as error:
        return None, NOT_APPLICABLE, (str(error),)
    except AbsentError as error:
        if reason := own_reason or claim.if_absent:
            return None, NOT_APPLICABLE, (reason,)
        return None, NOT_MEASURED, (str(error),)
    if own_reason:
        return ours, NOT_APPLICABLE, (own_reason,)
    if claim.answers and (others := _counted(claim, model, metrics) - {claim.answers}):
        found = " and ".join(f"{n:,}" for n in sorted(others))
        return None, NOT_MEASURED, (f"not at n = {claim.answers:,}; n = {found} here",)
    low, high = (_MEETS[claim.op](end, claim.threshold) for end in (ours.low, ours.high))
    if low and high:
        return ours, HOLDS, (ours.remark,)
    if not low and not high:
        return ours, FAILS, (_seen(claim, ours, model, metrics), ours.remark)
    straddles = f"the interval holds {short(claim.threshold)}; n = {ours.n:,}"
    return ours, UNDECIDED, (straddles, ours.remark)


def _counted(claim: Claim, model: ModelRecord, metrics: Measured) -> set[int]:
    """How many answers to a prompt, under one seed, the claim's numbers were counted among."""
    cells = [cell.measured(model) for cell in claim.all_cells()]
    keys = [(*cell.key(model.model)[:2], cell.of) for cell in cells]
    return {n for key in keys for n in metrics.answers.get(key, ())}


def _seen(claim: Claim, ours: Estimate, model: ModelRecord, metrics: Measured) -> str:
    """The claim's sentence on what is seen, with our number put in."""

    told = {
        "ours": _told_apart(ours.value, claim.threshold),
        "percent": _told_apart(100 * ours.value, 100 * claim.threshold),
    }
    if "{least}" in claim.seen:
        take, of_each = MEASURES[claim.take], claim.parts_of_each()
        least = min(of_each, key=lambda one: take(of_each[one], model, metrics).value)
        told["least"] = least.replace("_", " ")
    return claim.seen.format(**told)


def _told_apart(value: float, threshold: float) -> str:
    """As `short`, in more digits where a reader would take it for the threshold."""
    return short(value) if short(value) != short(threshold) else f"{value:.6g}"


def _stands_for(claim: Claim, model: ModelRecord) -> str:
    """What stands for a tuning that the claim speaks of, where another does."""
    pairs = ((cell, cell.measured(model)) for cell in claim.all_cells())
    standing = {measured.tuning for cell, measured in pairs if measured != cell}
    if not standing:
        return ""
    return FORM_TAUGHT if model.baseline in standing else HELD


def _speaks_of(claim: Claim, model: ModelRecord) -> bool:
    """A model of one's own stands for none of the paper's, and is asked everything."""
    return not claim.only or model.paper_model is None or model.paper_model in claim.only


def _printed(
    claim: Claim, model: ModelRecord, paper: Measured, notes: Mapping[tuple[str, Key], str]
) -> tuple[str, tuple[str, ...]]:
    """The same measure of the paper's tables, and its notes."""
    if model.paper_model is None or not _speaks_of(claim, model):
        return "", ()
    found = {notes.get((cell.field, cell.key(model.paper_model))) for cell in claim.all_cells()}
    own = tuple(note for note in MARKS if note in found)
    counterpart = ModelRecord(model=model.paper_model, stand_in=False)
    try:
        return short(MEASURES[claim.take](claim.all_parts(), counterpart, paper).value), own
    except (AbsentError, InapplicableError):
        return "", own


def _by_field(metrics: pd.DataFrame) -> dict[str, dict]:
    return {field: mean_over_seeds(metrics, field) for field in metrics["field"].unique()}


def _answers(metrics: pd.DataFrame) -> dict[tuple[str, str, str], set[int]]:
    """How many answers each prompt got under each seed, by model, tuning, and prompt or task.

    Of whole answers: the fields of biographies count those alone that are valid.
    """
    whole = metrics[
        metrics["prompt"].notna() & metrics["field"].eq("value") & metrics["metric"].isin(_COUNTED)
    ]
    found: dict[tuple[str, str, str], set[int]] = {}
    for row in whole.itertuples():
        for asked in (row.prompt, row.task):
            found.setdefault((row.model, row.tuning, asked), set()).add(row.n)
    return found


def _noted(published: pd.DataFrame) -> dict[tuple[str, Key], str]:
    """The note of each number that carries one, by its field and key."""
    rows = as_metrics(published)
    return {
        (field, key): note
        for note, of_note in rows[rows["note"] != ""].groupby("note")
        for field, numbers in _by_field(of_note).items()
        for key in numbers
    }
