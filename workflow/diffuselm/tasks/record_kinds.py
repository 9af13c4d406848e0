"""Kinds of a record's fields: how each reads what stands between braces, into which columns."""

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

# The Snakefile imports this module in every cluster job: nothing heavy here.

_QUOTES = frozenset("\"'“”„‘’«»")
_DAY_FORMATS = ("%B %d, %Y", "%d %B %Y", "%Y-%m-%d")
_YEAR_FORMATS = ("%B %Y", "%Y")
YEARS = (1000, 2100)
# Written with a name, but neither first nor last name.
_TITLES = {"dr", "prof", "professor", "sir", "dame", "jr", "sr", "ii", "iii", "iv"}


class MalformedError(ValueError):
    """An answer that is no record; its text is the problem, one of a few fixed lines."""


@dataclass(frozen=True)
class Kind:
    """What `read` makes of a cleaned text, raising MalformedError: a value for each column."""

    expected: str
    read: Callable[[str], tuple[Any, ...]]
    # Name, in which {} is the field's -> type as Arrow and the hub name it, and meaning.
    columns: Mapping[str, tuple[str, str]]
    counted: tuple[str, ...]  # those of which coverage and entropy are measured


def clean(text: str) -> str:
    """A field in Unicode's NFC with single spaces, without quotes around it."""
    words = " ".join(unicodedata.normalize("NFC", text).split())
    if len(words) > 1 and words[0] in _QUOTES and words[-1] in _QUOTES:
        return words[1:-1].strip()
    return words


def key(text: str) -> str:
    """What texts that stand for the same choice have in common: all but case, hyphens, spaces."""
    return text.casefold().replace("-", "").replace(" ", "")


def first_and_last(name: str) -> tuple[str, str, str]:
    """The name, its first word, and the last with the lower-case words before it.

    So "Ana Maria de la Cruz" is Ana and de la Cruz; titles ("Dr.") and suffixes ("Jr.") are
    neither. Raises MalformedError unless two words are left, each with a letter.
    """
    words = [word for word in name.split() if word.casefold().rstrip(".,") not in _TITLES]
    words = [word.rstrip(",") for word in words]
    if len(words) < 2 or not all(map(_has_letter, words)):
        raise MalformedError("is not a first and a last name")
    start = len(words) - 1
    while start > 1 and words[start - 1].islower():
        start -= 1
    return name, words[0], " ".join(words[start:])


def day_and_year(text: str) -> tuple[date | None, int]:
    """Date (None where no day is given) and year, a year of 1000 to 2100.

    Reads "June 30, 1960", "30 June 1960", "1960-06-30", "June 1960" and "1960". Raises
    MalformedError for anything else, such as February 30.
    """
    for form in (*_DAY_FORMATS, *_YEAR_FORMATS):
        try:
            found = datetime.strptime(text, form).date()
        except ValueError:
            continue
        if YEARS[0] <= found.year <= YEARS[1]:
            return (found if form in _DAY_FORMATS else None), found.year
    raise MalformedError("is no date")


def written_day(day: date) -> str:
    """A date as the paper's prompt writes it."""
    return f"{day:%B} {day.day}, {day.year}"


def place_city_country(text: str) -> tuple[str, str, str]:
    """City, maybe states, and country; then the first and the last alone.

    Raises MalformedError for fewer than two with letters.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) < 2 or not all(map(_has_letter, parts)):
        raise MalformedError("is not a city and a country")
    return ", ".join(parts), parts[0], parts[-1]


def whole_number(text: str) -> tuple[int]:
    """Digits, maybe after a minus; raises MalformedError for anything else."""
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= 18):
        raise MalformedError("is no whole number")
    return (int(text),)


def _as_it_is(text: str) -> tuple[str]:
    return (text,)


def _has_letter(text: str) -> bool:
    return any(map(str.isalpha, text))


KINDS = {
    "text": Kind("a few words", _as_it_is, {"{}": ("string", "a few words")}, ("{}",)),
    "prose": Kind("running text", _as_it_is, {"{}": ("string", "running text")}, ()),
    "choice": Kind(
        "a listed value", _as_it_is, {"{}": ("string", "one of the listed values")}, ("{}",)
    ),
    "number": Kind("a whole number", whole_number, {"{}": ("int64", "a whole number")}, ("{}",)),
    "date": Kind(
        "a date",
        day_and_year,
        {
            "{}_date": ("date32", "a date, null where the answer has the year alone"),
            "{}_year": ("int64", "its year"),
        },
        ("{}_year",),
    ),
    "name": Kind(
        "a first and a last name",
        first_and_last,
        {
            "{}": ("string", "a person's name"),
            "first_{}": ("string", "its first word"),
            "last_{}": ("string", "its last word"),
        },
        ("first_{}", "last_{}"),
    ),
    "place": Kind(
        "a city and a country",
        place_city_country,
        {
            "{}": ("string", "a place, from city to country"),
            "city": ("string", "its city"),
            "country": ("string", "its country"),
        },
        ("{}",),
    ),
}
