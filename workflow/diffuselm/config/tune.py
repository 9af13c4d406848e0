"""LoRA tuning."""

from typing import Annotated

from pydantic import Field

from diffuselm.config.base import MOST, WHOLE, Count, Name, Positive, Settings, Tokens

PAPER_EARLY_STOPS = ("only-names", "only-fruits", "only-occupations", "biographies")


class LoraSettings(Settings):
    """How one adapter is trained; the defaults are the method's."""

    rank: Annotated[int, Field(ge=1, le=65_536), WHOLE] = 4
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
    passes: Count = 50
    """Passes over the prompts, one optimiser step each, in shuffled order."""
    stop_ratio: Positive | None = None
    """Stop once a pass's summed loss is at most this times the summed entropy of the targets."""
    token_budget: Tokens | None = None
    """Tokens of one packed pass, by default what the device's free memory holds.

    Larger trees are split, with the same gradient; out of memory, the budget is halved."""


class TuneSettings(LoraSettings):
    """How adapters are trained, all of them and some of their own."""

    stop_ratio: Positive | None = 1.2
    """Stop once a pass's summed loss is at most this times the summed entropy of the targets."""
    learning_rate_of: dict[Name, Positive] = {}
    """Learning rates of single tunings, where they differ."""
    passes_of: dict[Name, Count] = {}
    """Passes of single tunings, where they differ."""
    stop_early: tuple[Name, ...] | None = None
    """The tunings that `stop_ratio` is for; all others run every pass.

    By default `only-names`, `only-fruits`, `only-occupations` and `biographies`."""
    checkpoint_seconds: Annotated[int, Field(ge=0, le=MOST), WHOLE] = 60
    """Seconds between checkpoints, from which a killed job goes on; 0 for one after every step."""

    def of_tuning(self, tuning: str) -> LoraSettings:
        """How the adapter of one tuning is trained."""
        stops = tuning in (PAPER_EARLY_STOPS if self.stop_early is None else self.stop_early)
        return LoraSettings.subset_of(
            self,
            learning_rate=self.learning_rate_of.get(tuning, self.learning_rate),
            passes=self.passes_of.get(tuning, self.passes),
            stop_ratio=self.stop_ratio if stops else None,
        )
