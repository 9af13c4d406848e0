"""Stated distributions: the weights of each target set are recomputed from its prompt's text."""

import re
from collections import Counter
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy import stats

from diffuselm.config.config import read_config
from diffuselm.plan.display import Display
from diffuselm.plan.make_plan import make_plan
from diffuselm.tasks.task_files import load_task

ROOT = Path(__file__).parents[2]
PROMPTS = {
    prompt.id.partition("/")[2]: prompt
    for prompt in load_task(ROOT / "resources/tasks/stated.yaml")
}
CONFIG = "config/stated.yaml"
NUMBERS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "eight": 8}
TAIL = r" Output only the (?P<noun>\w+) between two curly braces, like this: {(?P=noun)}\. "
TAIL += "Don’t output code."


def coin(text):
    p = re.fullmatch(
        r"Flip a coin that lands on (\w+) with a probability of (\d+)% and otherwise on (\w+)\.",
        text,
    )
    return {p[1]: int(p[2]), p[3]: 100 - int(p[2])}


def dice(text):
    found = re.fullmatch(
        r"Roll (\w+) fair (\w+)-sided dice and (add them up|take the (?:highest|lowest) number)\.",
        text,
    )
    faces = range(1, NUMBERS[found[2]] + 1)
    how = {"a": sum, "h": max, "l": min}[found[3].removeprefix("take the ")[0]]
    return Counter(how(roll) for roll in product(faces, repeat=NUMBERS[found[1]]))


def normal(text):
    mean, sd, below, low, above, high = map(
        int,
        re.fullmatch(
            r"Draw a number from a normal distribution with a mean of (\d+) and a standard "
            r"deviation of (\d+), and round it to a whole number; if it is less than (\d+), say "
            r"(\d+), and if it is more than (\d+), say (\d+)\.",
            text,
        ).groups(),
    )
    assert (below, above) == (low, high)
    ends = stats.norm.cdf([-np.inf, *(np.arange(low, high) + 0.5), np.inf], mean, sd)
    return dict(zip(range(low, high + 1), np.diff(ends), strict=True))


def urn(text):
    [balls] = re.fullmatch(r"Draw a ball at random from an urn with (.*) balls\.", text).groups()
    return {colour: int(number) for number, colour in re.findall(r"(\d+) (\w+)", balls)}


def weighted(text):
    if shares := re.findall(r"(\w+) with a probability of (\d+)%", text):
        assert sum(int(share) for _, share in shares) == 100
        return {item: int(share) for item, share in shares}
    listed, stated = re.fullmatch(r"Pick an? \w+ at random from (.*), where (.*)\.", text).groups()
    ratios = re.findall(r"(\w+) is (?:(\w+)(?: times)? )?as likely as (\w+)", stated)
    items = re.split(", | and ", listed)
    assert [pair[::2] for pair in ratios] == list(pairwise(items))
    weights = {items[-1]: 1}
    for more, times, less in reversed(ratios):
        weights[more] = {"": 1, "twice": 2, **NUMBERS}[times] * weights[less]
    return {item: weights[item] for item in items}


def binomial(text):
    times, percent = re.fullmatch(
        r"Flip a coin (\d+) times, which lands on heads with a probability of (\d+)% each time, "
        r"and count the heads\.",
        text,
    ).groups()
    heads = range(int(times) + 1)
    return dict(zip(heads, stats.binom.pmf(heads, int(times), int(percent) / 100), strict=True))


def geometric(text):
    percent, most, end = map(
        int,
        re.fullmatch(
            r"Flip a coin that lands on heads with a probability of (\d+)% until it lands on "
            r"heads, and count the flips; if there are more than (\d+), say (\d+)\.",
            text,
        ).groups(),
    )
    assert most == end
    weights = {flips: stats.geom.pmf(flips, percent / 100) for flips in range(1, end)}
    return weights | {end: stats.geom.sf(end - 1, percent / 100)}


def zipf(text):
    listed, power = re.fullmatch(
        r"Pick a word at random from (.*), where the k-th word has a probability proportional to "
        r"1/k(?:\^(\d))?\.",
        text,
    ).groups()
    words = re.split(", | and ", listed)
    return {word: 1 / rank ** int(power or 1) for rank, word in enumerate(words, start=1)}


FAMILIES = [coin, dice, normal, urn, weighted, binomial, geometric, zipf]
OF_FAMILY = {family.__name__: family for family in FAMILIES}


@pytest.mark.parametrize("slug", PROMPTS)
def test_weights_are_those_that_the_text_states(slug):
    prompt = PROMPTS[slug]
    whole = re.fullmatch(f"(.*?){TAIL}", prompt.text)
    stated = OF_FAMILY[slug.partition("-")[0]](whole[1])
    total = sum(stated.values())
    assert list(prompt.targets.texts) == list(map(str, sorted_where_numbers(stated)))
    expected = [stated[text] / total for text in sorted_where_numbers(stated)]
    assert prompt.targets.weights == pytest.approx(expected, rel=1e-5)  # six digits


def sorted_where_numbers(stated):
    return sorted(stated) if isinstance(next(iter(stated)), int) else list(stated)


def test_no_two_prompts_are_alike_and_every_family_has_several():
    assert len({prompt.text for prompt in PROMPTS.values()}) == len(PROMPTS) >= 45
    count = Counter(slug.partition("-")[0] for slug in PROMPTS)
    assert count.keys() == OF_FAMILY.keys()
    assert min(count.values()) >= 6


@pytest.fixture(scope="module")
def plan():
    return make_plan(read_config(yaml.safe_load((ROOT / CONFIG).read_text()), CONFIG), CONFIG)


def test_a_third_is_of_families_that_are_never_tuned_on_and_others_are_unseen_too(plan):
    tuned = {id.partition("/")[2] for id in plan.tuned_on["stated"]}
    families = {slug.partition("-")[0] for slug in tuned}
    unseen = [slug for slug in PROMPTS if slug.partition("-")[0] not in families]
    assert len(unseen) * 3 >= len(PROMPTS)
    for family in families:
        assert [s for s in PROMPTS if s.startswith(f"{family}-") and s not in tuned]


def test_nothing_is_tuned_on_the_prompts_that_are_held_out(plan):
    tunings = plan.tunings("smollm2-135m-instruct")
    assert tunings == ["base", "held", "form", "stated"]
    for tuning in tunings:
        assert "stated" in plan.measured("smollm2-135m-instruct", tuning)
    assert Display(plan).has_table(10)
    assert not Display(plan).own_tasks
