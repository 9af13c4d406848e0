"""From answers to the prompt of Table 2 to a dataset of biographies, one row an answer."""

import json
import unicodedata
from datetime import date, datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa

from diffuselm.errors import InputError
from diffuselm.files.schemas import BIOGRAPHIES, SAMPLES
from diffuselm.files.tables import read_table, write_table
from diffuselm.files.whole import written_whole
from diffuselm.model.answers import braced_values
from diffuselm.tasks.persons import GENDERS
from diffuselm.tasks.prompts import BIOGRAPHIES as TASK
from diffuselm.tasks.prompts import FIELDS, task_of

_QUOTES = frozenset("\"'“”„‘’«»")
_GENDERS = {gender.casefold(): gender for gender in GENDERS}
_GENDERS |= dict.fromkeys(("nonbinary", "non binary"), "Non-binary")
_DAY_FORMATS = ("%B %d, %Y", "%d %B %Y", "%Y-%m-%d")
_YEAR_FORMATS = ("%B %Y", "%Y")
# Written with a name, but neither first nor last name.
_TITLES = {"dr", "prof", "professor", "sir", "dame", "jr", "sr", "ii", "iii", "iv"}


class MalformedError(ValueError):
    """An answer that is no biography; its text is the problem, one of a few fixed lines."""


def write_biographies(*, samples: Path, out: Path) -> None:
    """Parse the answers to prompts of the task biographies, a row each, as `write_dataset` does.

    Raises InputError where `samples` has no such answer.
    """
    drawn = read_table(samples, SAMPLES).to_pandas()
    answers = drawn[drawn["prompt"].map(task_of) == TASK]
    if answers.empty:
        raise InputError(
            f"{samples}: prompts are {sorted(drawn['prompt'].unique())}; "
            f"expected one of task {TASK}"
        )
    write_dataset(dataset(answers), out)


def dataset(samples: pd.DataFrame) -> pd.DataFrame:
    """One row of `schemas.BIOGRAPHIES` for each of `samples`, rows of `schemas.SAMPLES`.

    In order of prompt, seed and draw; duplicates and repeated names are those of an earlier draw
    of the same prompt and seed. An answer that is malformed has its problem and null fields.
    """
    drawn = samples.sort_values(["prompt", "seed", "draw"], kind="stable")
    rows = drawn[["prompt", "seed", "draw", "text", "truncated"]].to_dict("records")
    for row in rows:
        try:
            row |= parse_biography(row["text"], ended=not row["truncated"])
        except MalformedError as error:
            row["problem"] = str(error)
        row["valid"] = "problem" not in row
    # By way of Arrow: a column of nulls alone keeps its type, and all are as when read from a file.
    frame = pa.Table.from_pylist(rows, schema=BIOGRAPHIES).to_pandas()
    frame["duplicate"] = frame.duplicated(["prompt", "seed", "text"])
    frame["repeated_name"] = frame["valid"] & frame.duplicated(["prompt", "seed", "valid", "name"])
    return frame


def write_dataset(frame: pd.DataFrame, out: Path) -> None:
    """Write rows of `schemas.BIOGRAPHIES` to `out` and, as JSON lines (ISO dates), beside it."""
    table = pa.Table.from_pandas(frame, schema=BIOGRAPHIES, preserve_index=False)
    write_table(out, table, BIOGRAPHIES)
    rows = table.to_pylist()
    lines = [json.dumps(row, ensure_ascii=False, default=date.isoformat) + "\n" for row in rows]
    with written_whole(out.with_suffix(".jsonl")) as part:
        part.write_text("".join(lines), encoding="utf-8")


def parse_biography(text: str, *, ended: bool) -> dict[str, str | int | date | None]:
    """Read an answer to the prompt of Table 2: six braced fields, one after another.

    Returns the columns of `schemas.BIOGRAPHIES` that say what the fields are made of. Only white
    space may stand around the fields. Each is brought to Unicode's NFC with single spaces, without
    quotes around it, and has a letter or digit. `ended` is False for an answer cut off at the
    limit. Raises MalformedError, which names the first problem, and nothing else.
    """
    if not ended:
        raise MalformedError("answer is cut off")
    name, gender, born, place, profession, accomplishment = _fields(text)
    first_name, last_name = first_and_last(name)
    birth_date, birth_year = date_and_year(born)
    places = place_parts(place)
    if gender.casefold() not in _GENDERS:
        raise MalformedError("gender is none of the three")
    return {
        "name": name,
        "first_name": first_name,
        "last_name": last_name,
        "gender": _GENDERS[gender.casefold()],
        "birth_date": birth_date,
        "birth_year": birth_year,
        "birth_place": ", ".join(places),
        "city": places[0],
        "country": places[-1],
        "profession": profession,
        "accomplishment": accomplishment,
    }


def first_and_last(name: str) -> tuple[str, str]:
    """First and last name: the first word, and the last with the lower-case words before it.

    So "Ana Maria de la Cruz" is Ana and de la Cruz; titles ("Dr.") and suffixes ("Jr.") are
    neither. Raises MalformedError unless two words are left, each with a letter.
    """
    words = [word for word in name.split() if word.casefold().rstrip(".,") not in _TITLES]
    words = [word.rstrip(",") for word in words]
    if len(words) < 2 or not all(map(_has_letter, words)):
        raise MalformedError("name is not a first and a last name")
    start = len(words) - 1
    while start > 1 and words[start - 1].islower():
        start -= 1
    return words[0], " ".join(words[start:])


def date_and_year(born: str) -> tuple[date | None, int]:
    """Date (None where no day is given) and year of birth, a year of 1000 to 2100.

    Reads "June 30, 1960", "30 June 1960", "1960-06-30", "June 1960" and "1960". Raises
    MalformedError for anything else, such as February 30.
    """
    for form in (*_DAY_FORMATS, *_YEAR_FORMATS):
        try:
            found = datetime.strptime(born, form).date()
        except ValueError:
            continue
        if 1000 <= found.year <= 2100:
            return (found if form in _DAY_FORMATS else None), found.year
    raise MalformedError("date of birth is none")


def place_parts(place: str) -> list[str]:
    """City, maybe states, and country; raises MalformedError for fewer than two with letters."""
    parts = [part.strip() for part in place.split(",")]
    if len(parts) < 2 or not all(map(_has_letter, parts)):
        raise MalformedError("place of birth is not a city and a country")
    return parts


def _fields(text: str) -> list[str]:
    fields, outside = braced_values(text)
    # A nested or lone brace is left over when all pairs are taken out.
    if "{" in outside or "}" in outside:
        raise MalformedError("braces are nested or unpaired")
    if outside.strip():
        raise MalformedError("text stands outside the braces")
    if len(fields) != FIELDS:
        raise MalformedError("fields are not six")
    fields = [_clean(field) for field in fields]
    if not all(any(map(str.isalnum, field)) for field in fields):
        raise MalformedError("field is empty")
    return fields


def _clean(field: str) -> str:
    words = " ".join(unicodedata.normalize("NFC", field).split())
    if len(words) > 1 and words[0] in _QUOTES and words[-1] in _QUOTES:
        return words[1:-1].strip()
    return words


def _has_letter(text: str) -> bool:
    return any(map(str.isalpha, text))
