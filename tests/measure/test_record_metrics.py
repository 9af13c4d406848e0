"""Metrics of records equal plain Python, field by field, over valid ones: of biographies."""

import math
import statistics
from collections import Counter

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t

from diffuselm.files.schemas import METRICS, SAMPLES
from diffuselm.files.tables import read_table, write_table
from diffuselm.measure.intervals import coverage_interval, entropy_interval, rate_interval
from diffuselm.measure.metrics import OF_OUTCOMES, unigram_diversity, words
from diffuselm.measure.record_metrics import counted_columns, measure_records
from diffuselm.measure.records import frame_of
from diffuselm.tasks.prompts import Prompt
from diffuselm.tasks.records import Records
from sketches import SKETCH, biographies_of

ATTRIBUTES = tuple(c for f in SKETCH.records.fields for c in counted_columns(SKETCH.records, f))
close = {"rel": 1e-12, "abs": 1e-12}
texts = st.lists(
    st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=6), min_size=2, max_size=9
)

SKETCHES = [
    ("Luna Sky", "Female", "May 15, 1985", "Paris, France", "Astronaut", "Flew to Mars and back"),
    ("Luna Sky", "Female", "1985", "Paris, France", "Chef", "Cooked; cooked the sea’s fish"),
    ("Noor Khan", "Male", "1911", "Doha, Qatar", "Judge", "Judged well-known men"),
    ("Ada Sky", "Non-binary", "June 1921", "Paris, France", "Judge", "Judged the sea's men"),
    ("Bo van Ek", "Female", "1931", "Lima, Peru", "Judge", "Flew"),
]  # fmt: skip


def frame(sketches=SKETCHES, seed=7, refusals=2):
    answers = ["\n".join(f"{{{field}}}" for field in fields) for fields in sketches]
    rows = [
        ("biographies/sketch", seed, draw, text, None, False, -9.0, False)
        for draw, text in enumerate(["Sorry, I will not."] * refusals + answers)
    ]
    return biographies_of(pd.DataFrame(rows, columns=SAMPLES.names))


def measured(rows, base=None):
    return measure_records(rows, base, SKETCH.records, model="tiny", tuning="all")


def row(table, field, metric, seed=7):
    keys = (table["field"] == field) & (table["metric"] == metric) & (table["seed"] == seed)
    assert keys.sum() == 1
    return table[keys].iloc[0]


def interval(found):
    return found["ci_low"], found["ci_high"]


def test_metrics_of_attributes_equal_plain_python():
    table = measured(frame())
    columns = {
        "first_name": ["Luna", "Luna", "Noor", "Ada", "Bo"],
        "last_name": ["Sky", "Sky", "Khan", "Sky", "van Ek"],
        "gender": [sketch[1] for sketch in SKETCHES],
        "birth_year": [1985, 1985, 1911, 1921, 1931],
        "birth_place": [sketch[3] for sketch in SKETCHES],
        "profession": [sketch[4] for sketch in SKETCHES],
    }
    assert tuple(columns) == ATTRIBUTES
    for field, values in columns.items():
        counts = sorted(Counter(values).values())
        found = row(table, field, "coverage")
        assert found["value"] == len(counts)
        assert interval(found) == pytest.approx(coverage_interval(counts, 5), **close)
        found = row(table, field, "entropy")
        assert found["value"] == pytest.approx(-sum(c / 5 * math.log(c / 5) for c in counts))
        assert interval(found) == pytest.approx(entropy_interval(counts), **close)
        found = row(table, field, "top_share")
        assert found["value"] == max(counts) / 5
        assert interval(found) == pytest.approx(rate_interval(max(counts), 5), **close)
    assert (table.loc[table["metric"] != "valid_rate", "n"] == 5).all()
    assert (table["prompt"] == "biographies/sketch").all()
    assert (table["task"] == "biographies").all()


@pytest.mark.parametrize("valid", range(len(SKETCHES) + 1))
@pytest.mark.parametrize("refusals", [0, 2])
def test_the_valid_rate_is_the_share_of_all_answers(valid, refusals):
    """A sketch without a surname, braced as it should be, is an answer too, but not valid."""
    nameless = ("Luna", *SKETCHES[0][1:])
    table = measured(frame([nameless, *SKETCHES[:valid]], refusals=refusals))
    assert table["metric"].tolist().count("valid_rate") == 1
    found, n = row(table, "biography", "valid_rate"), valid + 1 + refusals
    assert (found["value"], found["n"]) == (valid / n, n)
    assert interval(found) == pytest.approx(rate_interval(valid, n), **close)
    assert (found["task"], found["prompt"]) == ("biographies", "biographies/sketch")


def test_shares_of_genders_are_there_also_where_none_has_one():
    table = measured(frame(SKETCHES[:3]))
    for metric, count in (("female_share", 2), ("male_share", 1), ("non_binary_share", 0)):
        found = row(table, "gender", metric)
        assert found["value"] == count / 3
        assert interval(found) == pytest.approx(rate_interval(count, 3), **close)


def test_base_top_share_follows_what_is_commonest_under_base():
    base = frame([*SKETCHES[2:4], SKETCHES[3]])
    table = measured(frame(), base)
    shares = {f: row(table, f, "base_top_share")["value"] for f in ATTRIBUTES}
    assert shares == {
        "first_name": 1 / 5,
        "last_name": 3 / 5,
        "gender": 1 / 5,
        "birth_year": 1 / 5,
        "birth_place": 3 / 5,
        "profession": 3 / 5,
    }
    found = row(table, "last_name", "base_top_share")
    assert interval(found) == pytest.approx(rate_interval(3, 5), **close)


def test_of_equally_common_values_under_base_the_first_by_text_counts():
    base = frame([SKETCHES[2], SKETCHES[0]])
    table = measured(frame(), base)
    assert row(table, "first_name", "base_top_share")["value"] == 2 / 5  # Luna, not Noor
    assert row(table, "birth_year", "base_top_share")["value"] == 1 / 5  # 1911, not 1985


def test_base_against_itself_has_its_own_top_share():
    table = measured(frame(), frame())
    for field in ATTRIBUTES:
        top = row(table, field, "top_share")["value"]
        assert row(table, field, "base_top_share")["value"] == top


def test_without_base_no_base_top_share():
    for base in (None, frame([])):
        assert "base_top_share" not in set(measured(frame(), base)["metric"])


def test_words_are_runs_of_letters_and_digits_with_joints_inside():
    assert words("The sea’s well-known 'K2' -- Émile_E\u0301!") == (
        ["the", "sea's", "well-known", "k2", "émile", "é"]
    )


def test_unigram_diversity_counts_distinct_among_all_words():
    table = measured(frame())
    prose = "flew to mars and back cooked cooked the sea's fish judged well-known men judged the "
    prose = (prose + "sea's men flew").split()
    found = row(table, "accomplishment", "unigram_diversity")
    assert found["value"] == pytest.approx(len(set(prose)) / len(prose), **close)
    whole = [word for sketch in SKETCHES for field in sketch for word in words(field)]
    found = row(table, "biography", "unigram_diversity")
    assert found["value"] == pytest.approx(len(set(whole)) / len(whole), **close)
    assert found["ci_low"] < found["value"] < found["ci_high"]


@given(texts)
def test_the_jackknife_equals_leaving_out_each_text_in_turn(texts):
    n = len(texts)
    without = [unigram_diversity(texts[:i] + texts[i + 1 :]).value for i in range(n)]
    mean = statistics.fmean(without)
    error = math.sqrt((n - 1) / n * sum((x - mean) ** 2 for x in without))
    half = t.ppf(0.975, n - 1) * error
    value, *ends, _ = unigram_diversity(texts)
    expected = max(value - half, 0), min(value + half, 1)
    assert ends == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_a_single_text_tells_nothing_of_its_spread():
    found = row(measured(frame(SKETCHES[:1])), "accomplishment", "unigram_diversity")
    assert interval(found) == (0, 1)


def test_seeds_are_measured_apart():
    both = pd.concat([frame(seed=3), frame(SKETCHES[:2], seed=4)], ignore_index=True)
    table = measured(both)
    assert row(table, "first_name", "coverage", seed=3)["value"] == 4
    assert row(table, "first_name", "coverage", seed=4)["value"] == 1
    assert row(table, "first_name", "coverage", seed=4)["n"] == 2
    rates = [row(table, "biography", "valid_rate", seed=seed) for seed in (3, 4)]
    assert [(rate["value"], rate["n"]) for rate in rates] == [(5 / 7, 7), (2 / 4, 4)]


def test_each_value_lies_in_its_interval_and_the_table_keeps_its_contract(tmp_path):
    table = measured(frame(), frame())
    assert (table["ci_low"] <= table["value"]).all()
    assert (table["value"] <= table["ci_high"]).all()
    assert not table.duplicated(["prompt", "field", "metric", "seed"]).any()
    write_table(tmp_path / "m.parquet", table, METRICS)
    assert read_table(tmp_path / "m.parquet", METRICS).num_rows == len(table) == 30


@pytest.mark.parametrize("refusals", [0, 2])
def test_without_valid_biographies_only_their_rate_is_measured(refusals, tmp_path):
    """It is 0 of all answers; of no answers at all nothing is measured."""
    table = measured(frame([], refusals=refusals), frame())
    assert table["metric"].tolist() == ["valid_rate"] * (refusals > 0)
    if refusals:
        found = row(table, "biography", "valid_rate")
        assert (found["value"], found["n"]) == (0, refusals)
        assert interval(found) == pytest.approx(rate_interval(0, refusals), **close)
    write_table(tmp_path / "m.parquet", table, METRICS)
    assert read_table(tmp_path / "m.parquet", METRICS).num_rows == len(table)


TONES = {
    "record": "note",
    "fields": {
        "stars": {"values": {1: 1, 5: 3}, "given": True},
        "mood": {"values": ["in a hurry", "calm"]},
        "size": {"range": [1, 40]},
        "text": {},
    },
}


def test_records_of_ones_own_are_measured_by_the_kind_of_their_fields():
    """A listed value's share where they are few; of prose its words; of given fields nothing."""
    records = Records.read(TONES, "notes.yaml")
    prompts = {
        f"notes/a-{stars}": Prompt(
            id=f"notes/a-{stars}", text="?", fields=3, records=records, given={"stars": str(stars)}
        )
        for stars in (1, 5)
    }
    rows = [
        ("notes/a-1", 7, 0, "{In a hurry}{7}{Sold it.}", None, True, -9.0, False),
        ("notes/a-5", 7, 0, "{calm}{7}{Good, so good.}", None, True, -9.0, False),
        ("notes/a-5", 7, 1, "{Calm}{41}{Good.}", None, True, -9.0, False),
    ]
    frame = frame_of(pd.DataFrame(rows, columns=SAMPLES.names), "notes", prompts)
    assert frame["stars"].tolist() == [1, 5, 5]
    assert frame["problem"].tolist()[2] == "size is none of the 40"
    table = measure_records(frame, None, records, model="tiny", tuning="notes")
    of_five = table[table["prompt"] == "notes/a-5"].set_index(["field", "metric"])["value"]
    assert set(of_five.index) == {
        ("note", "valid_rate"),
        *((field, name) for field in ("mood", "size") for name in OF_OUTCOMES),
        *(("mood", f"{mood}_share") for mood in ("in_a_hurry", "calm")),
        *((field, "unigram_diversity") for field in ("text", "note")),
    }
    assert of_five["note", "valid_rate"] == 1 / 2
    assert of_five["mood", "calm_share"] == 1
    assert of_five["text", "unigram_diversity"] == 2 / 3
