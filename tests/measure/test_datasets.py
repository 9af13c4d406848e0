"""A dataset keeps every answer as it was, says what is wrong with it, and what it repeats."""

import json
from datetime import date

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffuselm.errors import InputError
from diffuselm.files.tables import read_parts, read_table
from diffuselm.measure.flags import flags, one_json_line
from diffuselm.measure.records import records_schema
from diffuselm.tasks.task_files import load_task
from sketches import BIOGRAPHIES, TASKS, write_dataset

LIFE = "{Ada Ley}\n{Female}\n{June 30, 1960}\n{Rome, Italy}\n{Chemist}\n{%s}"
DEED = "Found a metal that bends light around any town, and gave it to the poor of her street"
TEXTS = [
    LIFE % DEED,
    "I can't.",
    (LIFE % "Sang").replace("June 30, ", ""),
    LIFE % DEED,
    "I can't.",
    LIFE % "Cut o",
    (LIFE % DEED.replace("street", "village")).replace("Ada", "Noor"),
]


def sample(text, draw=0, prompt="biographies/sketch", **changes):
    found = {"prompt": prompt, "seed": 1, "draw": draw, "text": text, "value": None}
    return found | {"valid": True, "logprob": -9.0, "truncated": "Cut" in text} | changes


SAMPLES = [sample(text, draw) for draw, text in enumerate(TEXTS)]


@pytest.fixture
def dataset(tmp_path):
    """Rows of the dataset of some samples."""

    def made(rows, schema=BIOGRAPHIES, **settings):
        out = tmp_path / "m" / "all.parquet"
        write_dataset(rows, out, **settings)
        return read_table(out, schema).to_pylist()

    return made


def test_malformed_answers_are_kept_with_their_problem(dataset):
    rows = dataset(SAMPLES[::-1])
    assert [row["draw"] for row in rows] == list(range(7))
    assert [row["answer"] for row in rows] == TEXTS
    assert [row["problem"] for row in rows] == [
        *(None, "text stands outside the braces", None, None),
        *("text stands outside the braces", "answer is cut off", None),
    ]
    for row in rows:
        assert row["valid"] == (row["problem"] is None)
        assert (row["name"] is None) == (not row["valid"])
    assert (rows[0]["birth_date"], rows[2]["birth_date"]) == (date(1960, 6, 30), None)
    assert rows[2]["birth_year"] == 1960


def test_repetitions_are_those_of_an_earlier_record(dataset):
    rows = dataset(SAMPLES)
    marks = {
        name: [row["draw"] for row in rows if row[name]]
        for name in ("duplicate", "near_duplicate", "repeated_name")
    }
    assert marks == {"duplicate": [3, 4], "near_duplicate": [3, 6], "repeated_name": [2, 3]}


def test_texts_that_share_few_words_are_no_near_duplicates(dataset):
    deeds = [f"{number} {DEED[:20]} in the year {number}" for number in range(60)]
    rows = dataset([sample(LIFE % deed, draw) for draw, deed in enumerate(deeds)])
    assert not any(row["near_duplicate"] for row in rows)


def test_parts_and_further_answers_follow_each_other_and_see_earlier_parts(dataset, tmp_path):
    further = [[sample(TEXTS[0], 7), sample(LIFE % "Flew", 8)], [sample(LIFE % "Flew", 9)]]
    rows = dataset(SAMPLES, further=further, records=9)
    assert [row["draw"] for row in rows] == list(range(9))  # the tenth was not asked for
    assert rows[7]["duplicate"]
    parts = list(read_parts(tmp_path / "m/all.parquet", BIOGRAPHIES))
    assert [part.num_rows for part in parts] == [7, 2]


def test_a_dataset_is_the_same_as_parquet_and_as_json_lines(dataset, tmp_path):
    rows = dataset(SAMPLES)
    lines = (tmp_path / "m/all.jsonl").read_text("utf-8").splitlines()
    found = [json.loads(line) for line in lines]
    assert found == [
        row | {"birth_date": row["birth_date"] and str(row["birth_date"])} for row in rows
    ]
    schema = pq.read_schema(tmp_path / "m/all.parquet")
    assert schema.equals(BIOGRAPHIES)


@given(st.lists(st.text(), min_size=1))
def test_a_json_line_is_one_line_to_every_reader_and_the_same_text(texts):
    texts = [*texts, "\u2028\u2029\x85\x0b\x0c\x1c\u202e"]
    line = one_json_line(json.dumps(texts, ensure_ascii=False))
    assert line.splitlines() == [line]
    assert json.loads(line) == texts


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (LIFE % DEED, None),
        ("{<script>alert(1)</script>}", "tag"),
        ("{a < b, and 2 <3}", None),
        ("{</b }", "tag"),
        ("{see HTTPS://a.example}", "link"),
        ("{www.a.example}", "link"),
        ("{=SUM(A1)}", "formula"),
        ("{a}{ +1}", "formula"),
        ('{"=1+1"}', "formula"),
        ("{\u00a0=1}", "formula"),
        ("{a}\n{-}", "formula"),
        ("{@SUM(1)}", "formula"),
        ("{me@a.example = 3}", None),
        ("{a\u2028b}", "unseen"),
        ("{a\u202eb}", "unseen"),
        ("{a\x85b}", "unseen"),
        ("{a\x00b}", "unseen"),
        ("{=<b>www.a.example\u200f</b>}", "tag link formula unseen"),
    ],
)
def test_what_is_more_than_text_is_flagged(text, found):
    assert flags(text) == found


def test_flags_are_in_the_dataset_and_hostile_text_stays_as_it_is(dataset):
    hostile = LIFE % "=cmd|' /C calc'!A0 <img src=x>\u2028"
    [row] = dataset([sample(hostile)])
    assert row["flags"] == "tag formula unseen"
    assert row["answer"] == hostile


def test_given_values_are_columns_and_each_prompt_has_its_share(dataset):
    task = TASKS / "reviews.yaml"
    prompts = load_task(task)
    rows = [
        sample("{Kettle}\n{Boils.}", draw, prompt.id) for prompt in prompts for draw in range(50)
    ]
    found = dataset(
        rows, schema=records_schema(prompts[0].records), task=task, records=100, further=[]
    )
    ratings = [row["rating"] for row in found]
    assert [ratings.count(rating) for rating in (1, 2, 3, 4, 5)] == [10, 10, 15, 30, 35]
    assert {row["tone"] for row in found if row["rating"] == 3} == {"dry", "calm", "undecided"}
    assert all(row["valid"] for row in found)


def test_answers_to_other_prompts_are_left_out_and_some_are_needed(dataset, tmp_path):
    other = sample("{Ann}", prompt="names/english")
    assert len(dataset([other, *SAMPLES])) == 7
    with pytest.raises(InputError, match=r"no answers to biographies/sketch; expected some"):
        write_dataset([other], tmp_path / "n" / "none.parquet")
    assert not (tmp_path / "n" / "none.parquet").exists()
    assert not (tmp_path / "n" / "none.jsonl").exists()
