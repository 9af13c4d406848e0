"""How many answers are drawn, and how long they may be."""

from typing import Annotated

from pydantic import Field

from diffuselm.config.base import MOST, WHOLE, Count, Name, Settings, Tokens

Draws = Annotated[int, Field(ge=2, le=MOST), WHOLE]


class AnswerSettings(Settings):
    """How the answers of one run are drawn and its target sets scored."""

    draws: dict[str, Annotated[int, Field(ge=0)]]
    """Answers to each prompt, by task; 0 where its targets are scored alone."""
    max_tokens: dict[str, Annotated[int, Field(ge=1)]]
    """Longest answer in tokens, by task."""
    held: bool = False
    """Whether answers are held to the asked form."""
    token_budget: int | None = None
    """Tokens of prompt and answers in memory, by default what the device's free memory holds."""
    pass_budget: int | None = None
    """Tokens of one packed pass that scores."""


class SampleSettings(Settings):
    """Sampling at temperature 1, without top-k or top-p."""

    draws: Draws = 1000
    """Answers per prompt."""
    draws_of: dict[Name, Draws] = {}
    """Answers per prompt of single tasks, where it differs; of `ranges` 500, if not fewer."""
    check_draws: Draws = 100
    """Answers per prompt where they only check a rate that is known otherwise or not compared.

    To `knowledge`, which is scored exactly; and of a base model whose baseline is `form`, where its
    answers are not held to the form."""
    max_tokens: Count = 32
    """Longest answer in tokens, where its task says nothing; longer ones are marked truncated."""
    max_tokens_of: dict[Name, Count] = {}
    """Longest answer to the prompts of single tasks, in place of what the task says."""
    token_budget: Tokens | None = None
    """Tokens of prompt and answers in memory, by default what the device's free memory holds."""
