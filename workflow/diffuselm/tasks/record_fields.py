"""Fields of records: the distribution that each is drawn from, if any, and its kind."""

from datetime import date
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from diffuselm.config.base import WHOLE, Settings
from diffuselm.errors import InputError, quoted
from diffuselm.tasks.record_kinds import YEARS, written_day
from diffuselm.tasks.texts import TargetSet, target_set

# The Snakefile imports this module in every cluster job: nothing heavy here.

LARGEST = 100_000  # values of a distribution


def _day(found: object) -> date:
    try:
        day = date.fromisoformat(found) if isinstance(found, str) else None
    except ValueError:
        day = None
    if day is None or not YEARS[0] <= day.year <= YEARS[1]:
        raise InputError(f"{quoted(found)}; expected a date of {YEARS[0]} to {YEARS[1]}, in quotes")
    return day


def _rising(ends: tuple[Any, Any]) -> tuple[Any, Any]:
    if not ends[0] < ends[1]:
        raise InputError(f"{ends[0]}, {ends[1]}; expected the first below the last")
    return ends


def _as_texts(found: object) -> object:
    return {str(name): each for name, each in found.items()} if isinstance(found, dict) else found


Whole = Annotated[int, WHOLE, Field(gt=-(10**17), lt=10**17)]
Day = Annotated[date, BeforeValidator(_day)]
Weighted = Annotated[
    TargetSet,
    BeforeValidator(target_set),
    PlainSerializer(lambda found: dict(zip(found.texts, found.weights, strict=True))),
]


class Source(Settings):
    """A distribution over values: a list or weights, whole numbers, or days, these even."""

    values: Weighted | None = None
    range: Annotated[tuple[Whole, Whole], AfterValidator(_rising)] | None = None
    dates: Annotated[tuple[Day, Day], AfterValidator(_rising)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _has_values(cls, found: object) -> object:
        for name, value in found.items() if isinstance(found, dict) else ():
            if value is None:
                raise InputError(f"{name}: nothing; expected a value, or no such key")
        return found

    @model_serializer(mode="wrap")
    def _as_written(self, usual: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in usual(self).items() if value not in (None, False)}

    @cached_property
    def distribution(self) -> TargetSet | None:
        """Of texts; None where the field says nothing of the kind."""
        if self.range:
            low, high = self.range
            return TargetSet.of(list(map(str, range(low, high + 1))))
        if self.dates:
            first, last = (day.toordinal() for day in self.dates)
            days = map(date.fromordinal, range(first, last + 1))
            return TargetSet.of(list(map(written_day, days)))
        return self.values

    @model_validator(mode="after")
    def _not_too_large(self) -> Self:
        for name, ends in (("range", self.range), ("dates", self.dates)):
            size = ends and (ends[1] - ends[0])
            size = getattr(size, "days", size)
            if size and size >= LARGEST:
                raise InputError(f"{name}: {size + 1:,} values; expected at most {LARGEST:,}")
        return self


class RecordField(Source):
    """One field: its distribution, if any, and the kind by which an answer is read."""

    kind: Literal["text", "prose", "choice", "number", "date", "name", "place"] | None = None
    given: bool = False
    by: str | None = None
    each: Annotated[dict[str, Source], BeforeValidator(_as_texts)] | None = None
    draw_from: Literal["persons"] | None = None

    @model_validator(mode="after")
    def _one_distribution(self) -> Self:
        named = ("values", "range", "dates", "each", "draw_from")
        found = [name for name in named if getattr(self, name) is not None]
        if len(found) > 1:
            raise InputError(f"found {' and '.join(found)}; expected one of them")
        if (self.by is None) != (self.each is None):
            raise InputError("expected by and each together: a field, and a source for each value")
        for value, source in (self.each or {}).items():
            if source.distribution is None:
                raise InputError(f"each.{value}: nothing; expected values, file, range or dates")
        if self.given and not found:
            raise InputError(
                "given, but without values; expected values, file, range, dates or each"
            )
        if self.given and self.draw_from:
            raise InputError("given, and drawn from persons; expected a distribution of its own")
        if self.kind == "choice" and not found:
            raise InputError("kind choice, but left to the model; expected values, or another kind")
        return self

    @property
    def drawn(self) -> bool:
        """Whether the field has a distribution."""
        return bool(self.draw_from or self.each or self.distribution)

    @cached_property
    def known(self) -> tuple[str, ...]:
        """All values that its own distributions give, in order."""
        found = (source.distribution for source in self.sources if source.distribution)
        return tuple(dict.fromkeys(text for its in found for text in its.texts))

    @property
    def listed(self) -> list[str]:
        """Those that somebody wrote."""
        return [text for source in self.sources if source.values for text in source.values.texts]

    @property
    def sources(self) -> list[Source]:
        """Its own distribution, and those by another field."""
        return [self, *(self.each or {}).values()]
