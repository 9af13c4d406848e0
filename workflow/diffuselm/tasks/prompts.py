"""Prompts and the target sets that they are tuned toward (section 3.1)."""

from typing import Annotated, Literal

from pydantic import Field

from diffuselm.config.base import MOST, Settings
from diffuselm.tasks.readings import Reading
from diffuselm.tasks.records import Records
from diffuselm.tasks.texts import TargetSet

# The Snakefile imports this module in every cluster job: nothing heavy here.

BIOGRAPHIES = "biographies"  # the task of section 6
STATED = "stated"  # the task of table 10, and the tuning on some of its prompts
Count = Annotated[int, Field(ge=1, le=MOST, strict=True)]


class NaturalNames(Settings):
    """Targets to draw: `count` names from the natural distribution of names."""

    draw_from: Literal["natural_names"] = "natural_names"
    count: Count


# Only where prompts ask for records, so that the files of other tasks stay as they are.
_OF_RECORDS = {"exclude_if": lambda found: found in ({}, 1.0)}
Given = Annotated[dict[str, str], Field(default_factory=dict, **_OF_RECORDS)]


class Prompt(Settings):
    """One instruction of a task: its id `task/slug`, its text, and what it is tuned toward."""

    id: str
    text: str
    targets: Annotated[TargetSet | None, Field(exclude=True)] = None  # None: still to be drawn
    draw: NaturalNames | None = None  # what the targets are drawn from, if they are
    fields: Count = 1  # braced values of an answer; of several, a target is the first ones
    openings: tuple[str, ...] = ("",)  # before each target, with even shares of its weight
    ends: bool = True  # whether the end token after a target is tuned on too
    max_tokens: Count | None = None  # of an answer, where the task says so
    records: Annotated[Records | None, Field(exclude=True)] = None  # what it asks for, if several
    given: Given  # values of fields that are in the text
    share: Annotated[float, Field(**_OF_RECORDS)] = 1.0  # of the task's records
    reading: Annotated[Reading | None, Field(exclude_if=lambda found: found is None)] = None
    """How answers to a prompt from outside are read; its targets are none where none is listed."""


def task_of(prompt: str) -> str:
    """The task of a prompt id `task/slug`."""
    return prompt.partition("/")[0]
