"""A model's answers to both turns of the questions of MT-Bench."""

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel

from diffuselm.files.json_files import write_json
from diffuselm.files.provenance import file_hash, run_record
from diffuselm.files.seeds import derive
from diffuselm.files.tables import write_rows
from diffuselm.measure.mt_bench import ANSWERS, Question, read_questions
from diffuselm.model.adapters import adapter_hash
from diffuselm.model.chat import ChatFormat
from diffuselm.model.opening import open_model


def answer_questions(
    *,
    model: Path,
    tuning: str,
    adapter: Path | None = None,
    questions: Path,
    max_tokens: int,
    seed: int,
    out: Path,
) -> None:
    """Write the answers to both turns of every question, and run.json beside them."""
    asked = read_questions(questions)
    opened = open_model(model, adapter)
    rows = []
    for question in asked:
        own_seed = derive(seed, "mt-bench", opened.name, tuning, str(question.question_id))
        rows += answer(opened.model, opened.chat, question, max_tokens=max_tokens, seed=own_seed)
    settings = {
        "tuning": tuning,
        "adapter_sha256": adapter_hash(adapter),
        "questions_sha256": file_hash(questions),
        "max_tokens": max_tokens,
        **opened.used,
    }
    made = run_record(
        settings=settings, seed=seed, model=opened.record, device=str(opened.model.device)
    )
    write_rows(out, rows, ANSWERS)
    write_json(out.with_suffix(".run.json"), made)


def answer(
    model: PreTrainedModel, chat: ChatFormat, question: Question, *, max_tokens: int, seed: int
) -> list[dict[str, Any]]:
    """Answer both turns, the second after the first and its answer: two rows of `ANSWERS`.

    Sampled at the category's temperature, without top-k or top-p; at most `max_tokens` tokens each.
    """
    torch.manual_seed(seed)
    spoken: list[str] = []
    rows = []
    for turn, request in enumerate(question.turns, start=1):
        spoken.append(request)
        prompt = conversation_ids(chat, spoken)
        tokens = _generate(model, chat, prompt, question.temperature, max_tokens)
        spoken.append(chat.decode(tokens))
        rows.append(
            {
                "question_id": question.question_id,
                "category": question.category,
                "turn": turn,
                "temperature": question.temperature,
                "text": spoken[-1],
                "truncated": tokens[-1] not in chat.end_tokens,
            }
        )
    return rows


def conversation_ids(chat: ChatFormat, spoken: Sequence[str]) -> list[int]:
    """Token ids before the model's next answer, after what user and model said in turn."""
    roles = cycle(["user", "assistant"])
    turns = [{"role": role, "content": text} for role, text in zip(roles, spoken, strict=False)]
    return chat.encode(chat.render(turns, add_generation_prompt=True))


def _generate(
    model: PreTrainedModel,
    chat: ChatFormat,
    prompt: Sequence[int],
    temperature: float,
    max_tokens: int,
) -> list[int]:
    """Token ids of one answer, the end token included."""
    sampling = {"temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature else {}
    settings = GenerationConfig(
        do_sample=temperature > 0,
        max_new_tokens=max_tokens,
        eos_token_id=list(chat.end_tokens),
        pad_token_id=chat.end_tokens[0],
        **sampling,
    )
    ids = torch.tensor([prompt], device=model.device)
    with torch.inference_mode():
        found = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=settings
        )
    return found[0, len(prompt) :].tolist()
