"""The value of an answer and whether it keeps to the form, also for hostile text."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffuselm.model.answers import first_value, is_valid

plain = st.text().filter(lambda text: "{" not in text and "}" not in text)
filled = plain.filter(str.strip)
spaces = st.text(alphabet=" \t\n\r\u00a0")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{7}", "7"),
        ("Sure! { South  Africa } or {Chad}", "South  Africa"),
        ("{\nAvery\n}", "Avery"),
        ("{{Avery}}", "Avery"),
        ("{a {b}", "b"),
        ("}{ {b}", "b"),
        ("}x{", None),
        ("{} {b}", None),
        ("{ \n}", None),
        ("{7", None),
        ("", None),
    ],
)
def test_value_is_what_stands_in_the_first_pair_of_braces(text, value):
    assert first_value(text) == value


@given(plain, filled, st.text())
def test_text_around_the_first_pair_does_not_change_the_value(before, value, after):
    assert first_value(before + "{" + value + "}" + after) == value.strip()


@given(filled, spaces, spaces)
def test_one_braced_value_that_ended_is_valid(value, before, after):
    assert is_valid(f"{before}{{{value}}}{after}", True)
    assert not is_valid(f"{before}{{{value}}}{after}", False)


@given(filled, filled)
def test_anything_outside_the_braces_is_not_valid(value, extra):
    assert not is_valid(f"{{{value}}}{extra}", True)
    assert not is_valid(f"{extra}{{{value}}}", True)
    assert not is_valid(f"{{{value}}}{{{extra}}}", True)


@given(st.lists(filled, min_size=1, max_size=8), spaces)
def test_six_braced_values_are_a_valid_biography_and_no_other_number_is(values, between):
    text = between.join(f"{{{value}}}" for value in values)
    assert is_valid(text, True, fields=6) == (len(values) == 6)
    assert not is_valid(text, False, fields=6)


@pytest.mark.parametrize(
    "text",
    [
        "{Ada}\n{Female}\n{May 1, 1901}\n{Rome, Italy}\n{Poet}\n{ }",
        "{Ada}\n{Female}\n{May 1, 1901}\n{Rome, Italy}\n{Poet}\n{Wrote.} Done",
        "{Ada}, {Female}, {May 1, 1901}, {Rome, Italy}, {Poet}, {Wrote.}",
        "{{Ada}\n{Female}\n{May 1, 1901}\n{Rome, Italy}\n{Poet}\n{Wrote.}}",
        "{Ada}\n{Female}\n{May 1, 1901}\n{Rome, Italy}\n{Poet}\n{Wrote.",
    ],
)
def test_a_biography_with_an_empty_field_or_text_around_fields_is_not_valid(text):
    assert not is_valid(text, True, fields=6)


@pytest.mark.parametrize("text", ["{}", "{ }", "{{a}}", "{a}}", "{{a}", "{a", "a}", "a", "", "}{"])
def test_a_second_brace_or_an_empty_value_is_not_valid(text):
    assert not is_valid(text, True)


@given(st.text())
def test_a_valid_answer_has_a_value_without_braces(text):
    if is_valid(text, True):
        assert text.strip()[1:-1].strip() == first_value(text)


@pytest.mark.parametrize("text", ["{" * 10**6, "{a" * 10**6, "{" + "a" * 10**6, "{\x00" * 10**6])
def test_hostile_text_is_read_in_one_pass(text):
    start = time.perf_counter()
    assert first_value(text) is None
    assert not is_valid(text, True)
    assert time.perf_counter() - start < 2


@given(st.lists(plain, min_size=1, max_size=4), filled, spaces)
def test_an_opening_of_the_prompt_before_the_value_is_valid(openings, value, between):
    for opening in openings:
        text = f"{opening}{between}{{{value}}}"
        assert is_valid(text, True, openings=openings)
        assert not is_valid(text, False, openings=openings)
        assert not is_valid(f"{text}{{{value}}}", True, openings=openings)


@given(st.lists(plain, max_size=4), filled, filled)
def test_text_that_is_no_opening_of_the_prompt_is_not_valid(openings, other, value):
    begins = other.strip() in {opening.strip() for opening in openings}
    assert is_valid(f"{other}{{{value}}}", True, openings=openings) == begins
    assert not is_valid(f"{other}{{{value}}}{other}", True, openings=openings)


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("Sure! {a}", True),
        (" Sure!{a}\n", True),
        ("Sure! Sure! {a}", False),
        ("{a} Sure!", False),
        ("{a}", False),
        ("Sure {a}", False),
        ("Sure! ", False),
        ("Sure! {a} {b}", False),
    ],
)
def test_an_answer_needs_the_opening_that_its_prompt_has(text, valid):
    assert is_valid(text, True, openings=("Sure! ",)) == valid
    assert is_valid(text, True, openings=("", "Sure! ")) == (valid or text == "{a}")


def test_an_opening_stands_before_all_six_values_of_a_biography():
    values = "".join(f"{{{value}}}\n" for value in "abcdef")
    assert is_valid(f"Sure!\n{values}", True, fields=6, openings=("Sure!\n",))
    assert not is_valid(f"Sure!\n{values}", True, fields=5, openings=("Sure!\n",))
