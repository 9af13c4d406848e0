"""Records: the fields of a dataset in order, drawn, given to the model, or left to it.

A field with a distribution is tuned on; one that is `given`, too, the program draws and puts into
the prompt; one without is the model's own. An answer holds all but the given ones, each in braces.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property, partial
from itertools import islice, pairwise
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from diffuselm.config.base import WHOLE, Settings
from diffuselm.errors import InputError, quoted
from diffuselm.tasks.record_fields import LARGEST, RecordField
from diffuselm.tasks.record_kinds import KINDS, MalformedError, clean, key
from diffuselm.tasks.texts import TargetSet

# The Snakefile imports this module in every cluster job: nothing heavy here.

GENDERS = {"Female": 101, "Male": 102, "Non-binary": 7}
# What `draw_from: persons` draws together, and the kind of each (section 6.1).
PERSON = {"name": "name", "gender": "choice", "birth": "date", "birth_place": "place"}
PERSONS = sum(GENDERS.values())
CASES = 1_000  # combinations of given values, each a prompt
# Columns of every dataset, before and after those of its fields; `repeated_NAME` goes before flags.
BEFORE = {"prompt": "string", "seed": "int64", "draw": "int64"}
AFTER = {"valid": "bool", "problem": "string", "duplicate": "bool", "near_duplicate": "bool"}
LAST = {"flags": "string", "answer": "string"}

Share = tuple[dict[str, str], float]  # values of the given fields, and the share of records


class Records(Settings):
    """What a task file says of the records that its prompts ask for."""

    record: Annotated[str, Field(pattern=r"^[a-z]+( [a-z]+)*$", max_length=40)]
    """What one is called."""
    fields: Annotated[
        dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$")], RecordField],
        Field(min_length=1, max_length=50),
    ]
    """In the order of the answer."""
    count: Annotated[int, Field(ge=2, le=LARGEST), WHOLE] = PERSONS
    """Target tuples of each prompt."""

    @cached_property
    def asked(self) -> tuple[str, ...]:
        """The fields of an answer."""
        return tuple(name for name, field in self.fields.items() if not field.given)

    @cached_property
    def tuned(self) -> tuple[str, ...]:
        """The leading fields, which are tuned on."""
        return tuple(name for name in self.asked if self.fields[name].drawn)

    @cached_property
    def free(self) -> tuple[str, ...]:
        """The fields that are left to the model."""
        return tuple(name for name in self.asked if not self.fields[name].drawn)

    def kind(self, name: str) -> str:
        """As the file says, else by the field's distribution."""
        return self._kinds[name]

    @cached_property
    def _kinds(self) -> dict[str, str]:
        return {name: self._kind(name) for name in self.fields}

    def _kind(self, name: str) -> str:
        field = self.fields[name]
        if field.kind or field.draw_from:
            return field.kind or PERSON.get(name, "text")
        if any(source.dates for source in field.sources):
            return "date"
        if not field.drawn:
            return "prose"
        return "number" if all(map(_is_whole, field.known)) else "choice"

    def choices(self, name: str) -> tuple[str, ...]:
        """The only values that the field may have, or none where it is open."""
        if self.kind(name) == "choice":
            return self.fields[name].known or tuple(GENDERS)
        return self.fields[name].known if self.kind(name) == "number" else ()

    @cached_property
    def by_key(self) -> dict[str, dict[str, str]]:
        return {
            name: {self._key(name, each): each for each in self.choices(name)}
            for name in self.fields
        }

    def _key(self, name: str, text: str) -> str:
        """What texts that stand for the same value of the field have in common."""
        return key(clean(text)) if self.kind(name) == "choice" else clean(text)

    def read_field(self, name: str, text: str) -> dict[str, Any]:
        """The columns of a field, from what stands in its braces.

        Raises MalformedError, which names the field and its problem and nothing else.
        """
        text, choices = clean(text), self.by_key[name]
        try:
            if not any(map(str.isalnum, text)):
                raise MalformedError("is empty")
            own = self._key(name, text)
            if choices and own not in choices:
                raise MalformedError(f"is none of the {len(choices)}")
            found = KINDS[self.kind(name)].read(choices.get(own, text))
        except MalformedError as error:
            raise MalformedError(f"{name} {error}") from None
        return dict(zip(self.columns_of(name), found, strict=True))

    def columns_of(self, name: str) -> dict[str, str]:
        """Columns of a field, and the type of each."""
        columns = KINDS[self.kind(name)].columns
        return {column.format(name): type for column, (type, _) in columns.items()}

    @cached_property
    def columns(self) -> dict[str, str]:
        """Columns of the dataset, and the type of each."""
        own = {c: type for name in self.fields for c, type in self.columns_of(name).items()}
        repeated = {f"repeated_{name}": "bool" for name in self.named}
        return BEFORE | own | AFTER | repeated | LAST

    @property
    def named(self) -> list[str]:
        """The fields that hold a person's name, of which repetitions are marked."""
        return [name for name in self.asked if self.kind(name) == "name"]

    def parents_first(self, names: Iterable[str]) -> Iterator[str]:
        """Some fields, each after the one that it depends on."""
        waiting = list(names)
        while waiting:
            ready = [name for name in waiting if self.fields[name].by not in waiting]
            if not ready:
                raise InputError(f"fields.{waiting[0]}: by goes round in a circle; expected an end")
            yield from ready
            waiting = [name for name in waiting if name not in ready]

    def distribution(self, name: str, values: Mapping[str, str]) -> TargetSet:
        """Of a field, beside the values of the field that it depends on."""
        field = self.fields[name]
        source = field.each[values[field.by]] if field.each else field
        return source.distribution

    def given_cases(self) -> list[Share]:
        """Every combination of given values, with its share; one of none where none is given."""
        cases: list[Share] = [({}, 1.0)]
        for name in self.parents_first([n for n, field in self.fields.items() if field.given]):
            more = (
                (values | {name: text}, share * weight)
                for values, share in cases
                for text, weight in _pairs(self.distribution(name, values))
            )
            cases = list(islice(more, CASES + 1))
            if len(cases) > CASES:
                raise InputError(
                    f"fields.{name}: more than {CASES:,} combinations of given values; expected "
                    "fewer: each is a prompt"
                )
        return cases

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for name, field in self.fields.items():
            if problem := next(self._problems(name, field), None):
                raise InputError(f"fields.{name}: {problem}")
        if not self.tuned:
            raise InputError("fields: none to tune on; expected one with values that is not given")
        if not self.free:
            raise InputError("fields: none is left to the model; expected the last without values")
        columns = [c for name in self.fields for c in self.columns_of(name)]
        columns += [*BEFORE, *AFTER, *LAST, *(f"repeated_{name}" for name in self.named)]
        if twice := [column for column in columns if columns.count(column) > 1]:
            raise InputError(
                f"fields: {twice[0]} would be two columns; expected another name, and at most one "
                "field of kind place"
            )
        # In metrics, `value` is a whole answer, and the record's own name all of its text.
        if reserved := {"value"} & {self.record, *self.fields} or {self.record} & {*self.fields}:
            raise InputError(f"fields: {quoted(min(reserved))} is taken; expected another name")
        if self.count > PERSONS and any(field.draw_from for field in self.fields.values()):
            raise InputError(f"count: found {self.count}; expected at most {PERSONS} persons")
        self.given_cases()
        list(self.parents_first(self.fields))
        return self

    def _problems(self, name: str, field: RecordField) -> Iterator[str]:
        if field.draw_from and name not in PERSON:
            yield f"drawn from persons; expected a field {', '.join(PERSON)}"
        if field.drawn and not field.given:
            earlier = list(self.fields)[: list(self.fields).index(name)]
            if free := [other for other in earlier if not self.fields[other].drawn]:
                yield (
                    f"has a distribution, but stands after {free[0]}, which is left to the model; "
                    "expected the drawn fields first"
                )
        if field.by:
            yield from self._problems_of_parent(field)
        # As they are read in an answer: each by itself, and none as another.
        for text in field.listed:
            try:
                self.read_field(name, text)
            except MalformedError as error:
                yield f"{quoted(text)}: {error}; expected {KINDS[self.kind(name)].expected}"
        if self.choices(name):
            read = partial(self._key, name)
            for one, other in pairwise(sorted(self.choices(name), key=read)):
                if read(one) == read(other):
                    yield f"{quoted(one)} and {quoted(other)} read alike; expected distinct values"

    def _problems_of_parent(self, field: RecordField) -> Iterator[str]:
        parent = self.fields.get(field.by)
        if parent is None:
            yield f"by: no field {quoted(field.by)}; expected one of {', '.join(self.fields)}"
            return
        if field.given and not parent.given:
            yield f"given, by {field.by}, which is not; expected a given one"
        if not self.choices(field.by):
            yield f"by: {field.by} can have any value; expected a field of listed ones"
            return
        wanted, listed = self.choices(field.by), field.each or {}
        if missing := [value for value in wanted if value not in listed]:
            yield f"each: nothing for {quoted(missing[0])}; expected each value of {field.by}"
        if strange := [value for value in listed if value not in wanted]:
            yield f"each: {quoted(strange[0])} is no value of {field.by}; expected its values alone"


def _is_whole(text: str) -> bool:
    try:
        return str(int(text)) == text
    except ValueError:
        return False


def _pairs(found: TargetSet) -> Iterator[tuple[str, float]]:
    return zip(found.texts, found.weights, strict=True)
