"""Target tuples of records: drawn by rule, so that they follow the stated shares exactly."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from diffuselm.files.seeds import derive
from diffuselm.tasks.persons import draw_persons
from diffuselm.tasks.records import Records
from diffuselm.tasks.shares import apportion
from diffuselm.tasks.texts import TargetSet


def opening(values: Iterable[str]) -> str:
    """Write values as the first lines of an answer."""
    return "".join(f"{{{value}}}\n" for value in values)


def draw_tuples(records: Records, given: Mapping[str, str], seed: int) -> TargetSet:
    """Draw `records.count` tuples of the fields that are tuned on, as beginnings of answers.

    `given` are the values in the prompt. Tuples that are drawn several times weigh as much more.
    """
    columns = {name: [value] * records.count for name, value in given.items()}
    persons = [name for name in records.tuned if records.fields[name].draw_from]
    if persons:
        drawn = draw_persons(seed)[: records.count]
        columns |= {name: [getattr(person, name) for person in drawn] for name in persons}
    others = [name for name in records.tuned if name not in persons]
    for name in records.parents_first(others):
        rng = np.random.default_rng(derive(seed, "field", name))
        columns[name] = _column(records, name, columns, rng)
    rows = zip(*(columns[name] for name in records.tuned), strict=True)
    times = Counter(map(opening, rows))
    return TargetSet.of(list(times), list(times.values()))


def _column(
    records: Records, name: str, columns: Mapping[str, Sequence[str]], rng: np.random.Generator
) -> list[str]:
    """Draw one field, in groups of equal values of the field that it depends on."""
    parent = records.fields[name].by
    beside = np.array(columns[parent] if parent else [""] * records.count, dtype=object)
    column = np.empty(records.count, dtype=object)
    for value in dict.fromkeys(beside):
        own = np.flatnonzero(beside == value)
        source = records.distribution(name, {parent: value})
        counts = apportion(source.weights, len(own), rng.random())
        drawn = np.repeat(np.array(source.texts, dtype=object), counts)
        column[own] = rng.permutation(drawn)
    return column.tolist()
