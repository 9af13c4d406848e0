"""The whole configuration, and reading it.

The JSON schema under workflow/schemas is generated from here (`diffuselm schema`).
"""

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from diffuselm.config.base import WHOLE, Name, Positive, Seed, Settings, checked
from diffuselm.config.models import ModelSettings
from diffuselm.config.mt_bench import MtBenchSettings
from diffuselm.config.names import NamesSettings
from diffuselm.config.outside import OutsideSettings
from diffuselm.config.paper import PAPER_TASKS
from diffuselm.config.ranges import RangesSettings
from diffuselm.config.sample import SampleSettings
from diffuselm.config.stand_ins import StandInSettings
from diffuselm.config.tune import TuneSettings

PAPER_TUNINGS = {
    "rng-10": ("numbers/1-10",),
    "rng-100": ("numbers/1-100",),
    "rng-both": ("numbers/1-10", "numbers/1-100"),
}


class Config(Settings):
    """The whole configuration."""

    seed: Seed = 1
    """The one seed; every random draw derives its own from it and the ids of what it draws."""
    repeats: Annotated[int, Field(ge=1, le=100), WHOLE] = 1
    """Times that all is tuned and sampled, with seeds `seed`, `seed` + 1, and so on."""
    models: Annotated[dict[Name, ModelSettings], Field(min_length=1)]
    """The base models, by the name that results carry."""
    tasks: Annotated[tuple[Path, ...], Field(min_length=1)] = tuple(
        Path(f"resources/tasks/{task}.yaml") for task in (*PAPER_TASKS, "biographies")
    )
    """Task files, each named by its stem; or folders of the authors' published prompts."""
    leave_one_out: tuple[Name, ...] | None = None
    """Tasks of tuning `all`, and of one `without-TASK` each; a task outside is new to all these.

    By default those of the paper's six that are among `tasks`."""
    tunings: dict[Name, Annotated[tuple[str, ...], Field(min_length=1)]] | None = None
    """Further tunings: the prompts that each is tuned on.

    One that is named as a task takes the place of that task's `only-TASK`, on all of its prompts.
    By default `rng-10`, `rng-100` and `rng-both`, if `numbers` is among `tasks`."""
    ranges: RangesSettings | None = RangesSettings()
    """Figure 2, or null to leave it out; measured on base and `rng-10`, `rng-100`, `rng-both`."""
    baseline: Literal["base", "form"] = "base"
    """What tunings are compared with: the base model, or one that was taught the asked form alone.

    `form` is for models that ignore the asked form, whose raw answers say nothing about spread."""
    form: Path = Path("resources/tasks/form.yaml")
    """Questions with one right answer, in a task file, that tuning `form` teaches the form with."""
    knowledge: Path | None = Path("resources/tasks/knowledge.yaml")
    """Questions with one right answer, in a task file, or null; asked before and after tuning."""
    held_out_text: Path | None = Path("resources/text/held-out.txt")
    """Plain text, a paragraph a line, or null; its loss is measured before and after tuning."""
    methods: dict[Name, dict[str, Any]] = {}
    """Other ways to spread answers, by the name that results carry, compared in Table 9.

    Each is a mapping of a `kind`, one of the files in workflow/diffuselm/methods, and its settings.
    Ways to draw and to ask are applied to the baseline."""
    temperatures: tuple[Positive, ...] = (1.5, 2, 3, 5, 10, 20)
    """At which the baseline is sampled, to see where it gets as diffuse as a tuned one.

    As often as elsewhere: both spreads are of as many answers."""
    outside: dict[Name, OutsideSettings] = {}
    """Files that others published, by the names of the tasks that they become; measured alone."""
    mt_bench: MtBenchSettings | None = None
    """MT-Bench, or null to leave it out; figure 6 then says so."""
    names: NamesSettings = NamesSettings()
    """Where the natural distribution of names comes from."""
    tune: TuneSettings = TuneSettings()
    """LoRA tuning."""
    sample: SampleSettings = SampleSettings()
    """Sampling."""
    records: Annotated[int, Field(ge=1, le=10**9), WHOLE] | None = None
    """Records of each dataset from the tuning on its task; by default as many as answers."""
    license: Annotated[str, Field(pattern=r"^[a-z0-9]+([.-][a-z0-9]+)*$")] | None = None
    """Licence of datasets, as the hub names it (`cc-by-4.0`), or null; their cards state it."""
    stand_ins: StandInSettings = StandInSettings()
    """How the stand-in models are rebuilt."""

    @model_validator(mode="after")
    def _names_fit_together(self) -> Self:
        pool = self.leave_one_out or ()
        if len(pool) == 1 or len(set(pool)) < len(pool):
            raise ValueError(
                f"leave_one_out: found {list(pool)}; expected none, or two or more distinct tasks"
            )
        shown = [f"{temperature:g}" for temperature in self.temperatures]
        if len(set(shown)) < len(shown) or any("e" in text for text in shown):
            raise ValueError(
                f"temperatures: found {', '.join(shown)}; expected distinct ones of 0.0001 to 99999"
            )
        if "natural" in self.models:
            raise ValueError("models: 'natural' is taken; expected another name")
        for tuning in self.tunings or ():
            if is_taken(tuning) or tuning == "biographies":
                raise ValueError(f"tunings: {tuning!r} is taken; expected another name")
        return self


def is_taken(tuning: str) -> bool:
    """Whether a tuning's name has a meaning already, and so is none for one of the user's."""
    named = tuning in ("base", "form", "held", "all")
    beginnings = ("only-", "without-", "held-", "method-")
    return named or tuning.startswith(beginnings) or ".seed-" in tuning


def read_config(raw: dict, origin: str) -> Config:
    """Check a raw configuration; raises InputError with the first problem, in one line."""
    # What stands in the judge's place may be a secret.
    known = "those of workflow/schemas/config.schema.json"
    return checked(Config.model_validate, raw, origin, known, secret="judge")


def print_schema() -> None:
    """Print the JSON schema of the config."""
    print(json.dumps(Config.model_json_schema(), indent=2, ensure_ascii=False))
