"""Full fine-tuning: every weight of the model is trained, with the loss of the paper (Eq. 5)."""

from typing import TYPE_CHECKING, Any, ClassVar

from diffuselm.config.tune import LoraSettings
from diffuselm.errors import InputError
from diffuselm.methods.training import Training

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


class Full(Training):
    """PEFT trains and saves a copy of each module, so that the folder is an adapter like others.

    It is as large as the model. Embeddings that are also the head stay so.
    """

    own: ClassVar[dict[str, Any]] = {"learning_rate": 1e-5}  # a usual one of full fine-tuning

    def adapter(self, base: "PreTrainedModel", settings: LoraSettings) -> "PeftModel":
        from peft import LoraConfig, get_peft_model
        from peft.utils.constants import DUMMY_TARGET_MODULES

        if getattr(base, "is_quantized", False):
            raise InputError("full: quantised weights take no small steps; expected whole weights")
        tied = bool(base.config.get_text_config().tie_word_embeddings)
        names = {
            name.rpartition(".")[2]
            for name, module in base.named_modules()
            if next(module.parameters(recurse=False), None) is not None
        }
        config = LoraConfig(
            target_modules=DUMMY_TARGET_MODULES,  # no low-rank part
            modules_to_save=sorted(names - {"lm_head"} if tied else names),
            ensure_weight_tying=tied,
            task_type="CAUSAL_LM",
        )
        return get_peft_model(base, config)
