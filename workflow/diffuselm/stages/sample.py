"""Stages `sample` and `score`: answers to one task's prompts, and its targets' probabilities.

They share a process because they share a loaded model.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from diffuselm import contracts
from diffuselm.chat import ChatFormat
from diffuselm.encoding import EncodedPrompt, encode_prompts
from diffuselm.models import load_adapter, load_chat_format, load_model, pick_device
from diffuselm.objective import choose_node_log_probs, packed_node_log_probs, score
from diffuselm.parse import first_value, is_valid
from diffuselm.provenance import file_hash, read_json, run_record, write_json
from diffuselm.sample import Draw, sample
from diffuselm.seeds import derive


def run(
    *,
    model_record: Path,
    tuning: str,
    adapter: Path | None,
    task: Path,
    targets: Path,
    draws: int,
    max_tokens: int,
    token_budget: int,
    dtype: str,
    leading_space: bool,
    seed: int,
    out: Path,
) -> None:
    """Write samples.parquet, exact.parquet and run.json into the folder `out`."""
    record = read_json(model_record)
    folder = Path(record["path"])
    model = load_model(folder, dtype=dtype, device=pick_device(record["stand_in"]))
    if adapter is not None:
        model = load_adapter(model, adapter)
    chat = load_chat_format(folder, model, leading_space=leading_space)
    prompts = encode_prompts(chat, [task], [targets], [])
    longest = max(prompts, key=lambda prompt: len(prompt.tokens) + prompt.tree.depth.max())
    method = choose_node_log_probs(model, longest.tokens, longest.tree)
    samples: list[dict[str, Any]] = []
    exact: list[dict[str, Any]] = []
    for prompt in prompts:
        answers = sample(
            model,
            prompt.tokens,
            draws,
            end_tokens=chat.end_tokens,
            max_tokens=max_tokens,
            seed=derive(seed, "sample", record["model"], tuning, prompt.id),
            token_budget=token_budget,
            over_tree=method is packed_node_log_probs,
        )
        samples.extend(_sample_rows(chat, prompt, answers, seed))
        log_probs = score(model, prompt.tokens, prompt.tree, method, token_budget)
        exact.extend(_exact_rows(prompt, log_probs))
    settings = {
        "tuning": tuning,
        "adapter_sha256": adapter and file_hash(adapter / "adapter_model.safetensors"),
        "task": task.stem,
        "draws": draws,
        "temperature": 1.0,
        "max_tokens": max_tokens,
        "token_budget": token_budget,
        "dtype": dtype,
        "leading_space": leading_space,
        "end_tokens": chat.end_tokens,
    }
    made = run_record(settings=settings, seed=seed, model=record, device=str(model.device))
    with contracts.written_folder(out) as part:
        contracts.write_rows(part / "samples.parquet", samples, contracts.SAMPLES)
        contracts.write_rows(part / "exact.parquet", exact, contracts.EXACT)
        write_json(part / "run.json", made)


def _sample_rows(
    chat: ChatFormat, prompt: EncodedPrompt, answers: list[Draw], seed: int
) -> Iterator[dict[str, Any]]:
    for number, answer in enumerate(answers):
        text = chat.decode(answer.tokens)
        yield {
            "prompt": prompt.id,
            "seed": seed,
            "draw": number,
            "text": text,
            "value": first_value(text),
            "valid": is_valid(text, ended=not answer.truncated),
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
