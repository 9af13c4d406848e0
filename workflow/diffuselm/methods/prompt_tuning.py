"""Prompt tuning (Lester et al. 2021, arXiv 2104.08691): embeddings before the prompt."""

from typing import TYPE_CHECKING, Any, ClassVar

from diffuselm.config.base import Count
from diffuselm.config.tune import LoraSettings
from diffuselm.methods.training import Training

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


class PromptTuning(Training):
    """As many as its authors' `virtual_tokens`, begun as tokens drawn from the vocabulary."""

    virtual_tokens: Count = 20
    own: ClassVar[dict[str, Any]] = {"learning_rate": 1e-2}

    @property
    def embedded(self) -> int:
        return self.virtual_tokens

    def adapter(self, base: "PreTrainedModel", settings: LoraSettings) -> "PeftModel":
        from peft import PromptTuningConfig, get_peft_model

        config = PromptTuningConfig(
            num_virtual_tokens=self.virtual_tokens,
            prompt_tuning_init="SAMPLE_VOCAB",
            task_type="CAUSAL_LM",
        )
        return get_peft_model(base, config)
