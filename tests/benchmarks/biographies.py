"""Time 1,000 biographies: rows that share the prompt, and `generate` in batches.

    python tests/benchmarks/biographies.py [--model FOLDER] [--draws N] [--repeats N]

Both sides run in turn in this one process, on the base model, at temperature 1.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "workflow"))

import torch
from transformers import PreTrainedModel

from diffuselm.model.answers import is_valid
from diffuselm.model.chat import ChatFormat
from diffuselm.model.opening import load_chat_format, load_model
from diffuselm.sampling.answers import Question
from diffuselm.sampling.tree_sampling import sample
from diffuselm.tasks.task_files import load_task
from diffuselm.tree.token_budget import tokens_that_fit

BATCH = 20
MAX_TOKENS = 160  # as in config.yaml
Answers = list[tuple[int, ...]]  # of tokens, the end token included


def shared_answers(
    model: PreTrainedModel, chat: ChatFormat, prompt: Sequence[int], draws: int, seed: int
) -> Answers:
    """Answers sampled by rows that share the prompt."""
    [answers] = sample(
        model,
        [Question(prompt, draws, seed)],
        end_tokens=chat.end_tokens,
        max_tokens=MAX_TOKENS,
        token_budget=tokens_that_fit(model, training=False),
    )
    return [answer.tokens for answer in answers]


def generated_answers(
    model: PreTrainedModel, chat: ChatFormat, prompt: Sequence[int], draws: int, seed: int
) -> Answers:
    """Answers of `generate`, in batches of 20 rows, each cut behind its end token."""
    torch.manual_seed(seed)
    answers = []
    for start in range(0, draws, BATCH):
        ids = torch.tensor([list(prompt)] * min(BATCH, draws - start))
        rows = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            max_new_tokens=MAX_TOKENS,
            eos_token_id=list(chat.end_tokens),
            pad_token_id=chat.end_tokens[0],
        )
        for row in rows[:, len(prompt) :].tolist():
            ends = [at for at, token in enumerate(row, 1) if token in chat.end_tokens]
            answers.append(tuple(row[: ends[0]] if ends else row))
    return answers


def described(chat: ChatFormat, answers: Answers) -> str:
    """What tells whether both sides wrote alike: lengths, and the share of valid biographies."""
    ended = [answer[-1] in chat.end_tokens for answer in answers]
    valid = [
        is_valid(chat.decode(answer), end, fields=6)
        for answer, end in zip(answers, ended, strict=True)
    ]
    length = statistics.mean(map(len, answers))
    return f"{length:.1f} tokens each, {sum(valid) / len(valid):.1%} valid"


def main() -> None:
    """Read the arguments, time both ways in turn, and print them side by side."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=ROOT / "resources" / "models" / "tiny-gemma")
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model = load_model(arguments.model, dtype="float32", device="cpu")
    chat = load_chat_format(arguments.model, model.generation_config.eos_token_id)
    [task] = load_task(ROOT / "resources" / "tasks" / "biographies.yaml")
    prompt = chat.prompt_ids(task.text)
    ways = {"shared prompt": shared_answers, f"generate, {BATCH} rows": generated_answers}
    for way in ways.values():
        way(model, chat, prompt, BATCH, seed=0)  # warm-up
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    print(f"{arguments.model.name}: {arguments.draws} answers to {task.id}, {len(prompt)} tokens")
    for seed in range(1, arguments.repeats + 1):
        for name, way in ways.items():
            began = time.perf_counter()
            answers = way(model, chat, prompt, arguments.draws, seed)
            seconds[name].append(time.perf_counter() - began)
            print(f"  {name:20} {seconds[name][-1]:8.3f} s, {described(chat, answers)}")
    shared, plain = (statistics.median(taken) for taken in seconds.values())
    print(f"  the shared prompt is {plain / shared:.1f}x faster than generate (medians)")


if __name__ == "__main__":
    main()
