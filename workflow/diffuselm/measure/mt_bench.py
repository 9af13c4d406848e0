"""The questions of MT-Bench (Zheng et al. 2023; appendix B.5), and the form of answers to them."""

import hashlib
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from diffuselm.config.base import checked
from diffuselm.errors import InputError
from diffuselm.files import web
from diffuselm.files.schemas import NUMBER, STRING, TRUTH, WHOLE, columns
from diffuselm.files.whole import written_whole
from diffuselm.tasks.texts import SLUG

TURNS = 2
# The benchmark's own temperatures; all other categories, such as writing, are sampled at 0.7.
TEMPERATURES = dict.fromkeys(("extraction", "math", "coding", "reasoning"), 0.0)
TEMPERATURES |= dict.fromkeys(("stem", "humanities"), 0.1)

ANSWERS = columns(
    question_id=WHOLE,
    category=STRING,
    turn=WHOLE,
    temperature=NUMBER,
    text=STRING,
    truncated=TRUTH,
)


class Question(BaseModel):
    """One question, in the benchmark's public form; keys beyond these are ignored."""

    model_config = ConfigDict(strict=True, frozen=True)

    question_id: Annotated[int, Field(ge=0, lt=2**63)]
    category: Annotated[str, Field(pattern=f"^{SLUG.pattern}$")]
    turns: Annotated[
        tuple[Annotated[str, Field(min_length=1)], ...],
        Field(min_length=TURNS, max_length=TURNS),
    ]
    reference: Annotated[tuple[str, ...], Field(max_length=TURNS)] = ()  # "" where a turn has none

    @property
    def temperature(self) -> float:
        """Temperature at which both turns are answered; 0 is greedy."""
        return TEMPERATURES.get(self.category, 0.7)


def write_questions(*, source: str, sha256: str | None = None, out: Path) -> None:
    """Check the questions of `source`, a local file or a URL, and write them to `out` as they are.

    Raises InputError, and then writes nothing, also where the file has another `sha256`.
    """
    if "://" in source:
        data = web.request("GET", source, expected="JSON lines").content
    else:
        data = _read(Path(source))
    found = hashlib.sha256(data).hexdigest()
    if sha256 is not None and found != sha256:
        raise InputError(f"{source}: sha256 is {found}, expected {sha256}")
    parse_questions(data, source)
    with written_whole(out) as part:
        part.write_bytes(data)


def read_questions(path: Path) -> list[Question]:
    """Read questions from a local file; raises InputError as `parse_questions` does."""
    return parse_questions(_read(path), str(path))


def parse_questions(data: bytes, origin: str) -> list[Question]:
    """Questions from JSON lines; raises InputError, naming `origin` and the line, for others.

    Each has an id of its own, and there is at least one.
    """
    questions: dict[int, Question] = {}
    for number, line in enumerate(data.splitlines(), start=1):
        question = checked(Question.model_validate_json, line, f"{origin}: line {number}")
        if question.question_id in questions:
            first = list(questions).index(question.question_id) + 1
            raise InputError(
                f"{origin}: line {number} repeats question_id {question.question_id} of line "
                f"{first}; expected it once"
            )
        questions[question.question_id] = question
    if not questions:
        raise InputError(f"{origin}: no lines; expected one question in JSON a line")
    return list(questions.values())


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        found = f"cannot be read ({error.strerror})"
        raise InputError(f"{path}: {found}; expected questions") from error
