"""Records: what a task file may say, each mistake in one line, and tuples that follow it."""

from collections import Counter
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from diffuselm.errors import InputError
from diffuselm.tasks.record_kinds import KINDS, MalformedError
from diffuselm.tasks.records import BEFORE, PERSON, Records
from diffuselm.tasks.shares import apportion, shares_of
from diffuselm.tasks.target_sets import draw_targets, read_prompts, write_targets
from diffuselm.tasks.task_files import load_task, task_inputs

TASKS = Path(__file__).parents[2] / "resources/tasks"
TONES = {"1": ["angry", "dry"], "5": {"warm": 3, "proud": 1}}
NOTES = {
    "record": "note",
    "count": 40,
    "fields": {
        "rating": {"values": {1: 1, 5: 3}},
        "tone": {"by": "rating", "each": {k: {"values": v} for k, v in TONES.items()}},
        "year": {"range": [2001, 2020]},
        "seen": {"dates": ["2020-01-01", "2020-02-09"]},
        "text": {},
    },
    "prompts": {"a": {"text": "Write a note."}},
}


def task_file(folder, changes=None, **top):
    """NOTES, with changed fields (None: without one) and top keys."""
    task = deepcopy(NOTES) | top
    for name, field in (changes or {}).items():
        task["fields"].pop(name, None)
        if field is not None:
            # A new field comes first, for the last one is the model's own.
            task["fields"] = {name: field, **task["fields"]}
    path = folder / "notes.yaml"
    path.write_text(yaml.safe_dump(task, sort_keys=False).replace("null", ""))
    return path


def tuples(prompt, seed=1):
    """Rows of a prompt's target tuples, as often as they were drawn."""
    drawn = draw_targets(prompt, None, seed)
    times = np.round(np.array(drawn.weights) * prompt.records.count).astype(int)
    rows = [tuple(line[1:-1] for line in text.splitlines()) for text in drawn.texts]
    return [row for row, n in zip(rows, times, strict=True) for _ in range(n)]


def test_numbers_are_read_with_their_sign_and_to_the_letter(tmp_path):
    [prompt] = load_task(task_file(tmp_path, {"x": {"range": [-5, 12]}}))
    read = prompt.records.read_field
    assert read("x", " -3 ") == {"x": -3}
    assert read("x", "12") == {"x": 12}
    for text in ("1-0", "1 0", "-6", "13"):
        with pytest.raises(MalformedError, match="is none of the 18"):
            read("x", text)


def test_a_mark_at_the_start_of_a_list_is_no_part_of_its_first_value(tmp_path):
    (tmp_path / "list.txt").write_text("\ufeffRed\nBlue\n", encoding="utf-8")
    [prompt] = load_task(task_file(tmp_path, {"x": {"file": "list.txt"}}))
    assert prompt.records.choices("x") == ("Red", "Blue")


def test_tuples_follow_every_stated_share_and_joint_distribution_exactly(tmp_path):
    [prompt] = load_task(task_file(tmp_path))
    for seed in range(5):
        rows = tuples(prompt, seed)
        assert Counter(row[:2] for row in rows) == {
            ("1", "angry"): 5,
            ("1", "dry"): 5,
            ("5", "warm"): 23 if Counter(row[1] for row in rows)["warm"] == 23 else 22,
            ("5", "proud"): 7 if Counter(row[1] for row in rows)["proud"] == 7 else 8,
        }
        assert set(Counter(row[2] for row in rows).values()) == {2}
        assert set(Counter(row[3] for row in rows).values()) == {1}
        assert {row[3] for row in rows} >= {"January 1, 2020", "February 9, 2020"}


def test_tuples_depend_on_the_seed_alone_and_their_fields_are_independent(tmp_path):
    [prompt] = load_task(task_file(tmp_path, count=2000))
    rows = tuples(prompt)
    assert rows == tuples(prompt)
    assert rows != tuples(prompt, seed=2)
    ratings, years = (np.array([int(row[at]) for row in rows]) for at in (0, 2))
    assert abs(np.corrcoef(ratings, years)[0, 1]) < 0.1


@given(
    st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=30),
    st.integers(0, 10_000),
    st.floats(0, 1, exclude_max=True),
)
def test_a_split_rounds_each_share_up_or_down(weights, n, offset):
    counts, shares = apportion(weights, n, offset), np.array(weights) / np.sum(weights) * n
    assert counts.sum() == n
    assert (np.abs(counts - shares) < 1 + 1e-6).all()


@given(st.lists(st.integers(1, 9), min_size=1, max_size=9), st.floats(0, 1, exclude_max=True))
def test_a_split_into_whole_shares_is_exact(weights, offset):
    assert apportion(weights, 7 * sum(weights), offset).tolist() == [7 * w for w in weights]


def test_given_fields_are_in_the_prompt_and_not_in_the_answer(tmp_path):
    rating = NOTES["fields"]["rating"] | {"given": True}
    asked = {"a": {"text": "Give <rating> of 5 <b>stars</b>."}}
    prompts = load_task(task_file(tmp_path, {"rating": rating}, prompts=asked))
    assert [p.id for p in prompts] == ["notes/a-1", "notes/a-2"]
    assert [p.text for p in prompts] == [f"Give {n} of 5 <b>stars</b>." for n in (1, 5)]
    assert [p.given for p in prompts] == [{"rating": "1"}, {"rating": "5"}]
    assert prompts[0].fields == 4
    assert shares_of(prompts, 1000) == {"notes/a-1": 250, "notes/a-2": 750}
    # The tone of each prompt is by its own rating.
    tones = [{row[0] for row in tuples(prompt)} for prompt in prompts]
    assert tones == [{"angry", "dry"}, {"warm", "proud"}]
    assert prompts[0].records.columns["rating"] == "int64"


def test_written_prompts_of_records_are_read_back(tmp_path):
    path = task_file(tmp_path)
    write_targets(task=path, seed=1, out=tmp_path / "t" / "notes.parquet")
    [found], [loaded] = read_prompts([tmp_path / "t" / "notes.parquet"]), load_task(path)
    assert found.records.columns == loaded.records.columns
    for name in loaded.records.fields:
        assert found.records.choices(name) == loaded.records.choices(name)
        assert found.records.kind(name) == loaded.records.kind(name)


def test_kinds_follow_from_distributions_and_give_typed_columns(tmp_path):
    [prompt] = load_task(task_file(tmp_path, {"who": {"values": ["Ada Ley"], "kind": "name"}}))
    records = prompt.records
    kinds = [records.kind(name) for name in records.fields]
    assert kinds == ["name", "number", "choice", "number", "date", "prose"]
    own = dict(list(records.columns.items())[len(BEFORE) : -6])
    assert own == {
        **{"who": "string", "first_who": "string", "last_who": "string"},
        **{"rating": "int64", "tone": "string", "year": "int64"},
        **{"seen_date": "date32", "seen_year": "int64", "text": "string", "valid": "bool"},
    }
    assert records.columns["repeated_who"] == "bool"


def test_values_may_stand_in_a_file_beside_the_task(tmp_path):
    path = task_file(tmp_path, {"product": {"file": "products.txt"}})
    (tmp_path / "products.txt").write_text("Kettle\t3\n\nDesk lamp\r\n")
    [prompt] = load_task(path)
    assert prompt.records.fields["product"].values.texts == ("Kettle", "Desk lamp")
    assert prompt.records.fields["product"].values.weights == (0.75, 0.25)
    assert task_inputs(path) == [path, tmp_path / "products.txt"]
    for content, problem in [
        ("a\nb\na\n", r"products.txt: line 3: 'a' appears twice"),
        ("a\tmany\n", r"products.txt: line 1: weight 'many'; expected a number"),
        ("{a}\n", r"products.txt: '{a}' holds a brace"),
        ("", r"products.txt: no targets"),
    ]:
        (tmp_path / "products.txt").write_text(content)
        with pytest.raises(InputError, match=problem):
            load_task(path)
    (tmp_path / "products.txt").unlink()
    with pytest.raises(InputError, match=r"products\.txt: no such file; expected a value a line"):
        load_task(path)


V = {"values": ["a", "b"]}
MISTAKES = {
    "unknown key": ({"x": {"value": ["a"]}}, {}, "fields.x.value: unknown key; expected record,"),
    "unknown top key": ({}, {"field": 1}, ": field: unknown key"),
    "two distributions": ({"x": V | {"range": [1, 2]}}, {}, "fields.x: found values and range"),
    "values and file": ({"x": V | {"file": "x.txt"}}, {}, "found values and file; expected one"),
    "nothing": ({"x": {"values": None}}, {}, "fields.x: values: nothing; expected a value"),
    "falling range": ({"x": {"range": [5, 1]}}, {}, "fields.x.range: 5, 1; expected the first"),
    "huge range": ({"x": {"range": [1, 10**6]}}, {}, "range: 1,000,000 values; expected at most"),
    "a day that is none": ({"x": {"dates": ["2020-02-30", "2021-01-01"]}}, {}, "'2020-02-30'; exp"),
    "year for a day": ({"x": {"dates": [1990, 2000]}}, {}, "dates.0: 1990; expected a date of"),
    "weight of nothing": ({"x": {"values": {"a": 0}}}, {}, "values: 'a' weighs 0; expected a fin"),
    "twins": ({"x": {"values": ["Red", "red"]}}, {}, "fields.x: 'Red' and 'red' read alike; exp"),
    "a value that is empty": ({"x": {"values": ["..."]}}, {}, "fields.x: '...': x is empty; exp"),
    "no first and last name": (
        {"x": {"values": ["Ada"], "kind": "name"}},
        {},
        "fields.x: 'Ada': x is not a first and a last name; expected a first and a last name",
    ),
    "unknown kind": ({"x": V | {"kind": "colour"}}, {}, "fields.x.kind: found 'colour'; expected"),
    "choice of nothing": ({"x": {"kind": "choice"}}, {}, "kind choice, but left to the model"),
    "free before drawn": ({"x": {}}, {}, "fields.rating: has a distribution, but stands after x"),
    "given nothing": ({"x": {"given": True}}, {}, "fields.x: given, but without values; expected"),
    "given, not in the text": ({"x": V | {"given": True}}, {}, "prompts.a.text: no <x>, which is"),
    "in the text, not given": (
        {},
        {"prompts": {"a": {"text": "A <tone> note."}}},
        "prompts.a.text: <tone> is not given; expected given: true, or no such mark",
    ),
    "by nothing known": ({"x": {"by": "z", "each": {"a": V}}}, {}, "by: no field 'z'; expected"),
    "by alone": ({"x": {"by": "rating"}}, {}, "expected by and each together"),
    "by an open field": ({"x": {"by": "text", "each": {"a": V}}}, {}, "text can have any value"),
    "each, one missing": ({"x": {"by": "rating", "each": {1: V}}}, {}, "each: nothing for '5'"),
    "each, one too many": (
        {"x": {"by": "rating", "each": {1: V, 5: V, 6: V}}},
        {},
        "fields.x: each: '6' is no value of rating",
    ),
    "each without a source": (
        {"x": {"by": "rating", "each": {1: {}, 5: V}}},
        {},
        "each.1: nothing",
    ),
    "a field of the name of answers": (
        {"value": V},
        {},
        "fields: 'value' is taken; expected another",
    ),
    "a field of the record's name": ({"note": V}, {}, "fields: 'note' is taken; expected another"),
    "by itself": ({"x": {"by": "x", "each": {"a": V, "b": V}}}, {}, "fields.x: by goes round in"),
    "given by one that is not": (
        {"x": {"by": "rating", "each": {1: V, 5: V}, "given": True}},
        {"prompts": {"a": {"text": "<x>"}}},
        "fields.x: given, by rating, which is not",
    ),
    "none left to the model": ({"text": None}, {}, "fields: none is left to the model"),
    "none to tune on": (
        dict.fromkeys(("rating", "tone", "year", "seen")),
        {},
        "fields: none to tune on",
    ),
    "a column of every dataset": ({"valid": V}, {}, "fields: valid would be two columns"),
    "columns of two fields": (
        {"first_x": V, "x": {"values": ["Ada Ley"], "kind": "name"}},
        {},
        "fields: first_x would be two columns",
    ),
    "upper case": ({"Rating": V}, {}, "fields.Rating"),
    "not a person's": ({"age": {"draw_from": "persons"}}, {}, "drawn from persons; expected a f"),
    "more persons than there are": (
        {"gender": {"draw_from": "persons"}},
        {"count": 211},
        "count: found 211; expected at most 210 persons",
    ),
    "too many prompts": (
        {"x": {"range": [1, 1001], "given": True}},
        {"prompts": {"a": {"text": "<x>"}}},
        "fields.x: more than 1,000 combinations of given values",
    ),
    "no record": ({}, {"record": "A NOTE"}, "record: found 'A NOTE'"),
    "one tuple": ({}, {"count": 1}, "count: found 1"),
    "targets of its own": ({}, {"prompts": {"a": {"text": "b", "targets": [1]}}}, "targets: unkn"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_each_mistake_is_one_line_that_names_file_and_key(tmp_path, case):
    changes, top, expected = MISTAKES[case]
    path = task_file(tmp_path, changes, **top)
    with pytest.raises(InputError) as refused:
        load_task(path)
    line = str(refused.value)
    assert line.startswith(f"{path}: ")
    assert expected in line
    assert len(line.splitlines()) == 1


yaml_like = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab<{}\n1é", max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab1", max_size=2), inner),
    max_leaves=5,
)


@given(st.sampled_from([*NOTES["fields"]["tone"], "values", "range", "dates", "given"]), yaml_like)
def test_any_field_is_read_or_refused_in_one_line(key, value):
    fields = NOTES["fields"] | {"tone": NOTES["fields"]["tone"] | {key: value}}
    try:
        records = Records.read({"record": "note", "fields": fields}, "notes.yaml")
    except InputError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017
    else:
        assert records.tuned[0] == "rating"


@given(st.sampled_from([*KINDS]), st.text())
def test_any_text_of_a_field_fills_its_columns_or_is_malformed(kind, text):
    source = {"values": ["7", "Ada Ley"]} if kind == "choice" else {"values": ["7"]}
    x = {"kind": kind, **(source if kind in ("choice", "number", "text") else {})}
    rest = {"a": {"values": ["b"]}} if len(x) == 1 else {}
    fields = {**rest, "x": x, "text": {}}
    records = Records.read({"record": "note", "fields": fields}, "notes.yaml")
    try:
        found = records.read_field("x", text)
    except MalformedError as error:
        assert str(error).startswith("x is ")  # noqa: PT017
    else:
        assert list(found) == list(records.columns_of("x"))


def test_biographies_are_an_instance_whose_persons_name_their_kinds():
    [prompt] = load_task(TASKS / "biographies.yaml")
    assert {name: prompt.records.kind(name) for name in prompt.records.tuned} == PERSON
    assert prompt.records.choices("gender") == ("Female", "Male", "Non-binary")
    assert prompt.records.free == ("profession", "accomplishment")


def test_persons_go_with_fields_of_ones_own(tmp_path):
    """Joint fields of a person, beside one that depends on the gender."""
    title = {"by": "gender", "each": dict.fromkeys(("Female", "Male", "Non-binary"), V)}
    drawn = {"title": title, "name": {"draw_from": "persons"}, "gender": {"draw_from": "persons"}}
    [prompt] = load_task(task_file(tmp_path, drawn))
    assert prompt.records.tuned[:3] == ("gender", "name", "title")
    rows = tuples(prompt)
    assert len({row[1] for row in rows}) == 40
    assert {row[0] for row in rows} <= {"Female", "Male", "Non-binary"}


def test_the_shipped_reviews_give_ratings_in_stated_shares_and_tones_by_them():
    prompts = load_task(TASKS / "reviews.yaml")
    shares = Counter()
    for prompt, records in zip(prompts, shares_of(prompts, 1200).values(), strict=True):
        shares[prompt.given["rating"], prompt.given["tone"]] += records
    ratings = Counter()
    for (rating, _), records in shares.items():
        ratings[rating] += records
    assert ratings == {"1": 120, "2": 120, "3": 180, "4": 360, "5": 420}
    assert [shares["5", tone] for tone in ("pleased", "delighted", "proud")] == [105, 210, 105]
    for prompt in prompts:
        given = prompt.given
        assert f"gives it {given['rating']} of 5 stars, in a tone that is {given['tone']}." in (
            prompt.text
        )
        assert set(Counter(row[0] for row in tuples(prompt)).values()) == {4}
