"""How many tokens one forward pass may read: what memory holds, halved whenever it runs out."""

import gc
import logging
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import psutil
import torch
from transformers import PreTrainedConfig, PreTrainedModel

from diffuselm.errors import InputError

# Beyond this a CPU gains little and holds more: a gradient of SmolLM2-135M on biographies takes 88
# CPU seconds and 4.5 GB at 1,024 tokens a pass, 84 and 7.6 at 2,048.
CPU_LARGEST = 1024
ROW = 16  # positions of a row at least, which all share its one vector of logits
LARGEST = {True: 8192, False: 32768}  # with gradients, and without: more gains nothing
SHARE = 0.8  # of the free memory; the rest is for kernels, optimiser and fragmentation

log = logging.getLogger(__name__)

T = TypeVar("T")


class TokenBudget:
    """Tokens of one forward pass; halved whenever memory runs out."""

    def __init__(self, tokens: int, least: int = 64) -> None:
        self.tokens = tokens
        self.least = least

    def attempt(self, step: Callable[[int], T]) -> T:
        """Return step(tokens); where memory runs out, halve the budget and call it again.

        A step starts over at each call: what a failed one left behind (half a gradient) is the
        step's own to clear. Raises InputError where the budget would fall below the least.
        """
        while True:
            try:
                return step(self.tokens)
            except (RuntimeError, MemoryError) as error:  # torch's own is a RuntimeError
                if not is_out_of_memory(error):
                    raise
            # Out here the exception is gone, and with it the frames that held the tensors.
            self._halve()

    def _halve(self) -> None:
        gc.collect()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        halved = self.tokens // 2
        if halved < self.least:
            raise InputError(
                f"out of memory with {self.tokens} tokens a pass, and fewer than {self.least} are "
                "not tried; expected room for them: take `dtype: bfloat16` or `four_bit` weights, "
                "a GPU with more memory, or more `gpus` with a `device_map`"
            )
        log.warning("out of memory with %d tokens a pass: going on with %d", self.tokens, halved)
        self.tokens = halved


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: a GPU's, or this machine's, as torch's CPU allocator words it."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # "can't allocate memory", or "not enough memory" on Windows, after the allocator's name.
    marks = ("DefaultCPUAllocator: ", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, RuntimeError) and any(mark in str(error) for mark in marks)


def tokens_that_fit(
    model: PreTrainedModel,
    *,
    training: bool,
    largest: int | None = None,
    least: int = 64,
) -> int:
    """Tokens of one pass that the free memory of the model's devices holds, a power of two.

    Unless in training, positions of answers that grow a token a pass (`sample`). Of several
    devices, the one with the least free memory counts.
    """
    largest = largest or LARGEST[training]
    gpus = {p.device for p in model.parameters() if p.device.type == "cuda"}
    if gpus:
        free = min(map(_free_on, gpus))
    else:
        # Of all memory, not of what is free now: a rerun splits its passes as the first run did.
        free = psutil.virtual_memory().total // 2
        largest = min(largest, CPU_LARGEST) if training else largest
    return tokens_within(
        free, model.config, model.dtype.itemsize, training=training, largest=largest, least=least
    )


def _free_on(gpu: torch.device) -> int:
    """Free bytes of a GPU, those that torch holds back for its next tensors included."""
    held = torch.cuda.memory_reserved(gpu) - torch.cuda.memory_allocated(gpu)
    return torch.cuda.mem_get_info(gpu)[0] + held


def tokens_within(
    free: int,
    config: PreTrainedConfig,
    itemsize: int,
    *,
    training: bool,
    largest: int,
    least: int,
) -> int:
    """The largest power of two, from `least` to `largest`, of tokens that `free` bytes hold."""
    tokens, room = 1 << (largest.bit_length() - 1), SHARE * free
    while tokens > least and bytes_of_pass(tokens, config, itemsize, training=training) > room:
        tokens //= 2
    return max(tokens, least)


def bytes_of_pass(tokens: int, config: PreTrainedConfig, itemsize: int, *, training: bool) -> int:
    """Estimated bytes of one pass over `tokens` tokens, beside the weights (`itemsize` bytes each).

    In training with the gradients of an adapter on all projections. Else `tokens` are positions of
    rows, whose keys and values every layer keeps; a row reads one of its `ROW` tokens or more.
    """
    config = config.get_text_config()
    layers, vocabulary = config.num_hidden_layers, config.vocab_size
    heads = getattr(config, "num_attention_heads", None) or 1
    key_heads = getattr(config, "num_key_value_heads", None) or heads
    head = getattr(config, "head_dim", None) or config.hidden_size // heads
    width = max(config.hidden_size, heads * head)
    inner = int(np.max(getattr(config, "intermediate_size", None) or 4 * width))

    # Norms, q, k, v before and after rotation, attention, residuals; gate, up and their product.
    layer = (11 * width + 4 * inner) * itemsize
    if training and itemsize < 4:  # an adapter is float32, and keeps its inputs so
        layer += (6 * width + inner) * 4
    keys_and_values = 2 * key_heads * head * layers * itemsize
    # In the model's dtype, in float32, and as a form or a warp makes them; a gradient is one more.
    logits = vocabulary * (itemsize + (12 if training else 8))
    if not training:
        return tokens * (keys_and_values + (logits + layer) // ROW)
    per_token = logits + layer * (layers + 1)

    # Scores of one layer at a time, unless eager attention keeps every layer's for the gradient.
    kept = layers if config._attn_implementation == "eager" else 1
    per_pair = 2 * itemsize + 8 * heads * kept  # the additive mask and its copy; scores, softmax
    return tokens * per_token + tokens**2 * per_pair
