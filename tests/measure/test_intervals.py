"""Intervals hold the truth they are about as often as they say, on distributions that are known."""

import math
import os
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from faker.providers.person.en_US import Provider
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from diffuselm.measure.intervals import (
    coverage_interval,
    distinct_interval,
    entropy_interval,
    interval_of_mean,
    mean_interval,
    rate_interval,
    score_offsets,
)

REPEATS = 2000
Z2 = stats.norm.ppf(0.975) ** 2


def shares(weights):
    weights = np.asarray(weights, dtype=float)
    return weights / weights.sum()


def favourite(share, rest):
    return np.concatenate([[share], (1 - share) * shares(rest)])


ZIPF = 1 / np.arange(1, 31)
KNOWN = {
    "uniform-10": np.full(10, 0.1),
    "collapsed-zipf": favourite(0.9, ZIPF),
    "collapsed-geometric": favourite(0.9, 0.8 ** np.arange(30)),
    "favourite-long-tail": favourite(0.6, 1 / np.arange(1, 2001)),
    "names-embedded": shares(list(Provider.first_names.values())),
    "names-ssa-2022": None,
}


def distribution(name):
    if name != "names-ssa-2022":
        return KNOWN[name]
    folder = os.environ.get("DIFFUSELM_TEST_DATA")
    if not folder:
        pytest.skip("DIFFUSELM_TEST_DATA is not set: no folder with the SSA's yob2022.txt")
    births = Counter()
    for line in (Path(folder) / "yob2022.txt").read_text("ascii").splitlines():
        given_name, _, count = line.split(",")
        births[given_name] += int(count)
    return shares(list(births.values()))


def expected_coverage(p, n):
    return -np.expm1(n * np.log1p(-p)).sum()


def expected_entropy(p, n):
    """Exact, outcome by outcome: E of -(K/n) log(K/n), K binomial."""
    k = np.arange(1, n + 1)
    each = -(k / n) * np.log(k / n)
    distinct, times = np.unique(p, return_counts=True)
    return sum(m * (stats.binom.pmf(k, n, q) @ each) for q, m in zip(distinct, times, strict=True))


def samples(p, n, repeats=REPEATS):
    rng = np.random.default_rng(20240404)
    for _ in range(repeats):
        counts = rng.multinomial(n, p)
        yield counts[counts > 0]


def hit_rate(intervals, truth, slack=0.0):
    return np.mean([low - slack <= truth <= high + slack for low, high in intervals])


def test_exact_expectation_of_entropy_agrees_with_simulation():
    drawn = [stats.entropy(counts) for counts in samples(KNOWN["collapsed-zipf"], 200)]
    error = np.mean(drawn) - expected_entropy(KNOWN["collapsed-zipf"], 200)
    assert abs(error) < 4 * np.std(drawn) / math.sqrt(REPEATS)


@pytest.mark.parametrize("n", [1000, 200])
@pytest.mark.parametrize("name", [name for name in KNOWN if name != "uniform-10"])
def test_coverage_interval_holds_expected_coverage(name, n):
    p = distribution(name)
    found = [coverage_interval(counts, n) for counts in samples(p, n)]
    assert 0.92 <= hit_rate(found, expected_coverage(p, n)) <= 0.98


@pytest.mark.parametrize("n", [1000, 200])
@pytest.mark.parametrize("name", KNOWN)
def test_entropy_interval_holds_expected_entropy(name, n):
    p = distribution(name)
    found = [entropy_interval(counts) for counts in samples(p, n)]
    assert 0.92 <= hit_rate(found, expected_entropy(p, n)) <= 0.98


@pytest.mark.parametrize("n", [1000, 200])
@pytest.mark.parametrize("name", KNOWN)
def test_distinct_interval_holds_the_expectation_of_ten_draws(name, n):
    p = distribution(name)
    found = [distinct_interval(counts, 10) for counts in samples(p, n)]
    assert hit_rate(found, expected_coverage(p, 10)) >= 0.92


@pytest.mark.parametrize("support", [3, 30, 300])
def test_distinct_interval_holds_on_even_outcomes(support):
    p = np.full(support, 1 / support)
    found = [distinct_interval(counts, 10) for counts in samples(p, 200)]
    assert hit_rate(found, expected_coverage(p, 10)) >= 0.92


def test_distinct_interval_keeps_room_for_a_rare_answer_that_was_not_drawn():
    # Wilson's upper end for none of 200, of which each would be worth 10 / 200.
    assert distinct_interval([200], 10) == (1.0, pytest.approx(1 + Z2 * 10 / 200))
    assert distinct_interval([1] * 200, 10)[0] > 9.98


def test_distinct_interval_is_narrower_with_more_draws():
    few, many = (
        distinct_interval([share * n // 100 for share in (60, 30, 6, 4)], 10) for n in (100, 10000)
    )
    assert few[0] < many[0] < many[1] < few[1]


@pytest.mark.parametrize("ratio", [0.5, 0.7])
def test_coverage_interval_steps_with_whole_numbers(ratio):
    p = shares(ratio ** np.arange(60))  # standard deviation of coverage: 1.0 and 1.4
    found = [coverage_interval(counts, 1000) for counts in samples(p, 1000)]
    assert 0.92 <= hit_rate(found, expected_coverage(p, 1000)) <= 0.98


@pytest.mark.parametrize("support", [2, 3, 50, 100, 1000])
def test_entropy_interval_holds_on_even_outcomes(support):
    p = np.full(support, 1 / support)
    found = [entropy_interval(counts) for counts in samples(p, 200)]
    assert 0.92 <= hit_rate(found, expected_entropy(p, 200)) <= 0.98


def test_entropy_interval_survives_the_rounding_of_large_counts():
    n = 10**7
    found = [entropy_interval(counts) for counts in samples(KNOWN["uniform-10"], n)]
    assert 0.92 <= hit_rate(found, math.log(10) - 9 / (2 * n)) <= 0.98


def test_entropy_variance_is_unbiased_where_entropy_is_a_chi_square():
    # 2 N (log S - H) has S - 1 degrees of freedom, so N^2 Var H = (S - 1) / 2 = 9.5.
    estimates = []
    for counts in samples(np.full(20, 0.05), 2000, 4000):
        middle, root = middle_and_root(counts)
        estimates.append(2000**2 * (root**2 - middle**2) / Z2)
    assert np.mean(estimates) == pytest.approx(9.5, abs=0.3)


def test_entropy_interval_leans_down_no_further_than_a_chi_square_does():
    for counts in samples(np.full(1000, 0.001), 200, 100):
        assert middle_and_root(counts)[0] >= -Z2 / 200 - 1e-12


def middle_and_root(counts):
    low, high = entropy_interval(counts)
    return (low + high) / 2 - stats.entropy(counts), (high - low) / 2


def test_coverage_that_does_not_vary_is_always_held():
    # Ten even outcomes in 1,000 draws: coverage is 10, so no method can miss in 2 to 8% of draws.
    p = KNOWN["uniform-10"]
    for counts in samples(p, 1000, 50):
        low, high = coverage_interval(counts, 1000)
        assert abs(low - expected_coverage(p, 1000)) < 1e-12
        assert high == pytest.approx(10 + 1.96**2, abs=1e-3)


@pytest.mark.parametrize("leak", [0.001, 0.003, 0.01])
def test_coverage_interval_allows_for_rare_answers_that_were_not_drawn(leak):
    # In e^-1 of such samples at leak 0.001 only the ten are seen, and [10, 10] would miss.
    p = np.concatenate([np.full(10, (1 - leak) / 10), np.full(500, leak / 500)])
    found = [coverage_interval(counts, 1000) for counts in samples(p, 1000)]
    assert hit_rate(found, expected_coverage(p, 1000)) >= 0.92


@pytest.mark.parametrize("support", [20, 50, 100, 200, 300])
def test_coverage_interval_errs_wide_where_nearly_all_is_seen(support):
    p = np.full(support, 1 / support)
    found = [coverage_interval(counts, 1000) for counts in samples(p, 1000, 200)]
    assert hit_rate(found, expected_coverage(p, 1000), 1e-12) >= 0.92


def test_coverage_interval_holds_when_only_some_draws_count():
    p = KNOWN["collapsed-zipf"]  # the favourite stands for all answers that are not valid
    rng = np.random.default_rng(3)
    found = []
    for counts in rng.multinomial(1000, p, size=REPEATS)[:, 1:]:
        found.append(coverage_interval(counts[counts > 0], 1000))
    assert 0.92 <= hit_rate(found, expected_coverage(p[1:], 1000)) <= 0.98


def test_nothing_drawn_and_everything_alike_keep_room_for_the_rare():
    assert coverage_interval([], 1000) == pytest.approx((0, 1.96**2), abs=1e-3)
    low, high = entropy_interval([1000])
    assert low == 0
    assert 0.02 < high < 0.04  # three more answers among a thousand add about 0.024 nats
    assert coverage_interval([1], 1) == (1, 1)
    assert entropy_interval([1]) == (0, 0)


counts = st.lists(st.integers(1, 10**6), min_size=1, max_size=60)


@given(counts, st.randoms())
def test_intervals_hold_the_statistic_stay_in_range_and_ignore_order(k, rng):
    n = sum(k)
    low, high = coverage_interval(k, n)
    assert 1 <= low <= len(k) + 1e-9
    assert len(k) - 1e-9 <= high <= n
    entropy = stats.entropy(k)
    bottom, top = entropy_interval(k)
    assert 0 <= bottom <= entropy + 1e-9
    assert entropy - 1e-9 <= top <= math.log(n) + 1e-9
    shuffled = k.copy()
    rng.shuffle(shuffled)
    assert coverage_interval(shuffled, n) == pytest.approx((low, high), abs=1e-9)
    assert entropy_interval(shuffled) == pytest.approx((bottom, top), abs=1e-9)


def test_intervals_of_a_thousand_draws_take_milliseconds():
    start = time.perf_counter()
    for k in samples(KNOWN["names-embedded"], 1000, 50):
        coverage_interval(k, 1000)
        entropy_interval(k)
    assert (time.perf_counter() - start) / 50 < 0.02


@given(st.floats(0, 1e6), st.floats(-3, 3))
def test_score_offsets_solve_their_equation(variance, slope):
    for d in score_offsets(variance, slope):
        assert d * d == pytest.approx(1.959964**2 * (variance + slope * d), rel=1e-5, abs=1e-5)


def test_mean_interval_is_students():
    x = [1.0, 2.0, 4.0, 8.5]
    expected = stats.t.interval(0.95, 3, loc=np.mean(x), scale=stats.sem(x))
    assert mean_interval(x) == pytest.approx(expected, rel=1e-12)
    assert mean_interval([3.0]) == (-math.inf, math.inf)


def test_rate_interval_is_wilsons():
    z, n, rate = stats.norm.ppf(0.975), 50, 0.1
    middle = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    assert rate_interval(5, 50) == pytest.approx((middle - half, middle + half), rel=1e-12)
    assert rate_interval(0, 50)[0] == 0
    assert rate_interval(50, 50)[1] == 1


def test_interval_of_mean_adds_each_side_in_quadrature():
    found = interval_of_mean([10.0, 20.0], [(7.0, 11.0), (16.0, 20.0)])
    assert found == pytest.approx((15 - 5 / 2, 15 + 1 / 2))
    assert interval_of_mean([math.inf, 2.0], [(math.inf, math.inf), (2.0, 2.0)])[1] == math.inf
    assert interval_of_mean([math.inf, 2.0], [(7.0, math.inf), (1.0, 9.0)]) == (4.0, math.inf)


def test_interval_of_mean_holds_the_mean_of_expectations():
    ps = [KNOWN["collapsed-zipf"], KNOWN["favourite-long-tail"], KNOWN["names-embedded"]]
    truth = np.mean([expected_coverage(p, 1000) for p in ps])
    rng = np.random.default_rng(5)
    found = []
    for _ in range(REPEATS):
        drawn = [k[k > 0] for k in (rng.multinomial(1000, p) for p in ps)]
        intervals = [coverage_interval(k, 1000) for k in drawn]
        found.append(interval_of_mean([k.size for k in drawn], intervals))
    assert 0.92 <= hit_rate(found, truth) <= 0.98
