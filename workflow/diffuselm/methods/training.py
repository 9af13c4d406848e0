"""What a training is: another adapter than the method's, or another loss to train it with."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from diffuselm.config.tune import LoraSettings
from diffuselm.errors import InputError
from diffuselm.methods.method import Method

if TYPE_CHECKING:  # plans read methods, and are read without torch
    import numpy as np
    from peft import PeftModel
    from transformers import PreTrainedModel

    from diffuselm.model.encoding import EncodedPrompt
    from diffuselm.tree.prefix_tree import PrefixTree


class Training(Method):
    """Another adapter, or another loss to train it with."""

    prompts: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """The prompts that it is tuned on; by default those of tuning `all`."""
    settings: Annotated[dict[str, Any], Field(default_factory=dict)]
    """Settings of `tune` that differ from those of tuning `all`, and from the kind's own."""
    own: ClassVar[dict[str, Any]] = {}  # settings of `tune`, which another kind of adapter needs

    @property
    def reads(self) -> Path | None:
        """A plain text that is read beside the prompts."""
        return None

    @property
    def embedded(self) -> int:
        """Virtual tokens that a pass reads as embeddings before the prompt."""
        return 0

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

        `texts` are the token ids of the paragraphs of the file that it `reads`.
        """
        return 0

    def listed(self, prompt: "EncodedPrompt", seed: int) -> "EncodedPrompt":
        """The prompt with the targets that it is tuned on, their weights summing to 1."""
        return prompt

    def adapter(self, base: "PreTrainedModel", settings: LoraSettings) -> "PeftModel":
        """The base model with a new adapter: LoRA.

        Raises InputError for a module that the model lacks.
        """
        from peft import LoraConfig, get_peft_model

        _check_modules(base, settings.target_modules)
        lora = LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,
            lora_dropout=settings.dropout,
            target_modules=list(settings.target_modules),
            task_type="CAUSAL_LM",
        )
        return get_peft_model(base, lora)


def _check_modules(model: "PreTrainedModel", wanted: Sequence[str]) -> None:
    """PEFT would skip a module that is missing silently."""
    present = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    if absent := [module for module in wanted if module not in present]:
        raise InputError(
            f"tune.target_modules: {type(model).__name__} has no {', '.join(absent)}; expected "
            f"modules among {', '.join(sorted(name for name in present if 'proj' in name))}"
        )
