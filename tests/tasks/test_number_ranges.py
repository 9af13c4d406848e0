"""Ranges: appendix A.1's five formats, and random ranges that depend on the seed alone."""

import re
from pathlib import Path

import numpy as np
import pytest

from diffuselm.config.ranges import RangesSettings
from diffuselm.tasks.number_ranges import FORMATS, LOWEST, range_prompts, write_ranges
from diffuselm.tasks.task_files import load_task

HIGHS, SIZES, VERSIONS = (5, 20), (10, 25), 3
# Appendix A.1, for the numbers from 1 to 20.
PRINTED = {
    "format-1-to-20": "Randomly pick an integer between 1 and 20. Do not provide any code. Output "
    "only the number between two curly braces, like this: {number}. Don’t output code.",
    "format-2-to-20": "Output a number uniform randomly from the range 1 to 20, inclusive. Output "
    "the number between two curly braces, like this: {number}. Don’t output code.",
    "format-3-to-20": "Choose a number at random between 1 and 20. Output your chosen number bweet "
    "two curly braces, like this {number}.",
    "format-4-to-20": "Select an integer completely at random from the interval [1, 20]. Output "
    "the selected integer between two curly braces, like this {n}.",
    "format-5-to-20": "I need you to pick a number completely at random. The number should be "
    "between 1 and 20. Print the number between two curly braces, like this: {n}.",
}


def prompts(seed=1, highs=HIGHS, sizes=SIZES, versions=VERSIONS):
    return range_prompts(RangesSettings(highs=highs, sizes=sizes, versions=versions), seed)


def low_and_size(prompt):
    targets = prompt["targets"]
    assert targets == list(range(targets[0], targets[0] + len(targets)))
    return targets[0], len(targets)


def test_each_high_is_asked_in_five_formats_and_each_size_in_all_versions():
    formats = [f"format-{number}-to-{high}" for high in HIGHS for number in range(1, 6)]
    sizes = [f"size-{size}-version-{version}" for size in SIZES for version in range(1, 4)]
    assert list(prompts()) == formats + sizes


@pytest.mark.parametrize("slug", PRINTED)
def test_formats_are_the_papers_to_the_letter(slug):
    assert prompts()[slug]["text"] == PRINTED[slug]


def test_targets_are_all_numbers_that_the_text_asks_for():
    for slug, prompt in prompts().items():
        low, size = low_and_size(prompt)
        asked = [int(number) for number in re.findall(r"\d+", prompt["text"])]
        assert asked == [low, low + size - 1]
        if slug.startswith("format"):
            assert slug.endswith(f"-to-{size}")
            assert low == 1
        else:
            assert slug.startswith(f"size-{size}-")
            assert LOWEST[0] <= low <= LOWEST[1]


def test_random_ranges_are_asked_for_in_the_first_format():
    shape = re.escape(FORMATS[0].format(low="LOW", high="HIGH"))
    shape = shape.replace("LOW", r"\d+").replace("HIGH", r"\d+")
    sized = [prompt["text"] for slug, prompt in prompts().items() if slug.startswith("size")]
    assert all(re.fullmatch(shape, text) for text in sized)


def test_lows_cover_1_to_900_evenly():
    drawn = prompts(highs=(2,), sizes=(2,), versions=1000)
    lows = [low_and_size(p)[0] for slug, p in drawn.items() if slug.startswith("size")]
    assert 1 <= min(lows) <= 10
    assert 890 <= max(lows) <= 900
    assert np.histogram(lows, bins=9, range=(0.5, 900.5))[0] == pytest.approx(1000 / 9, rel=0.3)


def test_a_range_depends_on_the_seed_its_size_and_version_alone():
    alone = prompts(highs=(7,), sizes=(25,), versions=2)
    assert alone["size-25-version-2"] == prompts()["size-25-version-2"]
    assert prompts() == prompts()
    assert prompts(seed=2)["size-25-version-2"] != prompts()["size-25-version-2"]


def test_the_written_file_is_a_task_of_these_prompts(tmp_path):
    ranges = RangesSettings(highs=HIGHS, sizes=SIZES, versions=VERSIONS)
    write_ranges(ranges=ranges, seed=1, out=tmp_path / "ranges.yaml")
    read = load_task(tmp_path / "ranges.yaml")
    assert {p.id: (p.text, [int(t) for t in p.targets.texts]) for p in read} == {
        f"ranges/{slug}": (p["text"], p["targets"]) for slug, p in prompts().items()
    }
    again = tmp_path / "again" / "ranges.yaml"
    write_ranges(ranges=ranges, seed=1, out=again)
    assert again.read_bytes() == (tmp_path / "ranges.yaml").read_bytes()
    assert not list(Path(tmp_path).rglob("*.part"))


def test_the_paper_has_forty_formats_and_five_ranges_of_each_size():
    settings = RangesSettings()
    found = range_prompts(settings, 1)
    kinds = [slug.partition("-")[0] for slug in found]
    assert (kinds.count("format"), kinds.count("size")) == (40, 5 * len(settings.sizes))
