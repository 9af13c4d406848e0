"""The bias of a stand-in: an answer distribution collapsed onto a few favourites per concept."""

import numpy as np

from diffuselm.files.seeds import derive
from diffuselm.stand_in.questions import Question
from diffuselm.tasks.prompts import task_of

# What is left of the wide distribution, so that base entropies fall where Tables 4 to 6 see them.
LEAK = {
    "names": 0.2,
    "surnames": 0.2,
    "occupations": 0.2,
    "fruits": 0.12,
    "countries": 0.08,
    "dates": 0.08,
    "numbers": 0.002,
    "others": 0.08,
}
RATIO = 0.42  # each favourite comes up this much as often as the one before it


def collapse(question: Question, seed: int) -> Question:
    """The same question with geometrically fewer of each next favourite, and a leak of the rest.

    Favourites belong to the concept, whatever the phrasing; those of numbers follow from their
    digits, as in any range a chat model likes its sevens.
    """
    task = task_of(question.concept)
    if task not in LEAK:
        return question
    liking = [_liking(task, answer, seed) for answer in question.answers]
    rank = np.argsort(np.argsort(liking))
    favourites = RATIO ** rank.astype(float)
    leak = LEAK[task]
    weights = (1 - leak) * favourites / favourites.sum() + leak * question.weights
    return Question(question.concept, question.text, question.answers, weights)


def _liking(task: str, answer: str, seed: int) -> float:
    """Lower is better liked: a hash of the answer, for numbers and days of its digits."""
    digits = [c for c in answer if c.isdigit()]
    if digits:
        places = zip(range(len(digits)), reversed(digits), strict=True)
        return sum(derive(seed, "digit", digit) / 2**63 * 10.0**-place for place, digit in places)
    return float(derive(seed, task, answer))
