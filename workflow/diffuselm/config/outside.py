"""Files that others published: prompts, maybe with their answers, that are measured alone."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from diffuselm.config.base import Settings


class OutsideSettings(Settings):
    """One file of prompts that nobody is tuned on, and how its answers are read."""

    file: Path
    """As it was published: CoverageQA (.json: questions and answers), NoveltyBench (.jsonl: a
    `prompt` a line), or a list of prompts (.json)."""
    after_prompt: Annotated[str, Field(max_length=10_000)] = ""
    """Text put behind each prompt, such as a sentence that asks for braces."""
    whole_answers: bool = True
    """Whether an answer without braces is taken whole; else it has no value, as elsewhere."""
