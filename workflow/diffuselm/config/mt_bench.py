"""MT-Bench (appendix B.5) and its judge."""

import re
from typing import Annotated, Self

from pydantic import Field, model_validator

from diffuselm.config.base import WHOLE, Count, Settings


class JudgeSettings(Settings):
    """The language model that grades MT-Bench's answers, behind an OpenAI-compatible endpoint."""

    url: str
    """The endpoint, up to and without `/chat/completions`, such as `http://localhost:8000/v1`."""
    model: Annotated[str, Field(min_length=1)]
    """The model's pinned name at the endpoint."""
    key_env: str | None = None
    """NAME of the environment variable that holds the key; none where the endpoint needs none."""
    repeats: Annotated[int, Field(ge=1, le=100), WHOLE] = 3
    """Verdicts on each answer, of which the median counts."""

    # Errors that show no value: it may be a secret in the wrong place.
    @model_validator(mode="after")
    def _holds_no_secret(self) -> Self:
        if not re.fullmatch(r"https?://[^\s@?#]+", self.url):
            raise ValueError("url: expected http(s)://host/path, without user, password or query")
        if self.key_env is not None and not re.fullmatch(r"[A-Z_][A-Z0-9_]*", self.key_env):
            raise ValueError("key_env: expected an environment variable's NAME, not the key itself")
        return self


class MtBenchSettings(Settings):
    """MT-Bench (appendix B.5): its questions, answered under `base` and `all`, and their judge."""

    questions: Annotated[str, Field(min_length=1)]
    """A local file or a URL, in the benchmark's public form of JSON lines."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """Of the questions' file, where it is to be exactly that one."""
    max_tokens: Count = 1024
    """Longest answer to a turn, in tokens."""
    judge: JudgeSettings
    """Who grades the answers."""

    @model_validator(mode="after")
    def _holds_no_secret(self) -> Self:
        if "@" in self.questions.partition("://")[2]:
            raise ValueError("questions: expected a file or a URL without user or password")
        return self
