"""The paper's claims, as `resources/paper/claims.yaml` lists them: numbers and thresholds."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from diffuselm.config.base import Settings, checked
from diffuselm.config.paper import PaperModel
from diffuselm.config.strict_files import read_yaml
from diffuselm.errors import InputError
from diffuselm.paper.comparison import Key, ModelRecord

Take = Literal[
    "smallest",
    "second smallest",
    "median",
    "mean",
    "largest gaps",
    "above other models",
    "spread of models",
    "share of uniform",
    "gain at sizes",
    "temperature needed",
]
_LEAST_PARTS = {"second smallest": 2, "largest gaps": 3, "temperature needed": 2}
# These ask the prompts of figure 2: their cells name none.
_OF_FIGURE_2 = ("share of uniform", "gain at sizes")
_Value = Annotated[str, Field(pattern=r"^[a-z0-9_/-]+$")]
_Text = Annotated[str, Field(min_length=1)]


class Cell(Settings):
    """One number of the metrics: that of a prompt `task/slug`, or of a task's mean."""

    tuning: _Text
    """`only-TASK` and `without-TASK` are those of the cell's own task."""
    of: str = ""
    metric: str = ""
    field: str = "value"

    @property
    def task(self) -> str:
        return self.of.partition("/")[0]

    def key(self, model: str) -> Key:
        """The key that `comparison.mean_over_seeds` gives this number of `model`."""
        # The natural distribution's rows are their own model.
        owner = "natural" if self.tuning == "natural" else model
        return Key(owner, self.tuning, self.task, self.of if "/" in self.of else None, self.metric)

    def filled(self, key: str, one: str) -> Self:
        """This cell with `one` under `key`, and with the tuning of its own task."""
        cell = self.model_copy(update={key: one})
        return cell.model_copy(update={"tuning": cell.tuning.replace("TASK", cell.task)})

    def measured(self, model: ModelRecord) -> Self:
        """The number that stands for this one where `model` is compared."""
        return self.model_copy(update={"tuning": model.measured_tuning(self.tuning, self.task)})

    def __str__(self) -> str:
        """What to call the number where it is missing."""
        field = "" if self.field == "value" else f"{self.field} "
        return f"{field}{self.metric} of {self.of} under {self.tuning}"


class Part(Settings):
    """A number, or its ratio `over` another, or its difference `minus` another."""

    cell: Cell
    over: Cell | None = None
    minus: Cell | None = None

    @model_validator(mode="after")
    def _compares_in_one_way(self) -> Self:
        if self.over and self.minus:
            raise ValueError("found both over and minus; expected at most one of them")
        return self

    def cells(self) -> dict[str, Cell]:
        return {name: cell for name, cell in self if cell}

    def filled(self, key: str, one: str) -> Self:
        """This part with `one` under `key` of its cells."""
        cells = {name: cell.filled(key, one) for name, cell in self.cells().items()}
        return self.model_copy(update=cells)


class Claim(Settings):
    """One statement, where it stands, what measures it, and the threshold that it has to meet."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    statement: _Text
    where: _Text
    published: str
    """The numbers as printed."""
    parts: Annotated[tuple[Part, ...], Field(min_length=1)]
    each: dict[Literal["of", "field", "metric"], tuple[_Value, ...]] = Field({}, max_length=1)
    """A key that the cells leave open, and what stands there in turn."""
    take: Take = "smallest"
    """What of the parts meets the threshold: a measure of `claim_measures.MEASURES`."""
    op: Literal[">", ">=", "<", "<="]
    threshold: Annotated[float, Field(allow_inf_nan=False)]
    answers: Annotated[int, Field(ge=1)] | None = None
    """How many to each prompt it speaks of: a count, or what grows with it, says nothing of others.
    """
    only: tuple[PaperModel, ...] = ()
    """The paper's models that it speaks of, where not of all."""
    not_for_embedded_names: str = ""
    """Why it does not apply where the natural distribution of names is not that of births."""
    not_for_stand_ins: str = ""
    """Why a stand-in can neither meet nor miss it."""
    if_absent: str = ""
    """Why it does not apply where the metrics lack it."""
    seen: _Text
    """A sentence on what is seen where it fails: with the number as {ours}, or 100 times it as
    {percent}, and {least}, the one of `each` where the number is smallest."""
    link: Annotated[str, Field(pattern=r"^[a-z0-9_.-]+(/[a-z0-9_.-]+)*$")]
    """The table or figure that shows it, from the folder of the scorecard."""

    @model_validator(mode="after")
    def _has_parts_to_take_from(self) -> Self:
        if not all(self.each.values()):
            raise ValueError("each: found an empty list; expected what stands there in turn")
        found, least = len(self.all_parts()), _LEAST_PARTS.get(self.take, 1)
        if found < least:
            raise ValueError(f"parts: found {found}; expected {least} or more for {self.take!r}")
        if self.take == "spread of models" and not all(part.over for part in self.parts):
            raise ValueError("parts: found one without over; expected over for 'spread of models'")
        return self

    @model_validator(mode="after")
    def _has_whole_cells(self) -> Self:
        cells = [cell for part in self.parts for cell in part.cells().values()]
        if twice := [key for key in self.each for cell in cells if key in cell.model_fields_set]:
            raise ValueError(f"parts: found {twice[0]} in a cell; expected it in each alone")
        for cell in self.all_cells():
            if not cell.metric or bool(cell.of) == (self.take in _OF_FIGURE_2):
                raise ValueError(
                    f"parts: found metric {cell.metric!r} and of {cell.of!r} in a cell; expected "
                    "both (no of where figure 2's prompts are asked)"
                )
        return self

    @model_validator(mode="after")
    def _says_what_is_known(self) -> Self:
        least = ["{least}"] if self.each and self.take == "smallest" else []
        known = ["{ours}", "{percent}", *least]
        rest = re.sub("|".join(map(re.escape, known)), "", self.seen)
        if "{" in rest or "}" in rest:
            raise ValueError(f"seen: found {rest!r}; expected braces only in {', '.join(known)}")
        return self

    def parts_of_each(self) -> dict[str, list[Part]]:
        """The parts for each of `each`; where there is none, those that there are, under ""."""
        for key, values in self.each.items():
            return {one: [part.filled(key, one) for part in self.parts] for one in values}
        return {"": list(self.parts)}

    def all_parts(self) -> list[Part]:
        """The parts; where there is an `each`, all of them for each of it."""
        return [part for parts in self.parts_of_each().values() for part in parts]

    def all_cells(self) -> list[Cell]:
        return [cell for part in self.all_parts() for cell in part.cells().values()]


def load_claims(path: Path) -> tuple[Claim, ...]:
    """Read `claims.yaml`, a list of claims, in its order.

    Raises InputError, one line that names the file, the claim and the key, for anything else.
    """
    entries = read_yaml(Path(path))
    if not isinstance(entries, list) or not entries:
        raise InputError(f"{path}: found {type(entries).__name__}, expected a list of claims")
    claims: dict[str, Claim] = {}
    for i, entry in enumerate(entries, start=1):
        named = f" ({entry['id']!r})" if isinstance(entry, dict) and "id" in entry else ""
        claim = checked(Claim.model_validate, entry, f"{path}: claim {i}{named}")
        if claim.id in claims:
            raise InputError(f"{path}: claim {claim.id!r} appears twice, expected distinct ids")
        claims[claim.id] = claim
    return tuple(claims.values())
