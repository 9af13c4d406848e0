"""The numbers that claims compare: metrics, their ratios and differences, and a few of their own.

Every measure is an estimate with a 95% interval. An interval of two numbers together takes their
ends farthest apart: wider than it need be, never too narrow.
"""

import math
import re
import statistics
from collections.abc import Callable, Mapping, Sequence, Set
from typing import NamedTuple

from diffuselm.config.paper import PAPER_MODELS
from diffuselm.paper.claims import Cell, Part, Take
from diffuselm.paper.comparison import ModelRecord, Models, Numbers
from diffuselm.paper.ranges_by_size import TASK, range_of

# Ranges of the tunings rng-10 and rng-100, which figure 2a's claim about unseen ones leaves out.
_SEEN = (10, 100)
_TEMPERATURE = re.compile(r"temperature (\d+(?:\.\d+)?)")


class Estimate(NamedTuple):
    """A number with both ends of its 95% interval, the draws behind it, and a remark."""

    value: float
    low: float
    high: float
    n: int
    remark: str = ""


class AbsentError(LookupError):
    """A number that a claim needs was not measured."""


class InapplicableError(LookupError):
    """A claim compares models: others than this one, or some that were not run."""


class Measured(NamedTuple):
    """All numbers by field, the models they are of, and the answers that they were counted among.

    `answers` are those to each prompt under each seed, by model, tuning, and prompt or task.
    """

    numbers: Mapping[str, Numbers]
    models: Models
    answers: Mapping[tuple[str, str, str], Set[int]]

    def get(self, asked: Cell, model: ModelRecord) -> Estimate:
        """What stands for `asked`; raises AbsentError, naming it, where there is none."""
        cell = asked.measured(model)
        number = self.numbers.get(cell.field, {}).get(cell.key(model.model))
        if number is None or math.isnan(number.value):
            raise AbsentError(f"no {cell}")
        low, high = (number.value if math.isnan(end) else end for end in number[1:3])
        return Estimate(number.value, low, high, number.n)


# A measure of parts: what a claim's `take` names.
Measure = Callable[[Sequence[Part], ModelRecord, Measured], Estimate]


def measured(part: Part, model: ModelRecord, metrics: Measured) -> Estimate:
    """One part; raises AbsentError where a number is missing or a ratio is 0 / 0."""
    a = metrics.get(part.cell, model)
    if part.minus:
        return _difference(a, metrics.get(part.minus, model))
    if part.over:
        ratio = _ratio(a, metrics.get(part.over, model))
        if math.isnan(ratio.value):
            both = f"{part.cell.measured(model)} and {part.over.measured(model)}"
            raise AbsentError(f"ratio: {both} are both 0")
        return ratio
    return a


def _difference(a: Estimate, b: Estimate) -> Estimate:
    return Estimate(a.value - b.value, a.low - b.high, a.high - b.low, min(a.n, b.n))


def _ratio(a: Estimate, b: Estimate) -> Estimate:
    """The ratio of numbers of 0 or more; an end that is 0 / 0 is open."""
    low, high = _over(a.low, b.high), _over(a.high, b.low)
    ends = 0.0 if math.isnan(low) else low, math.inf if math.isnan(high) else high
    return Estimate(_over(a.value, b.value), *ends, min(a.n, b.n))


def _over(a: float, b: float) -> float:
    if b:
        return a / b
    return math.inf if a > 0 else math.nan


def _combined(combine: Callable[[list[float]], float], estimates: Sequence[Estimate]) -> Estimate:
    """`combine`, monotone in each number, of the values and of either end."""
    values, lows, highs, ns, _ = (list(column) for column in zip(*estimates, strict=True))
    return Estimate(combine(values), combine(lows), combine(highs), min(ns))


def _each(combine: Callable[[list[float]], float]) -> Measure:
    """Make the measure that combines each part's estimate."""

    def take(parts: Sequence[Part], model: ModelRecord, metrics: Measured) -> Estimate:
        return _combined(combine, [measured(part, model, metrics) for part in parts])

    return take


def _largest_gaps(parts: Sequence[Part], model: ModelRecord, metrics: Measured) -> Estimate:
    """By how much the smaller of the first two parts exceeds the largest of the others."""
    gaps = [measured(part, model, metrics) for part in parts]
    return _difference(_combined(min, gaps[:2]), _combined(max, gaps[2:]))


def _above_other_models(parts: Sequence[Part], model: ModelRecord, metrics: Measured) -> Estimate:
    """By how much the model exceeds the other models, in the part where that is least."""
    gains = [
        _difference(measured(part, model, metrics), measured(part, other, metrics))
        for part in parts
        for other in _peers(model, metrics)
        if other != model
    ]
    return _combined(min, gains)


def _spread_of_models(parts: Sequence[Part], model: ModelRecord, metrics: Measured) -> Estimate:
    """Largest less smallest among the models, of the cells, over that of those they are `over`.

    Each spread is averaged over the parts.
    """
    peers = _peers(model, metrics)

    def spread(cells: Sequence[Cell]) -> Estimate:
        found = [[metrics.get(cell, peer) for peer in peers] for cell in cells]
        spreads = [_difference(_combined(max, each), _combined(min, each)) for each in found]
        low_at_0 = [each._replace(low=max(each.low, 0.0)) for each in spreads]
        return _combined(statistics.fmean, low_at_0)

    over = [part.over for part in parts if part.over]
    return _ratio(spread([part.cell for part in parts]), spread(over))


def _peers(model: ModelRecord, metrics: Measured) -> list[ModelRecord]:
    """The models that the paper's comparison across models is made of: its three, or stand-ins."""
    peers = [m for m in metrics.models if m.paper_model and m.stand_in == model.stand_in]
    if model not in peers:
        raise InapplicableError("it compares the paper's three models, and this is none of them")
    if len({peer.paper_model for peer in peers}) < len(PAPER_MODELS):
        raise InapplicableError("it compares the paper's three models, and not all were run")
    return peers


def _share_of_uniform(parts: Sequence[Part], model: ModelRecord, metrics: Measured) -> Estimate:
    """Least mean entropy over log n of the unseen ranges 1 to n of figure 2a, over n.

    Its interval is that of draws from these formats; the figure's, of formats like these, is wider.
    """
    shares = []
    for high, estimates in _by_size("formats", parts[0], model, metrics).items():
        if high not in _SEEN:
            mean = _combined(statistics.fmean, estimates)
            shares.append(Estimate(*(end / math.log(high) for end in mean[:3]), mean.n))
    if not shares:
        raise AbsentError(f"no {parts[0].cell.metric} of unseen ranges")
    return _combined(min, shares)


def _gain_at_sizes(parts: Sequence[Part], model: ModelRecord, metrics: Measured) -> Estimate:
    """The part's difference, averaged over figure 2b's versions, at the size where it is least."""
    groups = _by_size("sizes", parts[0], model, metrics)
    return _combined(min, [_combined(statistics.fmean, group) for group in groups.values()])


def _by_size(
    panel: str, part: Part, model: ModelRecord, metrics: Measured
) -> dict[int, list[Estimate]]:
    """The part's estimate for each prompt of figure 2's `panel`, as its EACH, by size of range."""
    groups: dict[int, list[Estimate]] = {}
    keys = metrics.numbers.get("value", {})
    asked = dict.fromkeys(prompt for _, _, task, prompt, _ in keys if task == TASK and prompt)
    for prompt in asked:
        own_panel, size = range_of(prompt)
        if own_panel == panel:
            groups.setdefault(size, []).append(measured(part.filled("of", prompt), model, metrics))
    if not groups:
        raise AbsentError(f"no prompts of figure 2's {panel}")
    return groups


def _temperature_needed(parts: Sequence[Part], model: ModelRecord, metrics: Measured) -> Estimate:
    """The temperature at which the first part's cell reaches the second part (footnote 6).

    The value is the first temperature of the sweep that does, or the last one swept. The interval
    lies between the last that surely does not and the first that surely does.
    """
    swept, aim = parts[0].cell, measured(parts[1], model, metrics)
    key = swept.measured(model).key(model.model)
    sweep = sorted(
        (float(fits[1]), metrics.get(swept.model_copy(update={"field": field}), model))
        for field, numbers in metrics.numbers.items()
        if key in numbers and (fits := _TEMPERATURE.fullmatch(field))
    )
    if not sweep:
        raise AbsentError(f"no {swept.measured(model)} at other temperatures")
    reached = [t for t, found in sweep if found.value >= aim.value]
    maybe = [t for t, found in sweep if found.high >= aim.low]
    usual = metrics.get(swept, model)  # at temperature 1
    below = [1.0] if usual.high < aim.low else []
    below += [t for t, _ in sweep if not maybe or t < maybe[0]]
    value = reached[0] if reached else sweep[-1][0]
    # Just above the last temperature that does not reach it.
    low = math.nextafter(below[-1], math.inf) if below else 0.0
    high = next((t for t, found in sweep if found.low >= aim.high), math.inf)
    at = {"field": f"temperature {value:g}", "metric": "valid_rate"}
    valid = metrics.get(swept.model_copy(update=at), model).value
    how = "reached" if reached else "not reached"
    return Estimate(value, low, high, aim.n, f"{how} at {value:g}, where {valid:.0%} is valid")


# What a claim's `take` may name.
MEASURES: dict[Take, Measure] = {
    "smallest": _each(min),
    "second smallest": _each(lambda parts: sorted(parts)[1]),
    "median": _each(statistics.median),
    "mean": _each(statistics.fmean),
    "largest gaps": _largest_gaps,
    "above other models": _above_other_models,
    "spread of models": _spread_of_models,
    "share of uniform": _share_of_uniform,
    "gain at sizes": _gain_at_sizes,
    "temperature needed": _temperature_needed,
}
