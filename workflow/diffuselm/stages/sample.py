"""Stages `sample` and `score`: answers to one task's prompts, and its targets' probabilities.

They share a process because they share a loaded model.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from diffuselm import contracts
from diffuselm.chat import ChatFormat
from diffuselm.encoding import EncodedPrompt, encode_prompts
from diffuselm.models import load_adapter, load_chat_format, load_model, pick_device
from diffuselm.objective import choose_node_log_probs, score
from diffuselm.parse import first_value, is_valid
from diffuselm.provenance import run_record, write_json
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
    record = json.loads(model_record.read_text())
    folder = Path(record["path"])
    model = load_model(folder, dtype=dtype, device=pick_device())
    if adapter is not None:
        model = load_adapter(model, adapter)
    chat = load_chat_format(folder, model, leading_space=leading_space)
    prompts = encode_prompts(chat, [task], [targets], [])
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
        )
        samples.extend(_sample_rows(chat, prompt, answers, seed))
        method = choose_node_log_probs(model, prompt.tokens, prompt.tree)
        log_probs = score(model, prompt.tokens, prompt.tree, method, token_budget)
        exact.extend(_exact_rows(prompt, log_probs))
    contracts.write_rows(out / "samples.parquet", samples, contracts.SAMPLES)
    contracts.write_rows(out / "exact.parquet", exact, contracts.EXACT)
    made = run_record(
        settings={"tuning": tuning, "task": task.stem, "draws": draws, "temperature": 1.0,
                  "max_tokens": max_tokens, "token_budget": token_budget, "dtype": dtype,
                  "leading_space": leading_space, "end_tokens": chat.end_tokens},
        seed=seed,
        model=record,
        device=str(model.device),
    )  # fmt: skip
    write_json(out / "run.json", made)


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
