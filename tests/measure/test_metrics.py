"""Each metric equals its definition in plain Python, and `measure` makes rows of them."""

import itertools
import math
import statistics

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from diffuselm.errors import InputError
from diffuselm.files.schemas import EXACT, METRICS, NATURAL, SAMPLES
from diffuselm.files.tables import read_table, write_rows, write_table
from diffuselm.measure import metrics
from diffuselm.measure.intervals import coverage_interval, distinct_interval, entropy_interval
from diffuselm.measure.natural import gather_metrics
from diffuselm.measure.prompt_metrics import measure
from diffuselm.tasks.target_sets import write_targets

close = {"rel": 1e-12, "abs": 1e-12}
drawn = st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=80)
positive = st.floats(1e-6, 1.0)


@st.composite
def target_and_model(draw):
    """p* that sums to 1 and a model that leaves some mass outside the targets."""
    size = draw(st.integers(1, 12))
    w = np.array(draw(st.lists(positive, min_size=size, max_size=size)))
    p = np.array(draw(st.lists(positive, min_size=size, max_size=size)))
    return w / w.sum(), p / p.sum() * draw(st.floats(0.01, 1.0))


@given(drawn)
def test_entropy_is_at_most_log_coverage(outcomes):
    found, most = metrics.entropy(outcomes), math.log(metrics.coverage(outcomes).value)
    assert 0 <= found.value <= most + 1e-12


@given(drawn, st.randoms())
def test_order_of_draws_does_not_matter(outcomes, rng):
    other = outcomes.copy()
    rng.shuffle(other)
    assert metrics.coverage(other) == metrics.coverage(outcomes)
    assert metrics.entropy(other) == metrics.entropy(outcomes)


@given(drawn)
def test_entropy_is_equation_3(outcomes):
    n = len(outcomes)
    shares = [outcomes.count(value) / n for value in set(outcomes)]
    expected = -sum(s * math.log(s) for s in shares)
    assert metrics.entropy(outcomes).value == pytest.approx(expected, **close)


def test_an_answer_without_a_value_counts_by_its_text():
    values = ["7", None, float("nan"), pd.NA, "7"]
    texts = ["{7}", "seven", "seven", "Sure!", "{7} ok"]
    assert metrics.outcomes(values, texts) == ["7", "seven", "seven", "Sure!", "7"]


@given(target_and_model())
def test_exact_metrics_are_their_definitions(pair):
    w, p = pair
    mass = sum(p)
    kl = sum(a * math.log(a / b) for a, b in zip(w, p, strict=True))
    apart = sum(abs(a - b) for a, b in zip(w, p, strict=True)) + max(1 - mass, 0)
    entropy = -sum(b / mass * math.log(b / mass) for b in p)
    assert metrics.kl(w, p) == pytest.approx(kl, **close)
    assert metrics.tv(w, p) == pytest.approx(apart / 2, **close)
    assert metrics.target_mass(w, p) == pytest.approx(mass, **close)
    assert metrics.entropy_exact(w, p) == pytest.approx(entropy, **close)


@given(target_and_model(), st.integers(1, 40))
def test_expected_recall_is_the_mean_over_targets_of_being_drawn_at_all(pair, draws):
    _, p = pair
    expected = sum(1 - (1 - b) ** draws for b in p) / len(p)
    assert metrics.expected_recall(p, draws) == pytest.approx(expected, rel=1e-9)
    assert metrics.recall_10(*pair) == metrics.expected_recall(p, 10)
    assert metrics.recall_1000(*pair) == metrics.expected_recall(p, 1000)


def test_a_sure_target_is_found_and_one_without_probability_is_not():
    assert metrics.recall_1000([0.5, 0.5], [1.0 + 1e-7, 0.0]) == 0.5


@given(target_and_model())
def test_kl_and_tv_are_divergences(pair):
    w, p = pair
    assert metrics.kl(w, p) >= -1e-12
    assert 0 <= metrics.tv(w, p) <= 1
    assert metrics.kl(w, w) == pytest.approx(0, abs=1e-12)
    assert metrics.tv(w, w) == pytest.approx(0, abs=1e-12)
    assert metrics.tv(w, p) <= math.sqrt(max(metrics.kl(w, p), 0) / 2) + 1e-9  # Pinsker


def test_a_model_off_all_targets_is_as_far_as_can_be():
    assert metrics.kl([0.5, 0.5], [1.0, 0.0]) == math.inf
    assert metrics.tv([0.5, 0.5], [0.0, 0.0]) == 1
    assert math.isnan(metrics.entropy_exact([0.5, 0.5], [0.0, 0.0]))
    assert metrics.entropy_exact([0.5, 0.5], [0.01, 0.01]) == pytest.approx(math.log(2), **close)


ANSWERS = {
    "numbers/a": [("{1}", "1"), ("{1}", "1"), ("{2}", "2"), ("two", None), ("{9} ok", "9")],
    "numbers/b": [("{3}", "3"), ("{3}", "3"), ("{4}", "4"), ("{4}", "4"), ("{5}", "5")],
    "names/us": [("{Ada}", "Ada"), ("{Ada}", "Ada"), ("{Bo}", "Bo"), ("no", None), ("no", None)],
}
VALID = {"numbers/a": 3, "numbers/b": 5, "names/us": 3}


def samples(seeds=(7,)):
    rows = []
    for seed in seeds:
        for prompt, answers in ANSWERS.items():
            for draw, (text, value) in enumerate(answers):
                valid = draw < VALID[prompt]
                logprob = -0.5 * (draw + 1) - 0.1 * (seed - 7)
                rows.append((prompt, seed, draw, text, value, valid, logprob, False))
    return pd.DataFrame(rows, columns=SAMPLES.names)


def exact():
    rows = [("numbers/a", "1", 0.3, 0.5), ("numbers/a", "2", 0.5, 0.5)]
    rows += [("numbers/b", "3", 0.25, 0.5), ("numbers/b", "4", 0.5, 0.5)]
    return pd.DataFrame(rows, columns=EXACT.names)


TARGETS = {
    "numbers/a": {"1": 0.5, "2": 0.5},
    "numbers/b": {"3": 0.5, "4": 0.5},
    "names/us": {"Zed": 1.0},
}
BIRTHS = {"Ada": 0.01, "Bo": 0.04, "Zed": 0.95}


def measured(s=None, e=None, targets=TARGETS, births=BIRTHS, seed=0, **ids):
    s, e = samples() if s is None else s, exact() if e is None else e
    return measure(s, e, targets, births, model="tiny", tuning="all", seed=seed, **ids)


def row(table, metric, prompt=None, task="numbers"):
    where = table["prompt"].isna() if prompt is None else table["prompt"] == prompt
    found = table[where & (table["metric"] == metric) & (table["task"] == task)]
    assert len(found) == 1
    return found.iloc[0]


def test_metrics_of_samples_equal_plain_python():
    table = measured()
    shares = [0.4, 0.2, 0.2, 0.2]
    expected = {
        "coverage": 4,
        "entropy": -sum(s * math.log(s) for s in shares),
        "entropy_model": statistics.mean([0.5, 1.0, 1.5, 2.0, 2.5]),
        "coverage_valid": 2,
        "entropy_valid": -(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3)),
        "top_share": 2 / 5,
        "valid_rate": 3 / 5,
        "target_rate": 3 / 5,
        "targets_covered": 2,
    }
    for metric, value in expected.items():
        found = row(table, metric, "numbers/a")
        assert found["value"] == pytest.approx(value, **close)
        n = 3 if metric == "entropy_valid" else 5
        assert (found["n"], found["seed"], found["field"]) == (n, 7, "value")


def test_intervals_of_samples_are_those_of_their_statistics():
    table = measured()

    def interval(metric):
        return tuple(row(table, metric, "numbers/a")[["ci_low", "ci_high"]])

    assert interval("coverage") == pytest.approx(coverage_interval([1, 1, 1, 2], 5))
    assert interval("entropy") == pytest.approx(entropy_interval([1, 1, 1, 2]))
    assert interval("coverage_valid") == pytest.approx(coverage_interval([1, 2], 5))
    assert interval("entropy_valid") == pytest.approx(entropy_interval([1, 2]))
    low, _ = coverage_interval([1, 2], 5)
    assert interval("targets_covered") == pytest.approx((low, 2))  # no more than there are
    wilson = stats.binomtest(3, 5).proportion_ci(0.95, method="wilson")
    assert interval("valid_rate") == pytest.approx((wilson.low, wilson.high))
    wilson = stats.binomtest(2, 5).proportion_ci(0.95, method="wilson")
    assert interval("top_share") == pytest.approx((wilson.low, wilson.high))
    x = [0.5, 1.0, 1.5, 2.0, 2.5]
    expected = stats.t.interval(0.95, 4, loc=1.5, scale=stats.sem(x))
    assert interval("entropy_model") == pytest.approx(expected)


def test_exact_metrics_have_no_spread_and_count_targets():
    found = row(measured(seed=3), "kl", "numbers/a")
    assert found["value"] == pytest.approx(0.5 * math.log(0.5 / 0.3), **close)
    assert found["value"] == found["ci_low"] == found["ci_high"]
    assert (found["n"], found["seed"]) == (2, 3)
    assert row(measured(), "tv", "numbers/a")["value"] == pytest.approx(0.2, **close)


def test_a_task_row_is_the_mean_over_its_prompts():
    table = measured(seed=7)
    sampled = ["coverage", "entropy", "entropy_model", "valid_rate", "target_rate"]
    for metric in [*sampled, "targets_covered", "kl"]:
        one, other = (row(table, metric, f"numbers/{slug}") for slug in "ab")
        mean = row(table, metric)
        assert mean["value"] == pytest.approx((one["value"] + other["value"]) / 2, **close)
        assert mean["n"] == one["n"] + other["n"]
        down = math.hypot(one["value"] - one["ci_low"], other["value"] - other["ci_low"]) / 2
        up = math.hypot(one["value"] - one["ci_high"], other["value"] - other["ci_high"]) / 2
        assert mean["ci_low"] == pytest.approx(mean["value"] - down, **close)
        assert mean["ci_high"] == pytest.approx(mean["value"] + up, **close)
    names = table[(table["task"] == "names") & table["prompt"].isna()].set_index("metric")
    single = table[table["prompt"] == "names/us"].set_index("metric")
    assert names.loc["coverage", "value"] == single.loc["coverage", "value"] == 3
    assert names.loc["target_rate", "value"] == names.loc["targets_covered", "value"] == 0


def test_seeds_are_measured_apart():
    table = measured(samples(seeds=(7, 8)))
    found = table[(table["metric"] == "entropy_model") & (table["prompt"] == "numbers/a")]
    assert found["seed"].tolist() == [7, 8]
    assert found["value"].tolist() == pytest.approx([1.5, 1.6])
    assert table[(table["metric"] == "coverage") & table["prompt"].isna()]["n"].max() == 10
    assert table[table["metric"] == "kl"]["seed"].unique().tolist() == [0]


def test_rows_do_not_depend_on_the_order_of_tables():
    def shuffled(frame):
        return frame.sample(frac=1, random_state=1)

    again = measured(shuffled(samples()), shuffled(exact()))
    pd.testing.assert_frame_equal(again, measured(), check_exact=True)


def test_rows_run_through_prompts_then_tasks_in_order_of_their_ids():
    only_exact = exact().replace({"prompt": {"numbers/b": "dates/z"}})
    rows = measured(e=only_exact, seed=7)[["task", "prompt"]].drop_duplicates()
    prompts = ["dates/z", "names/us", "numbers/a", "numbers/b"]
    assert rows["prompt"].dropna().tolist() == prompts
    assert rows["prompt"].isna().tolist() == [False] * 4 + [True] * 3
    assert rows["task"].tolist()[4:] == ["dates", "names", "numbers"]


def test_rows_are_written_and_read_as_the_contract_says(tmp_path):
    for name, frame, schema in [("s", samples(), SAMPLES), ("e", exact(), EXACT)]:
        write_table(tmp_path / name, frame, schema)
    s, e = (
        read_table(tmp_path / name, schema).to_pandas()
        for name, schema in (("s", SAMPLES), ("e", EXACT))
    )
    table = measured(s, e)
    write_table(tmp_path / "m", table, METRICS)
    written = read_table(tmp_path / "m", METRICS)
    assert written.column("prompt").null_count == table["prompt"].isna().sum() > 0
    expected = pa.Table.from_pandas(measured(), schema=METRICS, preserve_index=False)
    assert written.equals(expected.replace_schema_metadata(None))


def test_prompts_without_targets_have_no_target_metrics():
    table = measured(e=exact().iloc[:0], targets={})
    sampled = {"coverage", "entropy", "top_share", "entropy_model", "valid_rate"}
    sampled |= {"coverage_valid", "entropy_valid"}
    assert set(table["metric"]) == {*sampled, "natural_ratio"}
    assert set(table.loc[table["task"] == "numbers", "metric"]) == sampled


def test_distinct_of_10_is_the_mean_over_all_choices_of_10(monkeypatch):
    monkeypatch.setattr(metrics, "FEW", 3)
    drawn = "aaabbcd"
    answers = metrics.Answers([*drawn], [*drawn], [True] * 7, np.zeros(7), None, {})
    choices = [len(set(chosen)) for chosen in itertools.combinations(drawn, 3)]
    found = metrics.distinct_10(answers)
    assert found.value == pytest.approx(np.mean(choices), **close)
    assert (found.ci_low, found.ci_high) == pytest.approx(distinct_interval([3, 2, 1, 1], 3))


def test_ten_answers_and_fewer_have_no_choices_of_10():
    assert "distinct_10" not in set(measured()["metric"])


def test_recall_is_the_share_of_the_targets_that_are_covered():
    table = measured(targets={"numbers/a": dict.fromkeys(("1", "9", "two", "8"), 0.25)})
    covered, found = (row(table, name, "numbers/a") for name in ("targets_covered", "recall"))
    for column in ("value", "ci_low", "ci_high"):
        assert found[column] == covered[column] / 4


def test_targets_are_covered_by_any_value_on_them_valid_or_not():
    """All of b's answers are valid, but 5 is no target; off a's targets are 9 and no value."""
    found = row(measured(), "targets_covered", "numbers/b")
    assert (found["value"], found["n"]) == (2, 5)
    low, _ = coverage_interval([2, 2], 5)
    assert tuple(found[["ci_low", "ci_high"]]) == pytest.approx((low, 2))  # both of its targets
    table = measured(targets={"numbers/a": dict.fromkeys(("1", "9", "two", "8"), 0.25)})
    found = row(table, "targets_covered", "numbers/a")
    assert (found["value"], found["n"]) == (2, 5)  # 9 in no valid answer; "two" is a mere text
    low, high = coverage_interval([1, 2], 5)
    assert tuple(found[["ci_low", "ci_high"]]) == pytest.approx((low, min(high, 4)))
    assert row(table, "coverage_valid", "numbers/a")["value"] == 2
    of_others = table[(table["prompt"] != "numbers/a") & table["prompt"].notna()]
    assert not set(of_others["metric"]) & {"target_rate", "targets_covered"}


def p_of(counts, weights):
    """The p-value of answers that were drawn so often, without anything else about them."""
    values = [text for text, count in counts.items() for _ in range(count)]
    return metrics.chi_square_p(answers_of(values, weights))


def answers_of(values, weights):
    rest = {"outcomes": values, "logprobs": np.zeros(len(values)), "natural": {}}
    return metrics.Answers(values=values, valid=[True] * len(values), targets=weights, **rest)


def test_chi_square_is_pearsons_over_the_targets():
    found = p_of({"a": 58, "b": 42}, {"a": 0.5, "b": 0.5})
    assert found.value == pytest.approx(math.erfc(math.sqrt(2 * 8**2 / 50 / 2)))  # one degree
    assert found[1:] == (0, 1, 100)
    uneven = p_of({"a": 58, "b": 22, "c": 20}, {"a": 0.6, "b": 0.2, "c": 0.2})
    statistic = 2**2 / 60 + 2**2 / 20
    assert uneven.value == pytest.approx(math.exp(-statistic / 2))  # two degrees


def test_rare_targets_are_one_cell_that_expects_five_answers_or_more():
    weights = {"a": 0.5, "b": 0.4, "c": 0.04, "d": 0.03, "e": 0.03}
    whole = p_of({"a": 50, "b": 40, "c": 9, "d": 1}, weights)
    assert whole.value == p_of({"a": 50, "b": 40, "e": 10}, weights).value == pytest.approx(1)
    # One alone expects too few: the next rare one joins it.
    weights = {"a": 0.5, "b": 0.44, "c": 0.06 - 1e-3, "d": 1e-3}
    joined = p_of({"a": 50, "b": 44, "c": 6}, weights)
    assert joined.value == pytest.approx(1)
    assert p_of({"a": 50, "b": 44, "d": 6}, weights).value == joined.value


def test_an_answer_that_is_no_target_fails_the_test():
    assert p_of({"a": 500, "b": 499, "c": 1}, {"a": 0.5, "b": 0.5}).value == 0
    values = ["a"] * 50 + ["b"] * 49 + [None]
    assert metrics.chi_square_p(answers_of(values, {"a": 0.5, "b": 0.5})).value == 0


def test_there_is_no_chi_square_test_of_one_cell():
    assert p_of({"a": 100}, {"a": 1.0}) is None
    assert p_of({"a": 9}, {"a": 0.5, "b": 0.5}) is None  # 4.5 expected of each
    assert p_of({"a": 5, "b": 5}, {"a": 0.5, "b": 0.5}).value == pytest.approx(1)
    assert p_of({"a": 100}, None) is None


@pytest.mark.parametrize("weights", [[0.3, 0.7], [2.0 ** -min(k, 10) for k in range(1, 12)]])
def test_answers_from_the_targets_themselves_fail_one_test_in_twenty(weights):
    rng = np.random.default_rng(1)
    texts = [str(i) for i in range(len(weights))]
    drawn = rng.multinomial(1000, weights, size=2000)
    own = dict(zip(texts, weights, strict=True))
    failed = [
        p_of(dict(zip(texts, each, strict=True)), own).value < 0.05 for each in drawn.tolist()
    ]
    assert np.mean(failed) == pytest.approx(0.05, abs=0.015)


@given(drawn)
def test_top_share_is_that_of_the_commonest_outcome(outcomes):
    top = max(map(outcomes.count, outcomes))
    assert metrics.top_share(outcomes).value == pytest.approx(top / len(outcomes), **close)


def named(*values, prompt="names/us"):
    """One answer each; None is one without a name."""
    rows = [
        (prompt, 7, draw, "no" if value is None else f"{{{value}}}", value, True, -1.0, False)
        for draw, value in enumerate(values)
    ]
    return pd.DataFrame(rows, columns=SAMPLES.names)


def test_natural_ratio_is_the_commonest_name_s_share_over_its_natural_one():
    """Ada makes two of three names; the two answers without a name do not count."""
    found = row(measured(), "natural_ratio", "names/us", "names")
    assert found["value"] == pytest.approx(2 / 3 / 0.01, **close)
    wilson = stats.binomtest(2, 3).proportion_ci(0.95, method="wilson")
    ends = (wilson.low / 0.01, wilson.high / 0.01)
    assert tuple(found[["ci_low", "ci_high"]]) == pytest.approx(ends)
    assert (found["n"], found["seed"]) == (3, 7)
    assert row(measured(), "natural_ratio", task="names")["value"] == found["value"]


def test_natural_ratio_counts_names_also_where_most_answers_have_none():
    found = row(measured(named(None, None, None, "Bo")), "natural_ratio", "names/us", "names")
    assert (found["value"], found["n"]) == (pytest.approx(1 / 0.04, **close), 1)


def test_of_equally_common_names_the_first_in_the_alphabet_has_the_natural_ratio():
    found = row(
        measured(named("Bo", "Bo", "Ada", "Zed", "Ada")), "natural_ratio", "names/us", "names"
    )
    assert found["value"] == pytest.approx(2 / 5 / 0.01, **close)  # of Bo: 2 / 5 / 0.04


@pytest.mark.parametrize(
    "values",
    [("Abc", "Abc", "Bo"), ("Abc", "Bo"), (None, None)],
    ids=["the commonest is no name", "nor is the first of equals", "no value"],
)
def test_no_natural_ratio_where_the_commonest_value_is_no_natural_name(values):
    assert "natural_ratio" not in set(measured(named(*values))["metric"])
    other = named("Bo", "Ada", "Bo", prompt="names/uk")
    table = measured(pd.concat([named(*values), other], ignore_index=True))
    ratios = table[table["metric"] == "natural_ratio"]
    assert ratios["prompt"].dropna().tolist() == ["names/uk"]
    assert ratios["prompt"].isna().sum() == 1  # the task's mean, over the prompts that have one
    assert ratios["value"].tolist() == pytest.approx([2 / 3 / 0.04] * 2, **close)
    assert ratios["n"].tolist() == [3, 3]


def test_only_names_have_a_natural_ratio():
    table = measured()
    assert set(table.loc[table["metric"] == "natural_ratio", "task"]) == {"names"}
    others = table[table["metric"] != "natural_ratio"].reset_index(drop=True)
    without = measured(births={})
    without = without[without["metric"] != "natural_ratio"].reset_index(drop=True)
    pd.testing.assert_frame_equal(others, without, check_exact=True)


def test_rows_bear_the_field_that_they_were_measured_under():
    hot = measured(field="temperature 1.5")
    assert set(hot["field"]) == {"temperature 1.5"}
    pd.testing.assert_frame_equal(hot.assign(field="value"), measured(), check_exact=True)


def test_one_sample_leaves_the_model_entropy_open():
    found = row(measured(samples().iloc[:1], exact().iloc[:0]), "entropy_model", "numbers/a")
    assert (found["value"], found["ci_low"], found["ci_high"]) == (0.5, 0, math.inf)


@pytest.mark.parametrize(
    ("frame", "column", "value", "message"),
    [
        ("samples", "logprob", math.nan, "numbers/a: logprob holds nan"),
        ("samples", "logprob", 2.0, "numbers/a: logprob holds 2.0"),
        ("samples", "prompt", "numbers", "prompt 'numbers'; expected an id"),
        ("exact", "target", "2", "exact target '2' appears twice"),
        ("exact", "weight", 0.7, "exact weight has least 0.5 and sum 1.2"),
        ("exact", "probability", -0.1, "exact probability has least -0.1"),
        ("exact", "probability", 0.6, "exact probability has least 0.5 and sum 1.1"),
    ],
)
def test_tables_that_cannot_be_right_are_refused(frame, column, value, message):
    tables = {"samples": samples(), "exact": exact()}
    tables[frame].loc[0, column] = value
    with pytest.raises(InputError, match=message):
        measured(tables["samples"], tables["exact"])


# Natural references


@pytest.fixture
def references(tmp_path):
    """Entropies of the natural references of a task's prompts, and their n."""

    def of(task, prompts, draws=4000):
        path, births = tmp_path / f"{task}.yaml", tmp_path / "natural.parquet"
        texts = {slug: {"text": "Output {value}.", "targets": its} for slug, its in prompts.items()}
        path.write_text(yaml.safe_dump({"prompts": texts}))
        write_targets(task=path, seed=1, out=tmp_path / "targets.parquet")
        rows = [{"name": n, "count": 1, "probability": p} for n, p in BIRTHS.items()]
        write_rows(births, rows, NATURAL)
        gather_metrics(
            measured=[],
            targets=[tmp_path / "targets.parquet"],
            natural=births,
            draws=draws,
            seed=1,
            out=tmp_path / "metrics.parquet",
        )
        rows = read_table(tmp_path / "metrics.parquet", METRICS).to_pandas()
        for _, of_prompt in rows.groupby("prompt"):
            assert of_prompt["metric"].tolist() == ["coverage", "entropy", "top_share"]
        assert set(rows["n"]) <= {draws}
        assert {*rows["model"], *rows["tuning"]} <= {"natural"}
        return rows[rows["metric"] == "entropy"].set_index("prompt")["value"].to_dict()

    return of


WEIGHTED = {"1": 6, "2": 3, "3": 1}


@pytest.mark.parametrize("task", ["numbers", "dice", "names"])
def test_the_reference_of_a_weighted_prompt_is_its_target_distribution(references, task):
    found = references(task, {"own": WEIGHTED})
    assert found == {f"{task}/own": pytest.approx(stats.entropy(list(WEIGHTED.values())), abs=0.05)}


def test_the_reference_of_an_even_prompt_is_uniform_for_numbers_and_births_for_names(references):
    even = {"own": ["1", "2", "3"]}
    assert references("numbers", even) == {"numbers/own": pytest.approx(math.log(3), abs=0.01)}
    births = stats.entropy(list(BIRTHS.values()))
    assert references("names", even) == {"names/own": pytest.approx(births, abs=0.05)}
    assert references("dice", even | {"two": WEIGHTED}).keys() == {"dice/two"}


def test_unlisted_mass_is_the_probability_of_the_targets_that_training_did_not_see():
    table = measured(listed={"numbers/a": ["1"]})
    found = row(table, "unlisted_mass", "numbers/a")
    assert tuple(found[["value", "ci_low", "ci_high", "n"]]) == (0.5, 0.5, 0.5, 1)
    assert row(table, "unlisted_mass")["value"] == 0.5  # of b, training saw all
    assert "unlisted_mass" not in set(measured()["metric"])


TOKENS = {"numbers/a": [200, 35], "numbers/b": [150, 30]}


def test_cost_is_tokens_over_valid_distinct_values_and_so_are_its_ends():
    table = measured(tokens=TOKENS)
    low, high = coverage_interval([1, 2], 5)
    for metric, tokens in (("cost_read", 200), ("cost_written", 35)):
        found = row(table, metric, "numbers/a")
        assert found["value"] == pytest.approx(tokens / 2, **close)  # 1 and 2; 9 is not valid
        ends = (tokens / high, tokens / low)
        assert tuple(found[["ci_low", "ci_high"]]) == pytest.approx(ends)
        assert found["n"] == 5
    assert row(table, "cost_read")["value"] == pytest.approx((200 / 2 + 150 / 3) / 2, **close)
    # Nobody counted those of names.
    assert not set(table.loc[table["task"] == "names", "metric"]) & {"cost_read", "cost_written"}


def test_where_no_answer_is_valid_a_valid_one_costs_infinitely_much_and_has_no_entropy():
    none = samples()
    none["valid"] &= none["prompt"] != "numbers/a"
    table = measured(none, tokens=TOKENS)
    found = row(table, "cost_read", "numbers/a")
    _, high = coverage_interval([], 5)
    assert found["value"] == found["ci_high"] == math.inf
    assert found["ci_low"] == pytest.approx(200 / high)
    mean = row(table, "cost_read")
    other = row(table, "cost_read", "numbers/b")["ci_low"]
    assert mean["value"] == mean["ci_high"] == math.inf
    assert mean["ci_low"] == pytest.approx((200 / high + other) / 2)
    # The task's mean is over the prompts that have one.
    entropies = table[(table["metric"] == "entropy_valid") & (table["task"] == "numbers")]
    assert entropies["prompt"].dropna().tolist() == ["numbers/b"]
