"""The paper's claims: a number to compare with a threshold, and whether that holds for our runs.

A verdict goes by the number's 95% interval: a claim holds, or fails, where both ends say so.
"""

import math
import operator
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

import pandas as pd
import pyarrow as pa
from pydantic import Field, ValidationError, field_validator, model_validator

from diffuselm.config.settings import Settings
from diffuselm.config.strict_yaml import read_yaml
from diffuselm.errors import InputError
from diffuselm.files.contracts import METRICS
from diffuselm.paper.claim_measures import (
    LEAST_PARTS,
    MEASURES,
    AbsentError,
    Cell,
    Estimate,
    InapplicableError,
    Part,
    Runs,
)
from diffuselm.paper.comparison import Key, ModelRecord, Number, mean_over_seeds
from diffuselm.paper.published import unswapped

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
HOLDS, FAILS = "holds", "fails"
UNDECIDED = "undecided at this n"
NOT_APPLICABLE = "not applicable to this model"
NOT_MEASURED = "not measured"
VERDICTS = (HOLDS, FAILS, UNDECIDED, NOT_APPLICABLE, NOT_MEASURED)
# How a number is marked where the paper's own cells for it carry a note.
MARKS = {"misprinted": "†", "swapped": "‡"}
# How a cell is marked where another tuning stands for one that the claim speaks of.
FORM_TAUGHT, HELD = "baseline: form taught", "held to the form"

# A number's field and key.
Noted = tuple[str, Key]

_MEETS = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
_SKETCH = "biographies/sketch"
_SHARES = {"F": "female_share", "M": "male_share", "NB": "non_binary_share"}


class Claim(Settings):
    """One statement, where it stands, what measures it, and the threshold that it has to meet."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    statement: Annotated[str, Field(min_length=1)]
    where: Annotated[str, Field(min_length=1)]
    published: str
    """The numbers as printed."""
    parts: Annotated[tuple[Part, ...], Field(min_length=1)]
    each: tuple[Annotated[str, Field(pattern=r"^[a-z0-9_/-]+$")], ...] = ()
    """What EACH in the parts stands for, in turn."""
    take: str = "smallest"
    """What of the parts meets the threshold: a name in `claim_measures.MEASURES`."""
    op: Literal[">", ">=", "<", "<="]
    threshold: Annotated[float, Field(allow_inf_nan=False)]
    only: tuple[Literal["gemma", "llama-2", "mistral"], ...] = ()
    """The paper's models that it speaks of, where not of all."""
    not_for_embedded_names: str = ""
    """Why it does not apply where the natural distribution of names is not that of births."""
    not_for_stand_ins: str = ""
    """Why a stand-in can neither meet nor miss it."""
    if_absent: str = ""
    """Why it does not apply where the metrics lack it."""
    seen: Annotated[str, Field(min_length=1)]
    """A sentence on what is seen where it fails: with the number as {ours}, or 100 times it as
    {percent}, and {least}, the one of `each` where the number is smallest."""
    link: Annotated[str, Field(pattern=r"^[a-z0-9_.-]+(/[a-z0-9_.-]+)*$")]
    """The table or figure that shows it, from the folder of the scorecard."""

    @field_validator("take")
    @classmethod
    def _is_a_measure(cls, take: str) -> str:
        if take not in MEASURES:
            raise ValueError(f"found {take!r}; expected one of {sorted(MEASURES)}")
        return take

    @model_validator(mode="after")
    def _has_parts_to_take_from(self) -> Self:
        if (least := LEAST_PARTS.get(self.take, 1)) > (found := len(self.all_parts())):
            raise ValueError(f"parts: found {found}; expected {least} or more for {self.take!r}")
        if self.take == "spread of models" and not all(part.over for part in self.parts):
            raise ValueError("parts: found one without over; expected over for 'spread of models'")
        return self

    @model_validator(mode="after")
    def _tells_what_is_known(self) -> Self:
        known = ["{ours}", "{percent}"]
        if self.each and self.take == "smallest":
            known.append("{least}")
        rest = re.sub("|".join(map(re.escape, known)), "", self.seen)
        if "{" in rest or "}" in rest:
            raise ValueError(f"seen: found {rest!r}; expected braces only in {', '.join(known)}")
        return self

    def all_parts(self) -> list[Part]:
        """The parts; where there is an `each`, all of them for each of it."""
        if not self.each:
            return list(self.parts)
        return [part.of_each(one) for one in self.each for part in self.parts]

    def all_cells(self) -> list[Cell]:
        """The numbers that the parts are made of."""
        cells = [(part.cell, part.over, part.minus) for part in self.all_parts()]
        return [cell for of_part in cells for cell in of_part if cell]


def load_claims(path: Path) -> tuple[Claim, ...]:
    """Read `claims.yaml`, a list of claims, in its order.

    Raises InputError, one line that names the file, the claim and the key, for anything else.
    """
    entries = read_yaml(Path(path))
    if not isinstance(entries, list) or not entries:
        raise InputError(f"{path}: found {type(entries).__name__}, expected a list of claims")
    claims = tuple(_claim(entry, f"{path}: claim {i}") for i, entry in enumerate(entries, start=1))
    ids = [claim.id for claim in claims]
    if twice := [one for one in ids if ids.count(one) > 1]:
        raise InputError(f"{path}: claim {twice[0]!r} appears twice, expected distinct ids")
    return claims


def _claim(entry: object, where: str) -> Claim:
    if isinstance(entry, dict) and "id" in entry:
        where = f"{where} ({entry['id']!r})"
    try:
        return Claim.model_validate(entry)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        found = "" if first["type"] in ("missing", "value_error") else f"{first['input']!r}: "
        raise InputError(f"{where}: {key + ': ' if key else ''}{found}{message}") from error


def evaluate(
    metrics: pd.DataFrame,
    claims: Sequence[Claim],
    models: Sequence[ModelRecord],
    published: pd.DataFrame,
    embedded_names: bool = False,
) -> pd.DataFrame:
    """Judge each claim for each model; columns `SCORECARD`, claims and models in the order given.

    `metrics` are rows of `contracts.METRICS`, `published` those of `load_published`. `ours` and
    `ci` (its 95% interval) are null where not measured. `published` is what the paper printed and,
    where its tables tell, the same measure of them for the model (or the one stood in for), marked
    as in `MARKS`. `embedded_names` says whether the natural distribution of names is the embedded
    one, which ends where births go on. A number that is absent makes a verdict, never an error.
    """
    runs = Runs(_by_field(metrics), models)
    right = unswapped(published[published["note"] != "misprinted"])
    paper, notes = Runs(_by_field(_as_metrics(right)), ()), _noted(published)
    rows = []
    for claim in claims:
        for model in models:
            ours, verdict, reason = _judge(claim, model, runs, embedded_names)
            if ours:
                reason = _joined(reason, _mark(claim, model))
            ids = (claim.id, model.model, claim.statement, claim.where)
            printed = _printed(claim, model, paper, notes)
            value, ci = (ours.value, [ours.low, ours.high]) if ours else (math.nan, None)
            rows.append((*ids, printed, value, ci, verdict, reason, claim.link))
    return pd.DataFrame(rows, columns=SCORECARD.names)


def short(value: float) -> str:
    """A number in three digits or whole, for a reader."""
    return f"{value:,.0f}" if 1000 <= abs(value) < math.inf else f"{value:.3g}"


def _judge(
    claim: Claim, model: ModelRecord, runs: Runs, embedded_names: bool
) -> tuple[Estimate | None, str, str]:
    """The estimate, None where there is none, its verdict, and the reason where it needs one."""
    if not _speaks_of(claim, model):
        return None, NOT_APPLICABLE, f"the paper says it of {' and '.join(claim.only)}"
    own_reason = claim.not_for_stand_ins if model.stand_in else ""
    own_reason = own_reason or (claim.not_for_embedded_names if embedded_names else "")
    try:
        ours = MEASURES[claim.take](claim.all_parts(), model, runs)
    except InapplicableError as error:
        return None, NOT_APPLICABLE, str(error)
    except AbsentError as error:
        if reason := own_reason or claim.if_absent:
            return None, NOT_APPLICABLE, reason
        return None, NOT_MEASURED, str(error)
    if own_reason:
        return ours, NOT_APPLICABLE, own_reason
    low, high = (_MEETS[claim.op](end, claim.threshold) for end in (ours.low, ours.high))
    if low and high:
        return ours, HOLDS, ours.remark
    if not low and not high:
        return ours, FAILS, _joined(_seen(claim, ours, model, runs), ours.remark)
    straddles = f"the interval holds {short(claim.threshold)}; n = {ours.n:,}"
    return ours, UNDECIDED, _joined(straddles, ours.remark)


def _seen(claim: Claim, ours: Estimate, model: ModelRecord, runs: Runs) -> str:
    """The claim's sentence on what is seen, with our number put in."""
    told = {
        "ours": _told_apart(ours.value, claim.threshold),
        "percent": _told_apart(100 * ours.value, 100 * claim.threshold),
    }
    if "{least}" in claim.seen:
        told["least"] = _least(claim, model, runs).replace("_", " ")
    return claim.seen.format(**told)


def _least(claim: Claim, model: ModelRecord, runs: Runs) -> str:
    """The one of `each` where the number is smallest."""

    def value(one: str) -> float:
        return MEASURES[claim.take]([part.of_each(one) for part in claim.parts], model, runs).value

    return min(claim.each, key=value)


def _told_apart(value: float, threshold: float) -> str:
    """As `short`, in more digits where a reader would take it for the threshold."""
    return short(value) if short(value) != short(threshold) else f"{value:.6g}"


def _mark(claim: Claim, model: ModelRecord) -> str:
    """What stands for a tuning that the claim speaks of, where another does."""
    pairs = ((cell, cell.measured(model)) for cell in claim.all_cells())
    standing = {measured.tuning for cell, measured in pairs if measured != cell}
    if not standing:
        return ""
    return FORM_TAUGHT if model.baseline in standing else HELD


def _joined(*reasons: str) -> str:
    """The reasons that there are; a sentence ends only where nothing follows."""
    return "; ".join(filter(None, reasons)).replace(".; ", "; ")


def _speaks_of(claim: Claim, model: ModelRecord) -> bool:
    """A model of one's own stands for none of the paper's, and is asked everything."""
    return not claim.only or model.paper_model is None or model.paper_model in claim.only


def _printed(claim: Claim, model: ModelRecord, paper: Runs, notes: dict[Noted, str]) -> str:
    """The claim's numbers, then the same measure of the paper's tables and its marks."""
    if model.paper_model is None or not _speaks_of(claim, model):
        return claim.published
    found = {notes.get((cell.field, cell.key(model.paper_model))) for cell in claim.all_cells()}
    marks = "".join(mark for note, mark in MARKS.items() if note in found)
    counterpart = ModelRecord(model=model.paper_model, stand_in=False, paper_model=None)
    try:
        value = f" {short(MEASURES[claim.take](claim.all_parts(), counterpart, paper).value)}"
    except (AbsentError, InapplicableError):
        value = ""
    if not (value or marks):
        return claim.published
    return f"{claim.published} (paper: {counterpart.model}{value}{marks})"


def _by_field(metrics: pd.DataFrame) -> dict[str, dict[Key, Number]]:
    return {
        str(field): mean_over_seeds(rows.assign(field="value"))
        for field, rows in metrics.groupby("field", sort=False)
    }


def _noted(published: pd.DataFrame) -> dict[Noted, str]:
    """The note of each number that carries one, by its field and key."""
    rows = _as_metrics(published)
    rows = rows[rows["note"] != ""]
    return {
        (field, key): note
        for note, of_note in rows.groupby("note")
        for field, numbers in _by_field(of_note).items()
        for key in numbers
    }


def _as_metrics(published: pd.DataFrame) -> pd.DataFrame:
    """The paper's numbers as rows of `contracts.METRICS`, and their notes.

    Table 1's counts of 1,000 become shares: of the commonest value, of the value that is commonest
    under base, and of each gender.
    """
    rows = published.assign(prompt=published["prompt"].astype(object))
    rows.loc[rows["task"] == "biographies", "prompt"] = _SKETCH
    counts = rows[rows["metric"] == "count"].assign(value=lambda counts: counts["value"] / 1000)
    top = counts[counts["rank"] == 1]
    base = top.loc[top["tuning"] == "base", ["field", "text"]]
    gender = counts[counts["field"] == "gender"]
    tables = [
        rows[rows["metric"] != "count"],
        top.assign(metric="top_share"),
        counts.merge(base, on=["field", "text"]).assign(metric="base_top_share"),
        gender.assign(metric=gender["text"].map(_SHARES)),
    ]
    ends = {"ci_low": math.nan, "ci_high": math.nan, "n": 1000, "seed": 0}
    return pd.concat(tables, ignore_index=True).assign(**ends)[[*METRICS.names, "note"]]
