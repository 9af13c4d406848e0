"""Every setting: its default, type, description and the checks between settings, in one place.

The JSON schema under workflow/schemas is generated from here (`diffuselm schema`).
"""

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from diffuselm.errors import InputError, expectation, quoted

PAPER_TASKS = ("names", "countries", "fruits", "dates", "numbers", "occupations")
PAPER_EARLY_STOPS = ("only-names", "only-fruits", "only-occupations", "biographies")
PAPER_TUNINGS = {
    "rng-10": ("numbers/1-10",),
    "rng-100": ("numbers/1-100",),
    "rng-both": ("numbers/1-10", "numbers/1-100"),
}
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9]+([._-][A-Za-z0-9]+)*$", max_length=64)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _of_template(value: object) -> object:
    # One error, where a union gives one for each of its branches.
    if not isinstance(value, str | bool | int | float):
        raise ValueError(f"found {quoted(value)}; expected text, a number, true or false")
    return value


def _no_truth(value: object) -> object:
    # Python takes true for 1.
    if isinstance(value, bool):
        raise ValueError(f"found {value}; expected a whole number")
    return value


TemplateValue = Annotated[str | bool | int | float, BeforeValidator(_of_template)]
WHOLE = BeforeValidator(_no_truth)
Count = Annotated[int, Field(ge=1), WHOLE]


class Settings(BaseModel):
    """Base of all settings: unknown keys are refused, and nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class NamesSettings(Settings):
    """Where the natural distribution of names comes from."""

    source: Literal["embedded", "ssa", "file"] = "embedded"
    """`embedded`: offline; `ssa`: a download; `file`: a local names.zip or yobYYYY.txt."""
    year: Annotated[int, Field(ge=1880, le=2100)] = 2022
    """Year of birth, for `ssa` and `file`."""
    file: Path | None = None
    """The local file, for `file`."""

    @model_validator(mode="after")
    def _file_goes_with_its_source(self) -> Self:
        if (self.source == "file") != (self.file is not None):
            raise ValueError(
                f"source is {self.source!r} and file is {self.file}; "
                "expected a file with source 'file' and only then"
            )
        return self


class ModelSettings(Settings):
    """One base language model: a local folder, a model of the hub at a commit, or a GGUF file."""

    path: Path | None = None
    """Local folder with config, safetensors, tokenizer and chat template."""
    hub: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")] | None = None
    """Id on the Hugging Face hub, such as `google/gemma-7b-it`; goes with `revision`."""
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = None
    """The commit on the hub, all 40 digits: names of branches move."""
    gguf: Path | None = None
    """A GGUF file, converted once into a folder; with `package`, its name in that package."""
    package: Name | None = None
    """An installed Python package that holds the file of `gguf`; it is never imported."""
    billions: Positive | None = None
    """Parameters in billions, to scale what a cluster's jobs ask for; local weights tell."""
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    """Type of the base weights; by default bfloat16 on a GPU, float32 (the paper's) on a CPU."""
    four_bit: bool = False
    """Hold the base weights in 4 bits (NF4); needs `pip install bitsandbytes`."""
    attention: Literal["sdpa", "eager", "flash_attention_2"] | None = None
    """Attention implementation; the packed pass needs one that takes a mask: sdpa or eager."""
    gpus: Annotated[int, Field(ge=0), WHOLE] = 1
    """GPUs of one job: 0 for the CPU alone; more than one goes with `device_map`."""
    device_map: Literal["auto", "balanced", "sequential"] | None = None
    """How the layers are spread over `gpus`."""
    end_tokens: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Tokens that end an answer; by default those of the model's generation config."""
    chat_template: Path | None = None
    """A Jinja file in place of the tokenizer's own chat template."""
    template_args: dict[str, TemplateValue] = {}
    """Further arguments of the chat template, such as `enable_thinking: false`."""
    leading_space: bool | None = None
    """Whether a space stands before an answer; by default what the chat template itself writes.

    Mistral-7B-Instruct-v0.1 needs `true`: its tokenizer joins template and answer."""
    stand_in: bool = False
    """A tiny model built by this project: shown as such wherever its results are."""
    baseline: Literal["base", "form"] | None = None
    """What its tunings are compared with, where it is not the config's `baseline`."""
    paper_model: Literal["gemma", "llama-2", "mistral"] | None = None
    """The paper's model whose published numbers stand beside this one's."""

    @model_validator(mode="after")
    def _is_one_model(self) -> Self:
        if [self.path, self.hub, self.gguf].count(None) != 2:
            raise ValueError(
                f"path is {self.path}, hub is {self.hub} and gguf is {self.gguf}; expected exactly "
                "one of them"
            )
        if self.package is not None and self.gguf is None:
            raise ValueError("gguf: missing; expected the name of a file in `package`")
        if (self.hub is None) != (self.revision is None):
            raise ValueError(
                f"hub is {self.hub} and revision is {self.revision}; expected both or neither"
            )
        if self.hub is not None and self.billions is None:
            raise ValueError("billions: missing; expected the number of parameters, such as 7")
        if (self.gpus > 1) != (self.device_map is not None):
            raise ValueError(
                f"gpus is {self.gpus} and device_map is {self.device_map}; "
                "expected a device_map with more than one GPU and only then"
            )
        return self


class StandInSettings(Settings):
    """How the stand-in models are rebuilt, into results/stand-ins."""

    seed: int = 1
    """Seed of questions, weights and favourites."""
    broad_steps: Count = 2000
    """Optimiser steps of the first phase, on wide distributions."""
    collapse_steps: dict[Literal["gemma", "llama", "mistral"], Count] = {"mistral": 400}
    """Optimiser steps of the second phase, on a few favourites per prompt, where not 250."""
    biography_steps: tuple[Count, Count] = (700, 200)
    """Steps of both phases once more, mostly on biographies."""


class EarlyStopSettings(Settings):
    """When tuning ends before its last pass."""

    ratio: Positive = 1.2
    """Stop once a pass's summed loss is at most this times the summed entropy of the targets."""
    tunings: tuple[Name, ...] | None = None
    """The tunings that stop early; all others run every pass.

    By default `only-names`, `only-fruits`, `only-occupations` and `biographies`."""

    def stops(self, tuning: str) -> bool:
        """Whether a tuning may end before its last pass."""
        return tuning in (PAPER_EARLY_STOPS if self.tunings is None else self.tunings)


class TuneSettings(Settings):
    """LoRA tuning; the defaults are the method's."""

    rank: Count = 4
    """Rank of the adapters."""
    alpha: Count = 8
    """LoRA's scale is alpha / rank."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout before the adapters."""
    target_modules: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    )
    """The projections that get an adapter."""
    learning_rate: Positive = 5e-5
    """Of AdamW, without a schedule."""
    eps: Positive = 1e-5
    """Of AdamW."""
    max_grad_norm: Positive = 1.0
    """Gradients are clipped at this norm."""
    learning_rate_of: dict[Name, Positive] = {}
    """Learning rates of single tunings, where they differ."""
    passes: Count = 50
    """Passes over the prompts, one optimiser step each, in shuffled order."""
    passes_of: dict[Name, Count] = {}
    """Passes of single tunings, where they differ."""
    early_stop: EarlyStopSettings = EarlyStopSettings()
    """When tuning ends before its last pass."""
    token_budget: Annotated[int, Field(ge=64)] | None = None
    """Tokens of one packed pass, by default what the device's free memory holds.

    Larger trees are split, with the same gradient; out of memory, the budget is halved."""
    checkpoint_seconds: Annotated[int, Field(ge=0), WHOLE] = 60
    """Seconds between checkpoints, from which a killed job goes on; 0 for one after every step."""


class SampleSettings(Settings):
    """Sampling at temperature 1, without top-k or top-p."""

    draws: Annotated[int, Field(ge=2)] = 1000
    """Answers per prompt."""
    draws_of: dict[Name, Annotated[int, Field(ge=2), WHOLE]] = {}
    """Answers per prompt of single tasks, where it differs; of `ranges` 500, if not fewer."""
    check_draws: Annotated[int, Field(ge=2), WHOLE] = 100
    """Answers per prompt where they only check a rate that is known otherwise or not compared.

    To `knowledge`, which is scored exactly; and of a base model whose baseline is `form`, where its
    answers are not held to the form."""
    max_tokens: Count = 32
    """Longest answer in tokens, where its task says nothing; longer ones are marked truncated."""
    max_tokens_of: dict[Name, Count] = {}
    """Longest answer to the prompts of single tasks, in place of what the task says."""
    token_budget: Annotated[int, Field(ge=64)] | None = None
    """Tokens of prompt and answers in memory, by default what the device's free memory holds."""


class RangesSettings(Settings):
    """Figure 2: the formats and the random ranges on which random numbers are tested."""

    highs: Annotated[tuple[Annotated[int, Field(ge=2, le=100_000)], ...], Field(min_length=1)] = (
        5, 10, 20, 45, 70, 100, 150, 200)  # fmt: skip
    """Highest numbers, the lowest being 1, for each of the five prompt formats."""
    sizes: Annotated[tuple[Annotated[int, Field(ge=2, le=100_000)], ...], Field(min_length=1)] = (
        10, 25, 50, 100, 200)  # fmt: skip
    """Numbers in a range whose lowest is drawn from 1 to 900."""
    versions: Annotated[int, Field(ge=2)] = 5
    """Ranges drawn for each size."""


class JudgeSettings(Settings):
    """The language model that grades MT-Bench's answers, behind an OpenAI-compatible endpoint."""

    url: str
    """The endpoint, up to and without `/chat/completions`, such as `http://localhost:8000/v1`."""
    model: Annotated[str, Field(min_length=1)]
    """The model's pinned name at the endpoint."""
    key_env: str | None = None
    """NAME of the environment variable that holds the key; none where the endpoint needs none."""
    repeats: Count = 3
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


class Config(Settings):
    """The whole configuration."""

    seed: Annotated[int, Field(ge=0, lt=2**31), WHOLE] = 1
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
    temperatures: tuple[Positive, ...] = (1.5, 2, 3, 5, 10, 20)
    """At which the baseline is sampled, to see where it gets as diffuse as a tuned one.

    As often as elsewhere: both spreads are of as many answers."""
    mt_bench: MtBenchSettings | None = None
    """MT-Bench, or null to leave it out; figure 6 then says so."""
    names: NamesSettings = NamesSettings()
    """Where the natural distribution of names comes from."""
    tune: TuneSettings = TuneSettings()
    """LoRA tuning."""
    sample: SampleSettings = SampleSettings()
    """Sampling."""
    stand_ins: StandInSettings = StandInSettings()
    """How the stand-in models are rebuilt."""

    @model_validator(mode="after")
    def _names_fit_together(self) -> Self:
        pool = self.leave_one_out or ()
        if len(pool) == 1 or len(set(pool)) < len(pool):
            raise ValueError(
                f"leave_one_out: found {list(pool)}; expected none, or two or more distinct tasks"
            )
        if "biographies" in pool:
            raise ValueError("leave_one_out: found 'biographies'; expected tasks of one value")
        shown = [f"{temperature:g}" for temperature in self.temperatures]
        if len(set(shown)) < len(shown) or any("e" in text for text in shown):
            raise ValueError(
                f"temperatures: found {', '.join(shown)}; expected distinct ones of 0.0001 to 99999"
            )
        if "natural" in self.models:
            raise ValueError("models: 'natural' is taken; expected another name")
        for tuning in self.tunings or ():
            taken = ("base", "form", "held", "all", "biographies")
            prefixes = ("only-", "without-", "held-")
            if tuning in taken or tuning.startswith(prefixes) or ".seed-" in tuning:
                raise ValueError(f"tunings: {tuning!r} is taken; expected another name")
        return self


def read_config(raw: dict, origin: str) -> Config:
    """Check a raw configuration; raises InputError with the first problem, in one line."""
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        first, *others = error.errors(include_url=False)
        where = ".".join(str(part) for part in first["loc"] if part != "[key]")
        if first["type"] == "value_error":
            message = first["msg"].removeprefix("Value error, ")
        elif first["type"] == "extra_forbidden":
            message = "unknown key; expected those of workflow/schemas/config.schema.json"
        elif first["type"] == "missing":
            message = "missing; expected it"
        else:
            # What stands in the judge's place may be a secret.
            found = "" if "judge" in where else f"found {quoted(first['input'])}; "
            message = f"{found}{expectation(first)}"
        # Of a union, pydantic lists each branch.
        keys = {each["loc"][: len(first["loc"])] for each in others} - {first["loc"]}
        more = f" (and {len(keys)} more)" if keys else ""
        raise InputError(f"{origin}: {where + ': ' if where else ''}{message}{more}") from error
