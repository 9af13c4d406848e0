"""Answers become biographies or name their problem, also hostile ones; the dataset keeps both."""

import json
import time
from datetime import date

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffuselm.errors import InputError
from diffuselm.files.schemas import BIOGRAPHIES, SAMPLES
from diffuselm.files.tables import read_table, write_rows
from diffuselm.measure.biographies import (
    MalformedError,
    dataset,
    date_and_year,
    first_and_last,
    parse_biography,
    place_parts,
    write_biographies,
    write_dataset,
)

EXAMPLE = {
    "name": "David Hippocampus",
    "gender": "Male",
    "born": "June 30, 1960",
    "place": "Cambridge, Massachusetts, USA",
    "profession": "Neuroscientist",
    "accomplishment": "Told how the brain’s memories form, and won a prize",
}


def answer(between="\n", **changes):
    return between.join(f"{{{field}}}" for field in (EXAMPLE | changes).values())


def parsed(text):
    return parse_biography(text, ended=True)


def problem(text, ended=True):
    with pytest.raises(MalformedError) as error:
        parse_biography(text, ended=ended)
    return str(error.value)


def test_the_example_of_the_prompt_is_read_field_by_field():
    assert parsed(answer()) == {
        "name": "David Hippocampus",
        "first_name": "David",
        "last_name": "Hippocampus",
        "gender": "Male",
        "birth_date": date(1960, 6, 30),
        "birth_year": 1960,
        "birth_place": "Cambridge, Massachusetts, USA",
        "city": "Cambridge",
        "country": "USA",
        "profession": "Neuroscientist",
        "accomplishment": EXAMPLE["accomplishment"],
    }


@pytest.mark.parametrize("between", ["\n", "\n\n", " ", "", "\r\n", " \u00a0\t"])
def test_white_space_around_fields_does_not_matter(between):
    assert parsed(between + answer(between) + between) == parsed(answer())
    assert parsed(answer(name=" David\n  Hippocampus\t")) == parsed(answer())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (answer() + "\n{one more}", "fields are not six"),
        (answer().rpartition("\n")[0], "fields are not six"),
        ("", "fields are not six"),
        ("Sure!\n" + answer(), "text stands outside the braces"),
        (answer() + ".", "text stands outside the braces"),
        (answer(", "), "text stands outside the braces"),
        (answer() + "\ufeff", "text stands outside the braces"),
        (answer(profession="a {b} c"), "braces are nested or unpaired"),
        (answer(profession="{b}"), "braces are nested or unpaired"),
        (answer(profession="a } c"), "braces are nested or unpaired"),
        (answer()[:-1], "braces are nested or unpaired"),
        (answer(accomplishment=""), "field is empty"),
        (answer(accomplishment=" \n"), "field is empty"),
        (answer(profession="“”"), "field is empty"),
        (answer(profession="..."), "field is empty"),
        (answer(gender="Gender - Female"), "gender is none of the three"),
        (answer(gender="F"), "gender is none of the three"),
    ],
)
def test_anything_but_six_filled_fields_is_malformed(text, found):
    assert problem(text) == found


def test_an_answer_that_did_not_end_is_malformed():
    assert problem(answer(), ended=False) == "answer is cut off"


@pytest.mark.parametrize(
    ("written", "gender"),
    [
        ("female", "Female"),
        ("MALE", "Male"),
        ("Non-Binary", "Non-binary"),
        ("Nonbinary", "Non-binary"),
        ("non binary", "Non-binary"),
        ('"Female"', "Female"),
    ],
)
def test_gender_is_one_of_three_whatever_its_case(written, gender):
    assert parsed(answer(gender=written))["gender"] == gender


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("Luna Nightingale", "Luna", "Nightingale"),
        ("Ana Maria Luisa Torres", "Ana", "Torres"),
        ("Ludwig van Beethoven", "Ludwig", "van Beethoven"),
        ("Ana Maria de la Cruz", "Ana", "de la Cruz"),
        ("Maria da Silva Santos", "Maria", "Santos"),
        ("luna maria nightingale", "luna", "maria nightingale"),
        ("Seán O’Connor", "Seán", "O’Connor"),
        ("Sean O'Connor", "Sean", "O'Connor"),
        ("Jean-Luc Saint-Exupéry", "Jean-Luc", "Saint-Exupéry"),
        ("J. R. Tolkien", "J.", "Tolkien"),
        ("Dr. Maya Patel", "Maya", "Patel"),
        ("Martin Luther King, Jr.", "Martin", "King"),
        ("李 小龙", "李", "小龙"),
    ],
)
def test_a_name_has_a_first_and_a_last_word(name, first, last):
    assert first_and_last(name) == (first, last)
    assert parsed(answer(name=name))["name"] == name


@pytest.mark.parametrize("name", ["Madonna", "Dr. Madonna", "Luna 7", "- Luna", "Madonna Jr."])
def test_a_single_name_is_malformed(name):
    assert problem(answer(name=name)) == "name is not a first and a last name"


def test_accents_written_apart_are_the_same_name():
    assert parsed(answer(name="Rene\u0301e Noe\u0308l")) == parsed(
        answer(name="Ren\u00e9e No\u00ebl")
    )


def test_quotes_around_a_field_fall_away_and_those_inside_stay():
    assert parsed(answer(accomplishment="”Wrote a novel.”"))["accomplishment"] == "Wrote a novel."
    assert parsed(answer(accomplishment='Wrote "Sea"'))["accomplishment"] == 'Wrote "Sea"'
    assert parsed(answer(place="'s-Gravenhage, Netherlands"))["city"] == "'s-Gravenhage"


@pytest.mark.parametrize(
    ("born", "day", "year"),
    [
        ("June 30, 1960", date(1960, 6, 30), 1960),
        ("september 03, 1911", date(1911, 9, 3), 1911),
        ("30 June 1960", date(1960, 6, 30), 1960),
        ("1960-06-30", date(1960, 6, 30), 1960),
        ("February 29, 2000", date(2000, 2, 29), 2000),
        ("June 1960", None, 1960),
        ("1960", None, 1960),
        ("1000", None, 1000),
        ("December 31, 2100", date(2100, 12, 31), 2100),
    ],
)
def test_dates_are_read_in_the_usual_forms(born, day, year):
    assert date_and_year(born) == (day, year)


@pytest.mark.parametrize(
    "born",
    [
        "February 30, 1960",
        "February 29, 1900",
        "June 31, 1960",
        "June 30",
        "June 30, 0999",
        "2101",
        "60",
        "19600",
        "in 1960",
        "06/30/1960",
        "Date and year of birth",
    ],
)
def test_impossible_and_other_dates_are_malformed(born):
    assert problem(answer(born=born)) == "date of birth is none"


def test_a_place_is_a_city_and_a_country():
    assert place_parts("Accra,Ghana") == ["Accra", "Ghana"]
    found = parsed(answer(place="Laguna Beach ,California,  USA"))
    assert found["birth_place"] == "Laguna Beach, California, USA"
    assert (found["city"], found["country"]) == ("Laguna Beach", "USA")


@pytest.mark.parametrize(
    "place", ["Singapore", "Paris,", ", France", "Paris, , France", "Paris, 7"]
)
def test_a_place_without_city_or_country_is_malformed(place):
    assert problem(answer(place=place)) == "place of birth is not a city and a country"


PROBLEMS = {
    "answer is cut off",
    "braces are nested or unpaired",
    "text stands outside the braces",
    "fields are not six",
    "field is empty",
    "name is not a first and a last name",
    "gender is none of the three",
    "date of birth is none",
    "place of birth is not a city and a country",
}
bits = st.sampled_from(["{", "}", "\n", *(f"{{{v}}}" for v in EXAMPLE.values()), "\x00", "é", "’"])
hostile = st.text() | st.lists(bits | st.text(max_size=3), max_size=16).map("".join)


@given(hostile, st.booleans())
def test_any_text_is_a_biography_or_malformed(text, ended):
    try:
        found = parse_biography(text, ended=ended)
    except MalformedError as error:
        assert str(error) in PROBLEMS  # noqa: PT017
    else:
        assert ended
        assert text.count("{") == text.count("}") == 6
        assert found["birth_place"].startswith(found["city"])


words = (
    st.text("abcéøß'ç", min_size=2, max_size=8).filter(lambda w: w.strip("'") == w).map(str.title)
)
several = st.lists(words, min_size=2, max_size=4).map(" ".join)


@given(
    several,
    st.sampled_from(["Female", "Male", "Non-binary"]),
    st.dates(date(1000, 1, 1), date(2100, 12, 31)),
    st.lists(words, min_size=2, max_size=4),
    several,
)
def test_a_well_formed_biography_is_read_back(name, gender, day, place, profession):
    months = "January February March April May June July August September October November December"
    born = f"{months.split()[day.month - 1]} {day.day}, {day.year}"
    text = answer(
        name=name, gender=gender, born=born, place=", ".join(place), profession=profession
    )
    found = parsed(text)
    assert (found["name"], found["gender"], found["profession"]) == (name, gender, profession)
    assert (found["first_name"], found["last_name"]) == (name.split()[0], name.split()[-1])
    assert (found["birth_date"], found["birth_year"]) == (day, day.year)
    assert [found["city"], found["country"]] == [place[0], place[-1]]


@pytest.mark.parametrize("text", ["{" * 10**6, "{a" * 10**6, "{}" * 10**6, "{" + "a" * 10**6])
def test_hostile_text_is_read_in_one_pass(text):
    start = time.perf_counter()
    problem(text)
    assert time.perf_counter() - start < 3


def samples():
    """Two seeds in mixed order: seed 1 has a repeat, a shared name, refusals and a cut-off."""
    texts = {
        (1, 0): answer(),
        (1, 1): "I can't.",
        (1, 2): answer(profession="Chef", born="1961"),
        (1, 3): answer(),
        (1, 4): "I can't.",
        (1, 5): answer(name="Noor Khan"),
        (2, 0): answer(),
        (2, 1): answer(born="June 31, 1960"),
        (2, 2): answer(),
    }
    rows = [
        ("biographies/sketch", seed, draw, text, None, False, -9.0, (seed, draw) == (1, 5))
        for (seed, draw), text in reversed(texts.items())
    ]
    return pd.DataFrame(rows, columns=SAMPLES.names)


def test_a_dataset_keeps_malformed_answers_with_their_problem():
    frame = dataset(samples())
    assert list(frame.columns) == BIOGRAPHIES.names
    assert list(zip(frame["seed"], frame["draw"], strict=True)) == [
        *((1, draw) for draw in range(6)),
        *((2, draw) for draw in range(3)),
    ]
    assert frame["problem"].fillna("").tolist() == [
        "",
        "text stands outside the braces",
        "",
        "",
        "text stands outside the braces",
        "answer is cut off",
        "",
        "date of birth is none",
        "",
    ]
    assert (frame["valid"] == frame["problem"].isna()).all()
    parsed = BIOGRAPHIES.names[3:14]
    assert frame.loc[~frame["valid"], parsed].isna().all(axis=None)
    assert (
        frame.loc[frame["valid"], [c for c in parsed if c != "birth_date"]].notna().all(axis=None)
    )


def test_duplicates_and_repeated_names_are_those_of_an_earlier_draw_of_the_seed():
    frame = dataset(samples())
    assert frame.index[frame["duplicate"]].tolist() == [3, 4, 8]
    assert frame.index[frame["repeated_name"]].tolist() == [2, 3, 8]


def test_a_dataset_is_the_same_as_parquet_and_as_json_lines(tmp_path):
    write_dataset(dataset(samples()), tmp_path / "v1.5.parquet")
    rows = read_table(tmp_path / "v1.5.parquet", BIOGRAPHIES).to_pylist()
    raw = (tmp_path / "v1.5.jsonl").read_bytes()
    lines = [json.loads(line) for line in raw.decode().split("\n")[:-1]]
    assert [row | {"birth_date": row["birth_date"] and str(row["birth_date"])} for row in rows] == (
        lines
    )
    assert (lines[0]["birth_date"], lines[2]["birth_date"]) == ("1960-06-30", None)
    assert (lines[2]["birth_year"], lines[1]["name"]) == (1961, None)
    assert "brain’s".encode() in raw


def test_a_dataset_read_back_is_written_with_the_same_bytes(tmp_path):
    write_dataset(dataset(samples()), tmp_path / "a.parquet")
    again = read_table(tmp_path / "a.parquet", BIOGRAPHIES).to_pandas()
    write_dataset(again, tmp_path / "b.parquet")
    for kind in ("parquet", "jsonl"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()


def test_a_dataset_of_no_valid_answer_and_of_none_is_written(tmp_path):
    for name, rows in (("refused", samples().iloc[[7, 4]]), ("none", samples().iloc[:0])):
        write_dataset(dataset(rows), tmp_path / f"{name}.parquet")
        found = read_table(tmp_path / f"{name}.parquet", BIOGRAPHIES).to_pandas()
        assert (len(found), found["valid"].sum()) == (len(rows), 0)


def test_the_stage_keeps_the_answers_to_biography_prompts(tmp_path):
    other = samples().iloc[:2].assign(prompt="names/english")
    drawn = pd.concat([other, samples()])
    write_rows(tmp_path / "samples.parquet", drawn.to_dict("records"), SAMPLES)
    write_biographies(samples=tmp_path / "samples.parquet", out=tmp_path / "tiny" / "all.parquet")
    found = read_table(tmp_path / "tiny" / "all.parquet", BIOGRAPHIES).to_pandas()
    assert (found["prompt"] == "biographies/sketch").all()
    assert len(found) == len((tmp_path / "tiny" / "all.jsonl").read_text().splitlines()) == 9


def test_the_stage_needs_answers_to_biography_prompts(tmp_path):
    rows = samples().assign(prompt="names/english").to_dict("records")
    write_rows(tmp_path / "base.parquet", rows, SAMPLES)
    with pytest.raises(InputError, match=r"base\.parquet: prompts are \['names/english'\]; exp"):
        write_biographies(samples=tmp_path / "base.parquet", out=tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()
