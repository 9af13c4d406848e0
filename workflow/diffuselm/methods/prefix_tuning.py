"""Prefix tuning (Li and Liang 2021, arXiv 2101.00190): keys and values before the prompt."""

from typing import TYPE_CHECKING, Any, ClassVar

from diffuselm.config.base import Count
from diffuselm.config.tune import LoraSettings
from diffuselm.methods.training import Training

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


class PrefixTuning(Training):
    """As many as its authors' `virtual_tokens`, begun as those of tokens drawn from the vocabulary.

    Trained themselves, without the network that the authors put before them: begun so, which is
    their other advice, they need none.
    """

    virtual_tokens: Count = 10
    own: ClassVar[dict[str, Any]] = {"learning_rate": 1e-2}

    def adapter(self, base: "PreTrainedModel", settings: LoraSettings) -> "PeftModel":
        import torch
        from peft import PrefixTuningConfig, get_peft_model
        from peft.tuners.cartridge.utils import initialize_kv_prefix_from_past_key_values as begin

        config = PrefixTuningConfig(num_virtual_tokens=self.virtual_tokens, task_type="CAUSAL_LM")
        model = get_peft_model(base, config)
        vocabulary = base.config.get_text_config().vocab_size
        drawn = torch.randint(vocabulary, (1, self.virtual_tokens)).to(base.device)
        with torch.no_grad():
            cache = base(input_ids=drawn, use_cache=True).past_key_values
        begin(model, past_key_values=[(each.keys, each.values) for each in cache.layers])
        return model
