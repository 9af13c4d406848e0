"""The base language models."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from diffuselm.config.base import WHOLE, Name, Settings
from diffuselm.config.paper import PaperModel
from diffuselm.errors import quoted


def _of_template(value: object) -> object:
    # One error, where a union gives one for each of its branches.
    if not isinstance(value, str | bool | int | float):
        raise ValueError(f"found {quoted(value)}; expected text, a number, true or false")
    return value


TemplateValue = Annotated[str | bool | int | float, BeforeValidator(_of_template)]


class OpeningSettings(Settings):
    """How a model is opened, asked and ended."""

    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    """Type of the base weights; by default bfloat16 on a GPU, float32 (the paper's) on a CPU."""
    four_bit: bool = False
    """Hold the base weights in 4 bits (NF4); needs `pip install bitsandbytes`."""
    attention: Literal["sdpa", "eager", "flash_attention_2"] | None = None
    """Attention implementation; the packed pass needs one that takes a mask: sdpa or eager."""
    gpus: Annotated[int, Field(ge=0, le=1024), WHOLE] = 1
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


class ModelSettings(OpeningSettings):
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
    billions: Annotated[float, Field(gt=0, le=100_000)] | None = None
    """Parameters in billions, to scale what a cluster's jobs ask for; local weights tell."""
    stand_in: bool = False
    """A tiny model built by this project: shown as such wherever its results are."""
    paper_model: PaperModel | None = None
    """The paper's model whose published numbers stand beside this one's."""

    baseline: Literal["base", "form"] | None = None
    """What its tunings are compared with, where it is not the config's `baseline`."""

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
