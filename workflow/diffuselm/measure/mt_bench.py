"""MT-Bench (Zheng et al. 2023; appendix B.5): its questions, and a model's two answers to each."""

import hashlib
import io
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from diffuselm.errors import InputError, expectation
from diffuselm.files.contracts import written_whole
from diffuselm.tasks.tasks import SLUG

# Only answering needs torch; questions and the judge do without.
if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedModel

    from diffuselm.model.chat import ChatFormat

TURNS = 2
# The benchmark's own temperature for each category; it samples a category it does not know at 0.7.
TEMPERATURES = {
    "writing": 0.7,
    "roleplay": 0.7,
    "extraction": 0.0,
    "math": 0.0,
    "coding": 0.0,
    "reasoning": 0.0,
    "stem": 0.1,
    "humanities": 0.1,
}
UNKNOWN_TEMPERATURE = 0.7
TIMEOUT_SECONDS = 60.0  # without a byte from the server

ANSWERS = pa.schema(
    [
        ("question_id", pa.int64()),
        ("category", pa.string()),
        ("turn", pa.int64()),
        ("temperature", pa.float64()),
        ("text", pa.string()),
        ("truncated", pa.bool_()),
    ]
)


class Question(BaseModel):
    """One question, in the benchmark's public form; keys beyond these are left alone."""

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
        return TEMPERATURES.get(self.category, UNKNOWN_TEMPERATURE)


def write_questions(source: str, out: Path, *, sha256: str | None) -> None:
    """Check the questions of `source`, a local file or a URL, and write them to `out` as they are.

    `sha256`, where given, is that of the whole file, in hexadecimal.
    Raises InputError, and then writes nothing.
    """
    data = _download(source) if "://" in source else _read(Path(source))
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
    """Questions from JSON lines, in the order of the file.

    Raises InputError, naming `origin` and the line, for anything but a question with an id of its
    own, and for no question at all.
    """
    questions: list[Question] = []
    lines: dict[int, int] = {}
    for number, line in enumerate(data.splitlines(), start=1):
        try:
            question = Question.model_validate_json(line)
        except ValidationError as error:
            raise InputError(f"{origin}: line {number}: {_first(error)}") from error
        first = lines.setdefault(question.question_id, number)
        if first != number:
            raise InputError(
                f"{origin}: line {number} repeats question_id {question.question_id} of line "
                f"{first}; expected it once"
            )
        questions.append(question)
    if not questions:
        raise InputError(f"{origin}: no lines; expected one question in JSON a line")
    return questions


def answer(
    model: "PreTrainedModel",
    chat: "ChatFormat",
    question: Question,
    *,
    max_tokens: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Answer both turns, the second after the first and its answer: two rows of `ANSWERS`.

    Sampled at the category's temperature, without top-k or top-p; at most `max_tokens` tokens each.
    """
    import torch

    torch.manual_seed(seed)
    spoken: list[str] = []
    rows = []
    for turn, request in enumerate(question.turns, start=1):
        spoken.append(request)
        prompt = conversation_ids(chat, spoken)
        tokens = _generate(model, chat, prompt, question.temperature, max_tokens)
        spoken.append(chat.decode(tokens))
        rows.append(
            {
                "question_id": question.question_id,
                "category": question.category,
                "turn": turn,
                "temperature": question.temperature,
                "text": spoken[-1],
                "truncated": tokens[-1] not in chat.end_tokens,
            }
        )
    return rows


def conversation_ids(chat: "ChatFormat", spoken: "Sequence[str]") -> list[int]:
    """Token ids before the model's next answer, after what user and model said in turn.

    Raises InputError where the chat template refuses the conversation.
    """
    roles = cycle(["user", "assistant"])
    turns = [{"role": role, "content": text} for role, text in zip(roles, spoken, strict=False)]
    return chat.encode(chat.render(turns, add_generation_prompt=True))


def _generate(
    model: "PreTrainedModel",
    chat: "ChatFormat",
    prompt: "Sequence[int]",
    temperature: float,
    max_tokens: int,
) -> list[int]:
    """Token ids of one answer, the end token included."""
    import torch
    from transformers import GenerationConfig

    sampling = {"temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature else {}
    settings = GenerationConfig(
        do_sample=temperature > 0,
        max_new_tokens=max_tokens,
        eos_token_id=list(chat.end_tokens),
        pad_token_id=chat.end_tokens[0],
        **sampling,
    )
    ids = torch.tensor([prompt], device=model.device)
    with torch.inference_mode():
        found = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=settings
        )
    return found[0, len(prompt) :].tolist()


def _download(url: str) -> bytes:
    import requests
    from pooch import HTTPDownloader

    body = io.BytesIO()
    try:
        HTTPDownloader(timeout=TIMEOUT_SECONDS)(url, body, None)
    except requests.RequestException as error:
        cause = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{url}: download failed ({cause}); expected JSON lines") from error
    return body.getvalue()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); expected questions"
        ) from error


def _first(error: ValidationError) -> str:
    """The first problem of a line: its key, what was found, and what was expected."""
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    return f"{key + ': ' if key else ''}found {str(first['input'])[:80]!r}; {expectation(first)}"
