"""What a training is: another adapter than the method's, or another loss to train it with."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from diffuselm.config.tune import LoraSettings
from diffuselm.methods.method import Method

if TYPE_CHECKING:  # plans read methods, and are read without torch
    import numpy as np
    from peft import PeftConfig, PeftModel
    from transformers import PreTrainedModel

    from diffuselm.model.encoding import EncodedPrompt
    from diffuselm.tree.prefix_tree import PrefixTree


class Training(Method):
    """Another adapter, or another loss to train it with."""

    prompts: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """The prompts that it is tuned on; by default those of tuning `all`."""
    settings: Annotated[dict[str, Any], Field(default_factory=dict)]
    """Settings of `tune` that differ from those of tuning `all`."""

    @property
    def text(self) -> Path | None:
        """A plain text that training reads beside the prompts."""
        return None

    def node_weights(
        self, tree: "PrefixTree", rng: "np.random.Generator", rows: int
    ) -> "np.ndarray":
        """(n,) weight of each node's -log p(token | prefix) in the loss of one step.

        `rows` is the number of answers, each read as a row with its prompt, that cost as many
        tokens as the tree. Eq. 5 takes the mass below each node.
        """
        return tree.mass

    def tokens_read(
        self, packed: int, prompt: int, tree: "PrefixTree", weights: "np.ndarray", rows: int
    ) -> int:
        """Tokens that a step with such weights reads, where the tree takes `packed`.

        `prompt` is the number of the prompt's.
        """
        return packed

    def add_gradient(
        self, model: "PeftModel", texts: Sequence[Sequence[int]], rng: "np.random.Generator"
    ) -> int:
        """Add to a step's gradient that of a term beside the loss; returns the tokens read.

        `texts` are the token ids of the paragraphs of `text`.
        """
        return 0

    def listed(self, prompt: "EncodedPrompt", seed: int) -> "EncodedPrompt":
        """The prompt with the targets that it is tuned on, their weights summing to 1."""
        return prompt

    def peft_config(self, settings: LoraSettings, base: "PreTrainedModel") -> "PeftConfig":
        """What PEFT puts on the base model."""
        from peft import LoraConfig

        return LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,
            lora_dropout=settings.dropout,
            target_modules=list(settings.target_modules),
            task_type="CAUSAL_LM",
        )
