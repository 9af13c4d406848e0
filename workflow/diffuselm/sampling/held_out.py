"""Loss on plain text that no tuning saw: what tuning must not break (appendix B.5)."""

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from diffuselm.model.encoding import text_ids
from diffuselm.tree.objective import rows_at_a_time


@torch.inference_mode()
def text_log_probs(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, paragraphs: Sequence[str]
) -> list[tuple[int, float]]:
    """Tokens of each paragraph, and their log-probability in nats (see `text_ids`)."""
    found = []
    for paragraph in paragraphs:
        row = torch.as_tensor([text_ids(tokenizer, paragraph)], device=model.device)
        logits = model(input_ids=row, use_cache=False).logits[0, :-1]
        # In parts: in float64 a large vocabulary takes megabytes a token.
        some = rows_at_a_time(logits)
        parts = zip(logits.split(some), row[0, 1:].split(some), strict=True)
        taken = [
            part.double().log_softmax(dim=-1).gather(1, tokens[:, None]) for part, tokens in parts
        ]
        found.append((len(row[0]) - 1, float(torch.cat(taken).sum())))
    return found
