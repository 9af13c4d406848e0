"""95% intervals for the expectation of a statistic of N draws, over repeated draws of N.

Distinct counts (Eq. 4) and plug-in entropy (Eq. 3) are biased for the model's own support and
entropy, but each is by definition unbiased for its own expectation at N. So an interval is centred
on what was observed and only needs its variance. The bootstrap gets that wrong: it draws from a
sample that has already lost the rare outcomes, and near a uniform distribution it counts the
second-order part twice. Instead, both statistics are sums of g(count) over outcomes, and for
Poisson counts K

    Var g(K) = E[ sum over m >= 1 of (-1)^(m+1) C(K, m) (D^m g(K - m))^2 ],  D the difference,

the jackknife variance with its bias removed order by order (Efron and Stein 1981; for the step
g = 1[K > 0] it is the estimator of Good and Toulmin 1956). Fixing N takes (sum K Dg)^2 / N off.

What no interval from N draws can see: for entropy, an outcome so rare (a few times 1/N or less)
that none was drawn; where such outcomes carry the variance, entropy's upper end is too low. The
upper end for coverage does allow for them (Poisson: none seen is compatible with up to about 3.8
more), also where coverage is in truth fixed.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import binom, stdtrit, xlogy
from scipy.stats import binomtest

Interval = tuple[float, float]

_Z = 1.959963984540054  # the normal distribution's 97.5% point
# Terms of an alternating series fade by the binomial weights of Efron and Thisted (1976): the sum
# stays unbiased where it matters (small counts) and large counts do not add noise of +-1 each.
_TERMS = 12
_FADE = [
    sum(math.comb(_TERMS, j) for j in range(k, _TERMS + 1)) / 2**_TERMS
    for k in range(1, _TERMS + 1)
]
_ENTROPY_FADE = (1.0, 1.0, 0.5)  # from the second order on
_SMALL = 64  # above this count terms 3 and on are below 1/(6 x 64), and rounding would outgrow them


def coverage_interval(counts: ArrayLike, draws: int) -> Interval:
    """95% interval for the expected number of distinct outcomes in `draws` draws (Eq. 4).

    `counts` (shape: distinct outcomes) are how often each was drawn, all positive; their sum may
    stay below `draws` where some draws do not count (coverage of valid answers).
    """
    k = np.asarray(counts, dtype=np.int64)
    singles = int((k == 1).sum())
    fading = (
        sum((-1) ** i * fade * int((k == i + 1).sum()) for i, fade in enumerate(_FADE))
        - singles**2 / draws
    )
    # The series is noise around a variance near 0; what the rare counts let one expect is then
    # the better guess, and the larger of both errs to the wide side.
    variance = max(fading, _assemblage_variance(k, draws), 0.0)
    # New outcomes come as a Poisson count (variance grows 1:1); repeats do where nearly all is new.
    slope = 1.0 - 2.0 * singles / draws
    # Coverage is a whole number: a half step back keeps the lower end from jumping past its mean.
    low = k.size + score_offsets(variance, slope - 0.5)[0]
    high = k.size + score_offsets(variance, slope)[1]
    return max(low, float(min(k.size, 1))), min(high, float(draws))


def entropy_interval(counts: ArrayLike) -> Interval:
    """95% interval (nats) for the expected plug-in entropy (Eq. 3) of N = sum of `counts` draws.

    `counts` (shape: distinct outcomes) are how often each was drawn, all positive.
    """
    k = np.asarray(counts, dtype=np.float64)
    draws = k.sum()
    # g(k) = k log k: entropy is log N - sum g / N. Row m holds D^m g(k - m).
    g = np.stack([xlogy(np.maximum(k - j, 0), np.maximum(k - j, 0)) for j in range(5)])
    step = {m: sum((-1) ** j * math.comb(m, j) * g[j] for j in range(m + 1)) for m in range(1, 5)}
    first = step[1]
    mean = (k * first).sum() / draws
    jackknife = (k * (first - mean) ** 2).sum()
    higher = sum(
        (-1) ** (m + 1) * fade * (np.where((m > 2) & (k > _SMALL), 0, binom(k, m)) * step[m] ** 2)
        for m, fade in enumerate(_ENTROPY_FADE, start=2)
    ).sum()
    # The second order too is centred when N is fixed: S - 1, not S, for S even outcomes.
    pairs = k * (k - 1) * step[2]
    higher += (pairs * k * step[2]).sum() / draws - 0.5 * (pairs.sum() / draws) ** 2
    entropy = max(math.log(draws) - g[0].sum() / draws, 0.0)
    offsets = score_offsets(
        max(jackknife + higher, 0.0) / draws**2, _entropy_slope(k, first - mean, jackknife)
    )
    return float(max(entropy + offsets[0], 0.0)), float(min(entropy + offsets[1], math.log(draws)))


def distinct_interval(counts: ArrayLike, few: int) -> Interval:
    """95% interval for the expected number of distinct outcomes among `few` draws.

    `counts` (shape: distinct outcomes) are how often each was drawn among N > `few`. The variance
    of the value, the mean over all choices of `few` of the N, is the jackknife's, which errs to the
    wide side (Efron and Stein 1981).
    """
    k, times = np.unique(np.asarray(counts, dtype=np.int64), return_counts=True)
    draws = int((k * times).sum())
    value = float((times * chance_among(k, draws, few)).sum())
    # Without one draw of an outcome: all others as they are, and this one drawn once less.
    kept = chance_among(k, draws - 1, few)
    without = (times * kept).sum() - kept + chance_among(k - 1, draws - 1, few)
    share = times * k / draws
    influence = (draws - 1) * ((share * without).sum() - without)
    variance = (share * influence**2).sum()
    slope = _distinct_slope(k / draws, share, influence, few)
    low, high = score_offsets(variance / draws, slope / draws)
    return max(value + low, 1.0), min(value + high, float(few))


def chance_among(counts: np.ndarray, draws: int, few: int) -> np.ndarray:
    """Chance that `few` of N `draws` hold an outcome, by how often it is among them (counts)."""
    left = draws - np.arange(few)
    return 1 - np.prod(np.maximum(left - counts[:, None], 0) / left, axis=1)


def mean_interval(values: ArrayLike) -> Interval:
    """95% t interval for the mean of independent `values`; unbounded for a single value."""
    x = np.asarray(values, dtype=np.float64)
    if x.size < 2:
        return -math.inf, math.inf
    mean = math.fsum(x) / x.size
    deviation = math.sqrt(math.fsum((x - mean) ** 2) / (x.size - 1))
    half = float(stdtrit(x.size - 1, 0.975)) * deviation / math.sqrt(x.size)
    return mean - half, mean + half


def rate_interval(successes: int, draws: int) -> Interval:
    """95% Wilson interval for the probability behind `successes` in `draws`."""
    interval = binomtest(successes, draws).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def interval_of_mean(values: Sequence[float], intervals: Sequence[Interval]) -> Interval:
    """95% interval for the mean of independent statistics, each given with its own interval.

    The distances to the lower ends, and apart from them to the upper ends, add in quadrature.
    """
    mean = sum(values) / len(values)
    if math.isinf(mean):  # distances to it are none; it is at least the mean of the lower ends
        return sum(low for low, _ in intervals) / len(values), mean

    def spread(end: int) -> float:
        pairs = zip(values, intervals, strict=True)
        return math.hypot(*(v - ci[end] for v, ci in pairs)) / len(values)

    return mean - spread(0), mean + spread(1)


def score_offsets(variance: float, slope: float) -> Interval:
    """Return the roots d of d^2 = z^2 (variance + slope d): the ends of a score interval.

    `variance` is that of the statistic as estimated at its observed value, `slope` how fast it
    changes with the expectation. Slope 1 and variance k give Wilson's interval for a Poisson k.
    """
    middle = _Z**2 * slope / 2
    root = math.sqrt(max(_Z**2 * variance + middle**2, 0.0))
    return middle - root, middle + root


def _entropy_slope(k: np.ndarray, influence: np.ndarray, jackknife: float) -> float:
    """How fast the variance of plug-in entropy changes with its expectation.

    Along the least favourable family (p tilted by its own log) the slope is the third over the
    second moment of -log p, less 2; at a uniform distribution -2/N gives the chi-square's shape.
    A negative ratio is noise of rare counts.
    """
    draws = k.sum()
    if k.size == 1:  # all alike: a rare other answer would add (log N + 1) / N, a Poisson count
        return (math.log(draws) + 1) / draws
    third = -(k * influence**3).sum()
    return (max(third / jackknife, 0.0) if jackknife > 0 else 0.0) / draws - 2 / draws


def _distinct_slope(p: np.ndarray, share: np.ndarray, influence: np.ndarray, few: int) -> float:
    """How fast the variance of one draw's influence changes with the expectation of `few` draws.

    Along p tilted by the influence: its third over its second moment (as in `_entropy_slope`), and
    twice the mean of p f'', f = 1 - (1 - p)^few, weighted by the influence. `share` is that of all
    outcomes of one p.
    """
    if p.size == 1 and p[0] == 1:  # a rare other answer would add few / N, a Poisson count
        return float(few)
    even = (share * influence**2).sum() < 1e-12  # but for rounding
    weight = share if even else share * influence**2
    bend = few * (few - 1) * (weight * p * (1 - p) ** (few - 2)).sum() / weight.sum()
    skew = 0.0 if even else (weight * influence).sum() / weight.sum()
    return max(float(skew), 0.0) - 2 * float(bend)


def _assemblage_variance(k: np.ndarray, draws: int) -> float:
    """Variance of coverage under the assemblage that Chao et al. (2014, app. G) draw from.

    Seen outcomes give up the unseen mass (Good and Turing), the rarer the more; Chao's lower bound
    on the number unseen shares it evenly.
    """
    f1, f2 = int((k == 1).sum()), int((k == 2).sum())
    if f2:
        unseen_mass = f1 / draws * (draws - 1) * f1 / ((draws - 1) * f1 + 2 * f2)
        unseen = math.ceil((draws - 1) / draws * f1**2 / (2 * f2))
    else:
        pairs = (draws - 1) * max(f1 - 1, 0)
        unseen_mass = f1 / draws * pairs / (pairs + 2)
        unseen = math.ceil((draws - 1) / draws * f1 * max(f1 - 1, 0) / 2)
    share = k / draws
    missed = (1 - share) ** draws
    weight = min(unseen_mass / total, 1.0) if (total := (share * missed).sum()) > 0 else 0.0
    rate = draws * share * (1 - weight * missed)
    if unseen:
        rate = np.concatenate([rate, np.full(unseen, draws * unseen_mass / unseen)])
    absent = np.exp(-rate)
    return float((absent * (1 - absent)).sum() - (rate * absent).sum() ** 2 / draws)
