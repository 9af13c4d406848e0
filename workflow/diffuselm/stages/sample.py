"""Stages `sample` and `score`: answers to prompts, and the exact probabilities of their targets.

They share a process because they share a loaded model.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diffuselm import contracts
from diffuselm.chat import ChatFormat
from diffuselm.encoding import EncodedPrompt, encode_prompts
from diffuselm.held_out import text_log_probs
from diffuselm.models import load_adapter, load_chat_format, load_model, pick_device
from diffuselm.objective import choose_node_log_probs, packed_node_log_probs, score
from diffuselm.paragraphs import read_paragraphs
from diffuselm.parse import first_value, is_valid
from diffuselm.provenance import file_hash, read_json, run_record, write_json
from diffuselm.sample import Draw, sample
from diffuselm.sample_long import sample_long
from diffuselm.seeds import derive
from diffuselm.tasks import task_of


def run(
    *,
    model_record: Path,
    tuning: str,
    adapter: Path | None,
    tasks: Sequence[Path],
    targets: Sequence[Path],
    held_out_text: Path | None,
    draws: int,
    max_tokens: int,
    max_tokens_of: Mapping[str, int],
    token_budget: int,
    pass_budget: int,
    dtype: str,
    leading_space: bool,
    seed: int,
    samples_out: Path,
    exact_out: Path,
    text_out: Path,
) -> None:
    """Write the answers (with run.json beside them), the probabilities and the text's loss.

    `token_budget` is that of sampling, `pass_budget` that of one packed pass of scoring.
    """
    record = read_json(model_record)
    folder = Path(record["path"])
    model = load_model(folder, dtype=dtype, device=pick_device(record["stand_in"]))
    if adapter is not None:
        model = load_adapter(model, adapter)
    chat = load_chat_format(folder, model, leading_space=leading_space)
    prompts = encode_prompts(chat, tasks, targets, [])
    longest = max(prompts, key=lambda prompt: len(prompt.tokens) + prompt.tree.depth.max())
    method = choose_node_log_probs(model, longest.tokens, longest.tree)
    samples: list[dict[str, Any]] = []
    exact: list[dict[str, Any]] = []
    for prompt in prompts:
        options = {
            "end_tokens": chat.end_tokens,
            "max_tokens": max_tokens_of.get(task_of(prompt.id), max_tokens),
            "seed": derive(seed, "sample", record["model"], tuning, prompt.id),
            "token_budget": token_budget,
        }
        if prompt.fields > 1:
            answers = sample_long(model, prompt.tokens, draws, **options)
        else:
            options["over_tree"] = method is packed_node_log_probs
            answers = sample(model, prompt.tokens, draws, **options)
        samples.extend(sample_rows(chat, prompt, answers, seed))
        log_probs = score(model, prompt.tokens, prompt.tree, method, pass_budget)
        exact.extend(_exact_rows(prompt, log_probs))
    settings = {
        "tuning": tuning,
        "adapter_sha256": adapter and file_hash(adapter / "adapter_model.safetensors"),
        "tasks": [task.stem for task in tasks],
        "held_out_text": held_out_text and held_out_text.name,
        "draws": draws,
        "temperature": 1.0,
        "max_tokens": max_tokens,
        "max_tokens_of": dict(max_tokens_of),
        "token_budget": token_budget,
        "pass_budget": pass_budget,
        "dtype": dtype,
        "leading_space": leading_space,
        "end_tokens": chat.end_tokens,
    }
    text = []
    if held_out_text is not None:
        found = text_log_probs(model, chat.tokenizer, read_paragraphs(held_out_text))
        text = [
            {"paragraph": number, "tokens": tokens, "log_prob": log_prob}
            for number, (tokens, log_prob) in enumerate(found)
        ]
    made = run_record(settings=settings, seed=seed, model=record, device=str(model.device))
    contracts.write_rows(samples_out, samples, contracts.SAMPLES)
    contracts.write_rows(exact_out, exact, contracts.EXACT)
    contracts.write_rows(text_out, text, contracts.TEXT)
    write_json(samples_out.with_suffix(".run.json"), made)


def sample_rows(
    chat: ChatFormat, prompt: EncodedPrompt, answers: Sequence[Draw], seed: int
) -> Iterator[dict[str, Any]]:
    """One row of `contracts.SAMPLES` for each answer."""
    for number, answer in enumerate(answers):
        text = chat.decode(answer.tokens)
        yield {
            "prompt": prompt.id,
            "seed": seed,
            "draw": number,
            "text": text,
            "value": first_value(text),
            "valid": is_valid(text, ended=not answer.truncated, fields=prompt.fields),
            "logprob": answer.log_prob,
            "truncated": answer.truncated,
        }


def _exact_rows(prompt: EncodedPrompt, log_probs: np.ndarray) -> Iterator[dict[str, Any]]:
    weights = prompt.tree.mass[prompt.tree.leaf]
    for text, log_prob, weight in zip(prompt.targets, log_probs, weights, strict=True):
        yield {
            "prompt": prompt.id,
            "target": text,
            "probability": float(np.exp(log_prob)),
            "weight": float(weight),
        }
