"""Answers become records or name their problem, also hostile ones: by that of biographies."""

import time
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffuselm.measure.records import read_record
from diffuselm.tasks.record_kinds import (
    MalformedError,
    day_and_year,
    first_and_last,
    place_city_country,
)
from sketches import SKETCH

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
    return read_record(SKETCH.records, text, ended=True)


def problem(text, ended=True):
    with pytest.raises(MalformedError) as error:
        read_record(SKETCH.records, text, ended=ended)
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
        (answer() + "\n{one more}", "fields are not 6"),
        (answer().rpartition("\n")[0], "fields are not 6"),
        ("", "fields are not 6"),
        ("Sure!\n" + answer(), "text stands outside the braces"),
        (answer() + ".", "text stands outside the braces"),
        (answer(", "), "text stands outside the braces"),
        (answer() + "\ufeff", "text stands outside the braces"),
        (answer(profession="a {b} c"), "braces are nested or unpaired"),
        (answer(profession="{b}"), "braces are nested or unpaired"),
        (answer(profession="a } c"), "braces are nested or unpaired"),
        (answer()[:-1], "braces are nested or unpaired"),
        (answer(accomplishment=""), "accomplishment is empty"),
        (answer(accomplishment=" \n"), "accomplishment is empty"),
        (answer(profession="“”"), "profession is empty"),
        (answer(profession="..."), "profession is empty"),
        (answer(gender="Gender - Female"), "gender is none of the 3"),
        (answer(gender="F"), "gender is none of the 3"),
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
    assert first_and_last(name) == (name, first, last)
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
    assert day_and_year(born) == (day, year)


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
    assert problem(answer(born=born)) == "birth is no date"


def test_a_place_is_a_city_and_a_country():
    assert place_city_country("Accra,Ghana") == ("Accra, Ghana", "Accra", "Ghana")
    found = parsed(answer(place="Laguna Beach ,California,  USA"))
    assert found["birth_place"] == "Laguna Beach, California, USA"
    assert (found["city"], found["country"]) == ("Laguna Beach", "USA")


@pytest.mark.parametrize(
    "place", ["Singapore", "Paris,", ", France", "Paris, , France", "Paris, 7"]
)
def test_a_place_without_city_or_country_is_malformed(place):
    assert problem(answer(place=place)) == "birth_place is not a city and a country"


PROBLEMS = {
    "answer is cut off",
    "braces are nested or unpaired",
    "text stands outside the braces",
    "fields are not 6",
    *(f"{name} is empty" for name in SKETCH.records.asked),
    "name is not a first and a last name",
    "gender is none of the 3",
    "birth is no date",
    "birth_place is not a city and a country",
}
bits = st.sampled_from(["{", "}", "\n", *(f"{{{v}}}" for v in EXAMPLE.values()), "\x00", "é", "’"])
hostile = st.text() | st.lists(bits | st.text(max_size=3), max_size=16).map("".join)


@given(hostile, st.booleans())
def test_any_text_is_a_biography_or_malformed(text, ended):
    try:
        found = read_record(SKETCH.records, text, ended=ended)
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
